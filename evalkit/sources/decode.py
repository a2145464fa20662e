"""From an image file's bytes to uint8 RGB: one decoder, and one rule for each kind of pixel, for all sources.

Pillow decodes, since the numbers of torch-fidelity, clean-fid and pytorch-fid rest on
``Image.open(f).convert("RGB")``; on 8-bit files the pixels here equal theirs bit for bit. The rules:

grey, 1-bit        repeated to three channels; the two levels of 1-bit become 0 and 255
palette            looked up
16 bits a channel  the high byte, ``value >> 8``: what Pillow does to colour. Pillow clips 16-bit grey at 255,
                   which is no image, so there evalkit differs from the peers. Netpbm files are scaled by
                   their own maxval first, and colour ones rounded by Pillow
alpha              dropped, not blended
CMYK, YCbCr        converted by Pillow; colour profiles are not applied
EXIF orientation   not applied (Pillow itself applies a TIFF's own orientation tag)
several frames     the first one
float, 32-bit      refused: their white is unknown

Alpha, 16 bits, CMYK, orientation and frames are counted, and the source says so in its notes.
"""

from __future__ import annotations

import enum
import io
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from evalkit.errors import SourceError
from evalkit.sources.base import Form, UInt8Array

if TYPE_CHECKING:
    from PIL import Image

EXTENSIONS = frozenset(
    f".{kind}" for kind in "png apng jpg jpeg jpe jfif webp bmp tif tiff ppm pgm pbm pnm".split()
)
ACCEPTED = "PNG, JPEG, WebP, BMP, TIFF, PPM/PGM/PBM"
# What a file is, its first bytes decide; nothing but these decoders is ever started on a user's file.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM")
MAX_PIXELS = 178_956_970  # where Pillow refuses; stated here because other packages lift Pillow's limit

_ORIENTATION = 274  # the number of this tag in EXIF and in TIFF
_BITS_PER_SAMPLE = 258


class Trait(enum.IntFlag):
    """What a rule had to be applied to."""

    ALPHA = 1
    DEEP = 2
    CMYK = 4
    TURNED = 8
    FRAMES = 16


TRAIT_NOTES: Mapping[Trait, str] = {
    Trait.ALPHA: "transparency: the alpha channel is dropped, as torch-fidelity and clean-fid do",
    Trait.DEEP: "16 bits a channel: the high byte is used",
    Trait.CMYK: "CMYK colours: converted by Pillow without a colour profile",
    Trait.TURNED: "an EXIF orientation: it is not applied, as torch-fidelity and clean-fid do",
    Trait.FRAMES: "several frames: the first one is used",
}


def is_image_name(name: str) -> bool:
    """Whether a path inside a folder or archive names an image, hidden files and macOS's extras left out."""
    parts = name.split("/")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and os.path.splitext(parts[-1])[1].lower() in EXTENSIONS


def decode(data: bytes, name: str) -> UInt8Array:
    """Decodes an image file to uint8 RGB ``(3, h, w)``.

    Args:
        data: The bytes of the file.
        name: How a message names it.

    Raises:
        SourceError: The bytes are no whole image of an accepted format, or of a pixel type without a rule.
    """
    try:
        with _open(data) as image:
            return pil_to_rgb(image)
    # A decoder that is fed broken bytes raises whatever it likes: OSError, SyntaxError, struct.error …
    except Exception as error:
        raise broken(name, error) from error


def traits(data: bytes, name: str) -> Trait:
    """Looks at an image file's header alone, for what the notes must say.

    Raises:
        SourceError: The bytes are no image of an accepted format.
    """
    try:
        with _open(data) as image:
            return _traits(image, data)
    except Exception as error:
        raise broken(name, error) from error


def form(data: bytes, name: str) -> Form:
    """Size of an image file and whether it is stored grey, from its header.

    Raises:
        SourceError: The bytes are no image of an accepted format.
    """
    try:
        with _open(data) as image:
            if image.format == "TIFF" and getattr(image, "tag_v2", {}).get(_ORIENTATION, 1) > 4:
                image.load()  # Pillow turns this format itself
            return Form(image.height, image.width, is_grey(image))
    except Exception as error:
        raise broken(name, error) from error


def is_grey(image: Image.Image) -> bool:
    """Whether a Pillow image has one channel of colour, with or without alpha."""
    return image.mode in ("1", "L", "LA", "La") or _is_16_bit(image)


def pil_to_rgb(image: Image.Image) -> UInt8Array:
    """A Pillow image as uint8 RGB ``(3, h, w)``, by the rules at the head of this file.

    Raises:
        SourceError: The pixel type has no rule.
    """
    if image.mode.startswith("I") and _is_16_bit(image):
        deep = np.asarray(image)
        grey = (deep.astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[None], 3, axis=0)
    if image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "floats"
        raise SourceError(
            f"its pixels are {kind}, and nothing says which value is white; save it with 8 or 16 bits a "
            "channel"
        )
    image.load()
    if "transparency" in image.info:
        # With the transparent colour forgotten, Pillow converts without its warning and to the same pixels.
        image = image.copy()
        del image.info["transparency"]
    rgb = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    return np.ascontiguousarray(rgb.transpose(2, 0, 1))


def broken(name: str, error: Exception) -> SourceError:
    """The error of one unreadable image; it names the image and the way out."""
    why = str(error) if isinstance(error, SourceError) else f"{type(error).__name__}: {error}"
    return SourceError(
        f"{name} cannot be read as an image ({why}); accepted are whole files of {ACCEPTED}: replace it, or "
        "leave unreadable images out with --skip-broken"
    )


def _open(data: bytes) -> Image.Image:
    from PIL import Image, ImageFile, UnidentifiedImageError

    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise SourceError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set, which turns broken files into grey pixels; set it "
            "to False before evaluating"
        )
    if not data:
        raise SourceError("the file is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError:
        raise SourceError("no accepted format begins like this file") from None
    if image.width * image.height > MAX_PIXELS:
        raise SourceError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS:,}")
    return image


def _is_16_bit(image: Image.Image) -> bool:
    # A 16-bit grey PNG or PGM is "I" in some versions of Pillow; a TIFF is "I" only where it is wider or
    # signed.
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))


def _traits(image: Image.Image, data: bytes) -> Trait:
    found = Trait(0)
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        found |= Trait.ALPHA
    if image.mode == "CMYK":
        found |= Trait.CMYK
    if getattr(image, "is_animated", False):
        found |= Trait.FRAMES
    tags = getattr(image, "tag_v2", {})
    deep_png = image.format == "PNG" and data[24] == 16  # the bit depth in the IHDR chunk
    deep_tiff = max(tags.get(_BITS_PER_SAMPLE, (8,))) == 16
    if _is_16_bit(image) or deep_png or deep_tiff:
        found |= Trait.DEEP
    if image.format != "TIFF" and "exif" in image.info and image.getexif().get(_ORIENTATION, 1) != 1:
        found |= Trait.TURNED
    return found
