"""A picture that is made small is the same picture."""

import struct
import zlib

import pytest

from tests.browser.small_png import _chunk, _predicted, smaller

SIZE = 7


def of_browser(pixels: bytes, *, kind: int) -> bytes:
    """As a browser writes it, with this filter in each line."""
    lines, above = b"", bytes(SIZE * 3)
    for row in range(SIZE):
        line = pixels[row * SIZE * 3 : (row + 1) * SIZE * 3]
        lines += bytes([kind])
        for at in range(SIZE * 3):
            left, corner = (line[at - 3], above[at - 3]) if at >= 3 else (0, 0)
            near = above[at] if kind == 2 else _predicted(kind, left, above[at], corner)
            lines += bytes([(line[at] - (near if kind else 0)) & 255])
        above = line
    head = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in parts)


def shown(png: bytes) -> bytes:
    """The pixels of a picture with a palette."""
    chunks, at = {}, 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        chunks[png[at + 4 : at + 8]] = png[at + 8 : at + 8 + length]
        at += 12 + length
    palette, lines = chunks[b"PLTE"], zlib.decompress(chunks[b"IDAT"])
    indexes = b"".join(lines[row * (SIZE + 1) + 1 : (row + 1) * (SIZE + 1)] for row in range(SIZE))
    return b"".join(palette[index * 3 : index * 3 + 3] for index in indexes)


@pytest.mark.parametrize("kind", range(5))
def test_every_pixel_stays_however_the_browser_wrote_it(kind: int) -> None:
    pixels = bytes((n * n * 31 + n // 3) & 255 for n in range(SIZE * SIZE * 3))
    assert shown(smaller(of_browser(pixels, kind=kind))) == pixels
