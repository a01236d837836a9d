"""Images in the plainest of formats, binary PPM (P6), so that resizing one takes nothing but Python."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PPM = re.compile(rb"P6\s+(\d+)\s+(\d+)\s+255\s(.*)", re.DOTALL)
_BYTES_PER_PIXEL = 3


@dataclass(frozen=True)
class Image:
    """Rows of red, green and blue, one byte each."""

    width: int
    height: int
    pixels: bytes

    @classmethod
    def from_ppm(cls, data: bytes) -> Image:
        """Read a binary PPM of 8 bits a colour.

        Raises:
            ValueError: it is not one.

        """
        found = _PPM.fullmatch(data)
        if not found or len(found[3]) != int(found[1]) * int(found[2]) * _BYTES_PER_PIXEL:
            raise ValueError("the image is not a binary PPM of 8 bits a colour")
        return cls(int(found[1]), int(found[2]), found[3])

    def to_ppm(self) -> bytes:
        """Return the image as a binary PPM."""
        return b"P6 %d %d 255 " % (self.width, self.height) + self.pixels

    def resized(self, width: int) -> Image:
        """Return the image at another width, in proportion, each pixel from the nearest one."""
        height = max(1, round(self.height * width / self.width))
        rows = (self._row(y * self.height // height, width) for y in range(height))
        return Image(width, height, b"".join(rows))

    def _row(self, y: int, width: int) -> bytes:
        starts = ((y * self.width + x * self.width // width) * _BYTES_PER_PIXEL for x in range(width))
        return b"".join(self.pixels[start : start + _BYTES_PER_PIXEL] for start in starts)
