"""Makes a browser's PNG small without changing how it looks: up to 256 colours, packed well.

A page has few colours, but a browser stores three bytes a pixel. Where there are more than
256, those that look alike become one. Only what Chromium writes is read:
8 bits, RGB, not interlaced.
"""

import struct
import zlib
from collections import Counter
from typing import Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_COLOURS: Final = 256
#: Two colours are told apart by eye when they are farther from each other.
_UNLIKE: Final = 300


def smaller(png: bytes) -> bytes:
    """The same picture with a palette."""
    width, height, pixels = _read(png)
    colours = [pixels[at : at + 3] for at in range(0, len(pixels), 3)]
    palette, index = _palette(Counter(colours))
    body = bytes(index[colour] for colour in colours)
    lines = b"".join(b"\0" + body[row * width : (row + 1) * width] for row in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return _SIGNATURE + b"".join(
        _chunk(kind, content)
        for kind, content in (
            (b"IHDR", head),
            (b"PLTE", b"".join(palette)),
            (b"IDAT", zlib.compress(lines, 9)),
            (b"IEND", b""),
        )
    )


def _palette(counts: Counter[bytes]) -> tuple[list[bytes], dict[bytes, int]]:
    palette: list[bytes] = []
    # The frequent ones first; of rare ones those that are unlike all before.
    for unlike in (_UNLIKE, 0):
        for colour, _ in counts.most_common():
            if len(palette) < _COLOURS and all(_distance(one, colour) > unlike for one in palette):
                palette.append(colour)
    index = {colour: at for at, colour in enumerate(palette)}
    for colour in counts:
        if colour not in index:
            nearest = min(palette, key=lambda one: _distance(one, colour))
            index[colour] = index[nearest]
    return palette, index


def _distance(one: bytes, other: bytes) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _read(png: bytes) -> tuple[int, int, bytes]:
    width = height = 0
    packed = b""
    at = len(_SIGNATURE)
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, *rest = struct.unpack(">IIBBBBB", content)
            if rest != [8, 2, 0, 0, 0]:
                raise ValueError(f"not a browser's PNG: {rest}")
        elif kind == b"IDAT":
            packed += content
        at += 12 + length
    return width, height, _unfiltered(zlib.decompress(packed), width * 3)


def _unfiltered(lines: bytes, size: int) -> bytes:
    """PNG specification, 9.2: each line was written as its difference to what is near it."""
    found = bytearray()
    above = bytearray(size)
    for start in range(0, len(lines), size + 1):
        kind = lines[start]
        line = bytearray(lines[start + 1 : start + 1 + size])
        if kind == 2:
            line = bytearray((a + b) & 255 for a, b in zip(line, above, strict=True))
        elif kind:
            for at in range(size):
                left = line[at - 3] if at >= 3 else 0
                corner = above[at - 3] if at >= 3 else 0
                line[at] = (line[at] + _predicted(kind, left, above[at], corner)) & 255
        found += line
        above = line
    return bytes(found)


def _predicted(kind: int, left: int, up: int, corner: int) -> int:
    if kind == 1:
        return left
    if kind == 3:
        return (left + up) // 2
    estimate = left + up - corner
    return min((left, up, corner), key=lambda one: abs(estimate - one))


def _chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))
