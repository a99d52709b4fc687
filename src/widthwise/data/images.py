"""Decoding images from bytes that may be damaged or hostile."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from widthwise.data.files import MAX_BYTES
from widthwise.errors import DataError

__all__ = ["check_size", "decode", "decode_all", "stack"]

Pixels = NDArray[np.uint8]

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_GRAY = ("1", "L", "LA")
_COLOUR = ("RGB", "RGBA", "P", "CMYK", "YCbCr")
_MAX_PIXELS = 2**22


def decode(place: str, blob: bytes) -> Pixels:
    """Return one image as ``(channels, height, width)`` with one channel (gray) or three; alpha is dropped.

    Raises:
        DataError: if the bytes are no image, have more than 8 bits a channel, or declare too many pixels;
            ``place`` says where they lie.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(blob), formats=_FORMATS) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise DataError(f"{place}: {image.width} x {image.height} pixels are too many; resize the image")
            if image.mode not in _GRAY + _COLOUR:
                raise DataError(f"{place}: pixel mode {image.mode}; save the image with 8 bits a channel")
            pixels = np.asarray(image.convert("L" if image.mode in _GRAY else "RGB"))
    except DataError:
        raise
    except Exception as error:  # decoders raise many kinds on damaged bytes
        formats = ", ".join(_FORMATS)
        raise DataError(f"{place}: the bytes are no sound {formats} image; remove or replace it") from error
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def decode_all(places: Iterable[tuple[str, bytes]]) -> list[Pixels]:
    """Return the images of many ``(place, bytes)`` in turn, as :func:`decode` does."""
    return [decode(place, blob) for place, blob in places]


def check_size(place: str, images: Sequence[Pixels], new: int, total: int) -> None:
    """Check that the last ``new`` images are as large as the first, and that ``total`` of them fit in memory.

    Raises:
        DataError: otherwise.
    """
    height, width = images[0].shape[1:]
    for image in images[-new:]:
        if image.shape[1:] != (height, width):
            raise DataError(
                f"{place}: images of {image.shape[2]} x {image.shape[1]} and of {width} x {height} pixels; "
                "resize them to one size"
            )
    if total * height * width * 3 > MAX_BYTES:
        raise DataError(f"{place}: {total} images of {width} x {height} pixels are too many; give fewer")


def stack(images: Sequence[Pixels]) -> Pixels:
    """Return ``(n, channels, height, width)``, in memory too; where gray and colour mix, gray becomes colour."""
    channels = max(len(image) for image in images)
    whole = np.empty((len(images), channels, *images[0].shape[1:]), dtype=images[0].dtype)
    for place, image in zip(whole, images, strict=True):
        place[:] = image
    return whole
