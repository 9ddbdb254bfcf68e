"""Content-decoding in pieces, bounded, that tells a body that ended from one that broke off."""

import zlib

_GZIP, _ZLIB, _RAW = 31, 15, -15
#: What `Accept-Encoding` asks for; every other coding is left as it is.
CODINGS = "gzip, deflate"


class DecodeError(Exception):
    """The body is not what its Content-Encoding says."""


class Decoder:
    """Of one body. `coding`: the value of Content-Encoding."""

    def __init__(self, coding: str) -> None:
        self._is_gzip = coding != "deflate"
        self._member = zlib.decompressobj(_GZIP if self._is_gzip else _ZLIB)
        self._members_ended = 0
        self._is_in_member = False
        self._is_past_the_end = False
        #: The first bytes of a deflate body, until they have shown which of the two kinds it is.
        self._start: bytes | None = None if self._is_gzip else b""

    def decode(self, data: bytes, limit: int) -> bytes:
        """At most `limit` bytes and one; what is beyond them is lost."""
        decoded = bytearray()
        while data and not self._is_past_the_end and len(decoded) <= limit:
            self._is_in_member = True
            piece = self._inflate(data, limit + 1 - len(decoded))
            if piece is None:
                return bytes(decoded)
            decoded += piece
            if not self._member.eof:
                data = self._member.unconsumed_tail
                if not data:
                    break
                continue
            data = self._member.unused_data
            self._end_member()
        return bytes(decoded)

    def is_whole(self) -> bool:
        """Whether all that began has ended."""
        return not self._is_in_member or self._is_past_the_end

    def _inflate(self, data: bytes, limit: int) -> bytes | None:
        """None: what follows the last member is no member, and is passed over."""
        try:
            piece = self._member.decompress(data, limit)
        except zlib.error as error:
            if self._members_ended:
                self._is_past_the_end = True
                return None
            if self._start is None:
                raise DecodeError from error
            # Some send "deflate" without the frame that its specification names.
            start, self._start = self._start, None
            self._member = zlib.decompressobj(_RAW)
            return self._inflate(start + data, limit)
        if self._start is not None:
            self._start = self._start + data if len(self._start + data) < 2 else None
        return piece

    def _end_member(self) -> None:
        self._is_in_member = False
        self._members_ended += 1
        if self._is_gzip:
            self._member = zlib.decompressobj(_GZIP)
        else:
            self._is_past_the_end = True
