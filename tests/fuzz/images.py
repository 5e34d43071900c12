"""Seeded folders of images and masks of which some are damaged or unusual."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

FILES_PER_FOLDER = 3  # that are damaged or unusual

Damage = Callable[[np.random.Generator, bytes], bytes]


def write_folder(root: Path, seed: int) -> list[Path]:
    """Write images/ and masks/ with six pairs; three of the twelve files are damaged or unusual. Returns those."""
    rng = np.random.default_rng(seed)
    paths = []
    for index in range(6):
        image = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        mask = np.zeros((48, 64), np.uint8)
        mask[8:30, 10:40] = 1
        suffix = str(rng.choice([".png", ".jpg", ".tif", ".bmp"]))
        paths += [root / "images" / f"p{index}{suffix}", root / "masks" / f"p{index}.png"]
        for path, array in zip(paths[-2:], (image, mask), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    chosen = [paths[index] for index in rng.choice(len(paths), FILES_PER_FOLDER, replace=False)]
    for path in chosen:
        change = CHANGES[rng.integers(len(CHANGES))]
        path.write_bytes(change(rng, path.read_bytes()))
    return chosen


def truncated(rng: np.random.Generator, content: bytes) -> bytes:
    return content[: rng.integers(len(content))]


def flipped(rng: np.random.Generator, content: bytes) -> bytes:
    data = bytearray(content)
    for position in rng.integers(0, len(data), rng.integers(1, 20)):
        data[position] ^= 1 << int(rng.integers(8))
    return bytes(data)


def header_flipped(rng: np.random.Generator, content: bytes) -> bytes:
    return flipped(rng, content[:64]) + content[64:]


def zeroed(rng: np.random.Generator, content: bytes) -> bytes:
    start = int(rng.integers(len(content)))
    length = min(len(content) - start, int(rng.integers(1, 400)))
    return content[:start] + bytes(length) + content[start + length :]


def repeated(rng: np.random.Generator, content: bytes) -> bytes:
    start = int(rng.integers(len(content)))
    return content[:start] + content[start : start + 200] * 2 + content[start:]


def noise(rng: np.random.Generator, content: bytes) -> bytes:
    return rng.bytes(int(rng.integers(0, 3000)))


def text(rng: np.random.Generator, content: bytes) -> bytes:
    return b"<html>404 not found</html>" if rng.integers(2) else b"version https://git-lfs.github.com/spec/v1\n"


def gigantic(rng: np.random.Generator, content: bytes) -> bytes:
    """A small PNG whose header announces up to 2^31 - 1 pixels per side."""
    sides = rng.integers(20_000, 2**31 - 1, 2).tolist()
    header = struct.pack(">IIBBBBB", *sides, 8, int(rng.choice([0, 2, 3])), 0, 0, 0)
    chunks = [(b"IHDR", header), (b"PLTE", bytes(9)), (b"IDAT", zlib.compress(bytes(5000))), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def other_mode(rng: np.random.Generator, content: bytes) -> bytes:
    """A valid file in a mode that few expect: CMYK, 16 bits, floats, palettes, alpha, bits."""
    mode = str(rng.choice(["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F", "I;16"]))
    picture = Image.fromarray(rng.integers(0, 3, (48, 64), dtype=np.uint8))
    if mode == "I;16":
        picture = Image.fromarray(rng.integers(0, 65535, (48, 64), dtype=np.uint16))
    elif mode == "LAB":
        picture = Image.new("LAB", picture.size)
    else:
        picture = picture.convert("P" if mode == "PA" else "RGB" if mode in ("CMYK", "YCbCr", "P") else mode)
        picture = picture.convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, "TIFF" if mode in ("CMYK", "YCbCr", "LAB", "I", "F", "PA") else "PNG")
    return buffer.getvalue()


def other_size(rng: np.random.Generator, content: bytes) -> bytes:
    height, width = rng.integers(1, 70, 2)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 2, (height, width), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def tiff(rng: np.random.Generator, content: bytes) -> bytes:
    """Several pages, channels first, integers of 64 bits, floats with nan, complex numbers, bits with white as 0."""
    shape = [(48, 64), (2, 48, 64), (48, 64, 2), (5, 48, 64), (48, 64, 7)][rng.integers(5)]
    kind = str(rng.choice(["uint8", "int8", "uint16", "int32", "int64", "float16", "float32", "complex64", "bool"]))
    array = rng.integers(0, 2, shape).astype(kind)
    if kind.startswith("float"):
        array.flat[0] = np.nan
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, photometric="miniswhite" if rng.integers(2) else "minisblack")
    return buffer.getvalue()


def animated(rng: np.random.Generator, content: bytes) -> bytes:
    frames = [Image.fromarray(rng.integers(0, 2, (48, 64), dtype=np.uint8)) for _ in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, str(rng.choice(["GIF", "PNG", "WEBP", "TIFF"])), save_all=True, append_images=frames[1:])
    return buffer.getvalue()


CHANGES: tuple[Damage, ...] = (
    truncated,
    flipped,
    header_flipped,
    zeroed,
    repeated,
    noise,
    text,
    gigantic,
    other_mode,
    other_size,
    tiff,
    animated,
)
