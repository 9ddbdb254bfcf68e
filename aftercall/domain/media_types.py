"""What bytes are: told by how they begin, since storages label files as they like. Pure.

The signatures are those of the formats' own descriptions: RFC 3533 (Ogg), RFC 9639
(FLAC), ISO/IEC 14496-12 (MP4), the RIFF/WAVE interface, ID3v2 and MPEG audio.
"""

#: What we serve, whatever a storage called it.
SERVED_TYPES = frozenset(
    {
        "audio/mpeg",
        "audio/wav",
        "audio/ogg",
        "audio/mp4",
        "audio/flac",
        "text/plain",
        "application/octet-stream",
    }
)
_TEXT_TYPES = ("text/", "application/json", "application/octet-stream", "binary/octet-stream")
_PAGES = (b"<!doctype html", b"<html", b"<?xml", b"<error")


def is_page(body: bytes) -> bool:
    """Whether it is HTML, or the XML in which storages say what is wrong."""
    return body[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGES)


def audio_type(body: bytes, declared: str | None) -> str | None:
    """As we serve it; None when it is no sound."""
    if body.startswith(b"RIFF") and body[8:12] == b"WAVE":
        return "audio/wav"
    if body.startswith(b"OggS"):
        return "audio/ogg"
    if body.startswith(b"fLaC"):
        return "audio/flac"
    if body[4:8] == b"ftyp":
        return "audio/mp4"
    # Eleven bits of sync, and a layer: without one it is AAC, which nothing here names.
    is_frame = len(body) > 2 and body[0] == 0xFF and body[1] & 0xE0 == 0xE0 and body[1] & 0x06
    if body.startswith(b"ID3") or is_frame:
        return "audio/mpeg"
    if _bare(declared).startswith(("audio/", "video/")):
        return "application/octet-stream"
    return None


def is_text(body: bytes, declared: str | None) -> bool:
    """Text or JSON, by its label if it has one and by what is in it."""
    bare = _bare(declared)
    if bare and not (bare.startswith(_TEXT_TYPES) or bare.endswith("+json")):
        return False
    return body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" not in body


def _bare(declared: str | None) -> str:
    return (declared or "").partition(";")[0].strip().lower()
