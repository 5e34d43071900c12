"""What the header of a picture file says of its pixels, and where Pillow would not give them as they are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, UnidentifiedImageError

SINGLE_PICTURES = ("MPO", "PSD")  # further frames of these formats are previews, depth maps and layers of the first
NO_PAGE = 0b101  # bits of a TIFF's NewSubfileType: a reduced copy, or a transparency mask, of another page
BYTES = ("L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB")  # Pillow's modes of 8 bits per channel
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SHADES = ("L;2", "L;4", "L;2I", "L;4I", "L;2R", "L;4R", "L;2IR", "L;4IR")  # raw modes that Pillow scales to 0…255


def count_pictures(image: Image.Image) -> int:
    """Pages or frames, without reduced copies of a TIFF's pages."""
    frames: int = 1 if image.format in SINGLE_PICTURES else getattr(image, "n_frames", 1)
    if frames == 1 or image.format != "TIFF":
        return frames
    pages = 0
    for index in range(frames):
        image.seek(index)
        pages += not tiff_tag(image, ExifTags.Base.NewSubfileType, 0) & NO_PAGE
    image.seek(0)
    return pages


def has_wide_planes(image: Image.Image) -> bool:
    """Whether a TIFF stores colours of more than 8 bits plane by plane, of which Pillow takes the bytes for pixels."""
    is_planar = tiff_tag(image, ExifTags.Base.PlanarConfiguration, 1) == 2
    return is_planar and image.mode in BYTES and _bits(image) > 8


def keeps_8_of_16_bits(image: Image.Image) -> bool:
    """Whether Pillow reduces a picture to 8 bits per channel. Grey of 16 bits it reads in full."""
    codec, raw_mode, maximum = _coding(image)
    return image.mode in BYTES and (_bits(image) > 8 or ";16" in raw_mode or maximum > 255 or codec == "SGI16")


def changed_values(image: Image.Image) -> str:
    """Why the values of a mask would not be those that are stored, and what to do; empty if they are.

    Args:
        image: A picture whose pixels are not decoded yet: decoding removes what its header says of them.
    """
    if tiff_tag(image, ExifTags.Base.PhotometricInterpretation, 1) == 0:
        return (
            "a mask stored as WhiteIsZero, which programs read as it is or inverted. Save 8 bits as BlackIsZero "
            "(tifffile: mask.astype('uint8'), photometric='minisblack')"
        )
    if keeps_8_of_16_bits(image):
        return (
            "a mask of 16 bits per channel, of which Pillow keeps 8. Save class indices in one channel, or colours of "
            "8 bits"
        )
    samples = tiff_tag(image, ExifTags.Base.SamplesPerPixel, 1)
    if samples > 1 and len(image.getbands()) == 1:
        return f"a mask of {samples} channels. Save class indices in one channel, or colours"
    codec, raw_mode, maximum = _coding(image)
    is_scaled = codec.startswith("ppm") and maximum != (255 if image.mode in BYTES else 65535)
    # black and white are 0 and 255 at any depth
    if (raw_mode in SHADES or is_scaled) and (image.mode not in BYTES or any(image.histogram()[1:255])):
        return "a mask of shades that Pillow scales to its full range. Save 8 bits, or a palette"
    return ""


def is_unknown_tiff(path: Path, error: BaseException | None) -> bool:
    """Whether a file begins as a TIFF, but Pillow raised `error` because it does not know what it holds."""
    if not isinstance(error, UnidentifiedImageError):
        return False
    with path.open("rb") as file:
        return file.read(4) in TIFF_MAGIC


def tiff_tag(image: Image.Image, tag: int, default: int) -> Any:
    """The value of a tag; the default if it is missing, or the picture is no TIFF."""
    return getattr(image, "tag_v2", {}).get(tag, default)


def _bits(image: Image.Image) -> int:
    """Bits per channel of a TIFF; 0 for other formats."""
    bits = tiff_tag(image, ExifTags.Base.BitsPerSample, 0)
    return max(bits) if isinstance(bits, tuple) else int(bits)


def _coding(image: Image.Image) -> tuple[str, str, int]:
    """The codec, Pillow's raw mode, and for Netpbm files the value of white."""
    tiles = getattr(image, "tile", ())
    if not tiles:
        return "", "", 0
    codec, _, _, args = tiles[0]
    words = args if isinstance(args, tuple) else (args,)
    maximum = int(words[1]) if codec.startswith("ppm") else 0
    return codec, str(words[0]) if words else "", maximum
