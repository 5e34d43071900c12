"""Every reader of mask files: what Pillow or GDAL would misread is refused by name, or its stored values are read."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segrun.data.dataset import Dataset
from segrun.data.read.masks import read_mask_values
from segrun.errors import DataError
from tests.commands.test_readers import written
from tests.data.sets.config import from_config

tifffile = pytest.importorskip("tifffile")

Pixels = NDArray[Any]
# all but readers of annotations, of an alpha channel, of NIfTI and of MATLAB files
INDEX_READERS = ("ade20k", "camvid", "cityscapes", "coco_stuff", "dicom", "folder", "microscopy", "pet", "voc")
COLOUR_READERS = ("coco_panoptic", "cvat")


def png(path: Path, samples: Pixels, colour_type: int, depth: int = 16) -> None:
    """A PNG of 16 bits, (H, W, channels), or of packed bytes (H, bytes) of less; Pillow writes neither."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width * (1 if depth == 16 else 8 // depth), height, depth, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2" if depth == 16 else np.uint8).tobytes() for row in samples)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def frames(path: Path, mask: Pixels, kind: str) -> None:
    pictures = [Image.fromarray(values) for values in (mask, mask + 1)]
    pictures[0].save(
        path, kind, save_all=True, append_images=pictures[1:], **({"lossless": True} if kind == "WEBP" else {})
    )


def deep(path: Path, mask: Pixels, colour_type: int, channels: int) -> None:
    png(path, np.repeat(mask[..., None], channels, axis=2), colour_type)


def mask_file(data: Dataset, name: str) -> Path:
    return [path for path in data.files(name) if path.suffix == ".png"][-1]


# (writer of a mask of bytes, what the message says)
REFUSED: Mapping[str, tuple[Callable[[Path, Pixels], object], str]] = {
    "1 bit, white is zero": (lambda path, mask: tifffile.imwrite(path, mask > 0), "stored as WhiteIsZero"),
    "8 bits, white is zero": (
        lambda path, mask: tifffile.imwrite(path, mask, photometric="miniswhite"), "stored as WhiteIsZero",
    ),
    "16 bits, white is zero": (
        lambda path, mask: tifffile.imwrite(path, mask.astype(np.uint16), photometric="miniswhite"),
        "stored as WhiteIsZero",
    ),
    "RGB of 16 bits": (lambda path, mask: deep(path, mask, 2, 3), "a mask of 16 bits per channel"),
    "RGBA of 16 bits": (lambda path, mask: deep(path, mask, 6, 4), "a mask of 16 bits per channel"),
    "LA of 16 bits": (lambda path, mask: deep(path, mask, 4, 2), "a mask of 16 bits per channel"),
    "RGB of 16 bits in TIFF": (
        lambda path, mask: tifffile.imwrite(path, np.stack([mask] * 3, 2).astype(np.uint16), photometric="rgb"),
        "a mask of 16 bits per channel",
    ),
    "two pages": (
        lambda path, mask: tifffile.imwrite(path, np.stack([mask, mask + 1])), r"holds 2 pictures \(pages or frames\)",
    ),
    "animated GIF": (lambda path, mask: frames(path, mask, "GIF"), "holds 2 pictures"),
    "animated WebP": (lambda path, mask: frames(path, mask, "WEBP"), "holds 2 pictures"),
    "animated PNG": (lambda path, mask: frames(path, mask, "PNG"), "holds 2 pictures"),
    "two channels": (
        lambda path, mask: tifffile.imwrite(
            path, np.stack([mask, mask + 1], 2), photometric="minisblack", planarconfig="contig"
        ), "a mask of 2 channels",
    ),
    "4 bits of grey": (lambda path, mask: png(path, mask.clip(0, 2), 0, depth=4), "shades that Pillow scales"),
    "Netpbm with white at 3": (
        lambda path, mask: path.write_bytes(b"P5 %d %d 3\n" % mask.shape[::-1] + np.minimum(mask, 2).tobytes()),
        "shades that Pillow scales",
    ),
}  # fmt: skip


@pytest.mark.parametrize("reader", [*INDEX_READERS, *COLOUR_READERS])
def test_a_mask_that_pillow_would_misread_is_refused_by_name(reader: str) -> None:
    _, _, words = written(reader)
    data = from_config(*words)
    name = data.names[0]
    path = mask_file(data, name)
    with Image.open(path) as image:
        mask = np.asarray(image.convert("L"))
    for kind, (write, message) in REFUSED.items():
        write(path, mask)
        with pytest.raises(DataError, match=message) as error:
            data.mask(name)
        assert str(error.value).startswith(str(path)), kind


@pytest.mark.parametrize("reader", INDEX_READERS)
def test_whole_numbers_of_any_type_are_read(reader: str) -> None:
    _, masks, words = written(reader)
    data = from_config(*words)
    name = data.names[0]
    path = mask_file(data, name)
    values, mask = read_mask_values(path), data.mask(name)
    assert len(set(mask.flatten().tolist())) == len(np.unique(masks[name])) == 3
    for kind in ("int64", "uint64", "float32", "float64", "int32", "uint16"):
        tifffile.imwrite(path, values.astype(kind))
        assert data.mask(name).equal(mask), kind


@pytest.mark.parametrize("kind", ["float32", "float64", "float16"])
def test_floats_that_are_no_whole_numbers_are_refused_with_their_number(kind: str) -> None:
    tifffile.imwrite("m.tif", np.array([[0, 1], [0.5, np.nan]], kind))
    with pytest.raises(DataError, match=r"m\.tif: a mask of floats, of which 2 pixels are no whole numbers \(0\.5"):
        read_mask_values(Path("m.tif"))


def test_negative_numbers_of_8_bits_stay_negative() -> None:
    tifffile.imwrite("m.tif", np.array([[-1, 1]], np.int8))
    assert read_mask_values(Path("m.tif")).tolist() == [[-1, 1]]


def test_black_and_white_is_read_at_any_depth() -> None:
    png(Path("m.png"), np.array([[0x0F, 0xF0]]), 0, depth=4)
    assert read_mask_values(Path("m.png")).tolist() == [[0, 255, 255, 0]]


def test_a_reduced_copy_in_a_tiff_is_no_second_page() -> None:
    with tifffile.TiffWriter("m.tif") as file:
        file.write(np.eye(8, dtype=np.uint8))
        file.write(np.zeros((4, 4), np.uint8), subfiletype=1)
    assert np.array_equal(read_mask_values(Path("m.tif")), np.eye(8))


def test_a_raster_gives_the_stored_values_of_white_is_zero_and_of_whole_floats() -> None:
    raster = pytest.importorskip("tests.data.sets.test_geotiff")
    values = np.array([[0, 1, 1, 0]] * 4, np.uint8)
    raster.scene("a", raster.counting(1, 4, 4))

    def mask() -> Any:
        return raster.tiles().mask("a/000000_000000").tolist()

    path = "data/masks/a.tif"
    for kind in (np.float32, np.int64):
        tifffile.imwrite(path, values.astype(kind))
        assert mask() == values.tolist()
    for white in (bool, np.uint8):
        tifffile.imwrite(path, values.astype(white), photometric="miniswhite")
        assert mask() == values.tolist()
    tifffile.imwrite(path, np.where(values == 1, np.nan, 0).astype(np.float32))
    assert mask() == (255 * values).tolist()
    tifffile.imwrite(path, values + np.float32(0.5))
    with pytest.raises(DataError, match=r"masks/a\.tif: a mask of floats, of which 16 pixels"):
        mask()


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_a_raster_of_several_pages_is_refused(folder: str) -> None:
    raster = pytest.importorskip("tests.data.sets.test_geotiff")
    raster.scene("a", raster.counting(1, 4, 4))
    tifffile.imwrite(f"data/{folder}/a.tif", np.zeros((2, 4, 4), np.uint8), photometric="minisblack")
    with pytest.raises(DataError, match=rf"{folder}/a\.tif: holds 2 rasters"):
        raster.tiles()
