"""One look at an image and its mask: the small record from which training and `segrun check` judge a data set."""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segrun.data.dataset import Dataset
from segrun.data.scan.hashing import difference_hash
from segrun.errors import DataError
from segrun.types import VOID

STRIDES = (4, 8, 16, 32)
VERSION = 3  # another one whenever a look sees something else: what was kept of earlier ones is then not used
SIDE = 96  # pixels of the shorter side of the reduced picture in which edges are compared
ROWS = 512  # rows of a mask counted at a time: memory stays flat for whole slides
FEW = 8  # pixels of edges below which nothing can be said of them
Bytes = NDArray[np.uint8]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ImageRecord:
    """problem: what is wrong with the files, "" where nothing is; kind: "unreadable", "size" or "value" then. What
    could not be read stays at its default.

    jpeg: the mask's file is a JPEG; size: (height, width); mode: grey or colour, and depth; low, high, mean: the
    image's intensities in [0, 1]; levels: its different colours, counted where the mask is wrong and 0 elsewhere;
    digest: equal where images are, pixel for pixel, but for blank ones, which are no copies of each other; alike: the
    perceptual hash; labels: equal where masks are; alignment: see `alignment`; counts: (1 + strides, classes), the
    pixels of each class, and how many of these are left when each stride × stride cell holds but its most frequent
    class; void: pixels without a label.
    """

    problem: str = ""
    kind: str = ""
    jpeg: bool = False
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    levels: int = 0
    digest: bytes = b""
    alike: int = 0
    labels: int = 0
    void: int = 0
    alignment: float = float("nan")
    counts: Counts = field(default_factory=lambda: np.zeros((1 + len(STRIDES), 0), np.int64))

    @property
    def pixels(self) -> Counts:
        return np.asarray(self.counts[0])


def inspect_sample(data: Dataset, name: str) -> ImageRecord:
    """What is wrong with an image's or a mask's file is part of the record, not an exception."""
    jpeg = any(_is_jpeg(path) for path in data.files(name)[1:2])
    mask, problem = None, ""
    try:
        sample = data.sample(name)  # in one: many data sets decode the same file for both
        image, mask = sample.image, sample.mask
    except DataError as error:
        problem = str(error)
        try:
            image = data.image(name)
        except DataError as unreadable:
            return ImageRecord(str(unreadable), "unreadable", jpeg)
    pixels = image.contiguous().numpy()
    small = reduced(pixels)
    grey = small.mean(0, dtype=np.float32)
    low, high = float(pixels.min()), float(pixels.max())
    # sums of the channels and the perceptual hash together: hashing every byte would take longer than decoding
    sums = [zlib.crc32(channel) for channel in pixels]
    alike = difference_hash(grey)
    known = f"{tuple(image.shape)} {sums} {alike} {name if low == high else ''}"
    top = 255.0 if pixels.dtype == np.uint8 else 1.0
    seen = {
        "size": (int(pixels.shape[1]), int(pixels.shape[2])),
        "mode": _mode(pixels),
        "low": low / top,
        "high": high / top,
        "mean": float(grey.mean()) / 255,
        "digest": hashlib.blake2b(known.encode(), digest_size=16).digest(),
        "alike": alike,
    }
    if mask is None:
        try:
            data.mask(name)
        except DataError as error:
            kind = "unreadable" if "cannot be read" in str(error) or "no such file" in str(error) else "value"
            return ImageRecord(str(error), kind, jpeg, levels=_levels(image), **seen)  # type: ignore[arg-type]
        return ImageRecord(problem, "size", jpeg, **seen)  # type: ignore[arg-type]
    labels = np.ascontiguousarray(mask.numpy())
    counts, void = counted(labels, len(data.classes))
    return ImageRecord(
        jpeg=jpeg, labels=zlib.crc32(labels.data), void=void, alignment=alignment(small, labels), counts=counts,
        **seen,  # type: ignore[arg-type]
    )  # fmt: skip


def counted(mask: Bytes, classes: int) -> tuple[Counts, int]:
    """(1 + strides, classes) pixels, and void ones; see `ImageRecord.counts`."""
    counts = np.zeros((1 + len(STRIDES), classes), np.int64)
    for top in range(0, len(mask), ROWS):
        band = mask[top : top + ROWS]
        values = band.tobytes()
        present = [c for c in range(classes) if c in values]
        if not present:
            continue
        down, right = (-side % STRIDES[-1] for side in band.shape)
        band = np.pad(band, ((0, down), (0, right)), constant_values=VOID)
        cells = np.stack([_fours(band == c) for c in present])
        counts[0, present] += _total(cells)
        for row in range(len(STRIDES)):
            if row:
                cells = _quartered(cells.astype(np.uint16))
            counts[1 + row, present] += _total(cells * (cells == cells.max(0)))
    return counts, mask.size - int(counts[0].sum())


def _fours(plane: NDArray[np.bool_]) -> Bytes:
    """(H, W) → (H/4, W/4): how many are true in each square of sixteen, counted four bytes at a time."""
    words = plane.view(np.uint32)
    rows = words[::4] + words[1::4] + words[2::4] + words[3::4]
    return (rows * np.uint32(0x01010101) >> np.uint32(24)).astype(np.uint8)


def _quartered(cells: NDArray[Any]) -> NDArray[Any]:
    """(…, H, W) → (…, H/2, W/2): sums over squares of four."""
    pairs = cells[..., ::2, :] + cells[..., 1::2, :]
    return np.asarray(pairs[..., ::2] + pairs[..., 1::2])


def _total(cells: NDArray[Any]) -> Counts:
    return np.asarray(cells.reshape(len(cells), -1).sum(1, dtype=np.int64))


def reduced(pixels: NDArray[np.uint8] | NDArray[np.float32]) -> Bytes:
    """(C, H, W) → the first channels, three at most, as means over squares, about `SIDE` high or wide."""
    bytes_ = pixels[:3] if pixels.dtype == np.uint8 else (pixels[:3] * 255).astype(np.uint8)
    step = _step(*pixels.shape[1:])
    return np.stack([np.asarray(Image.fromarray(channel).reduce(step)) for channel in bytes_])


def _step(height: int, width: int) -> int:
    return max(1, round(min(height, width) / SIDE))


def alignment(small: Bytes, mask: Bytes) -> float:
    """How well the mask's edges lie on the image's: 1 where every edge is steeper than all of the rest, 0 where they
    lie anywhere, as a mask of another image does; NaN where there are none.

    It is 2 · AUC - 1 of the gradient's strength as a sign of an edge, in the reduced picture: ranks, since light and
    contrast differ from image to image.
    """
    step = _step(*mask.shape)
    labels = mask[step // 2 :: step, step // 2 :: step]
    height, width = min(small.shape[1], labels.shape[0]), min(small.shape[2], labels.shape[1])
    values, labels = small[:, :height, :width].astype(np.int16), labels[:height, :width]
    steep, edges = np.zeros(3 * VOID + 1, np.int64), np.zeros(3 * VOID + 1, np.int64)
    for one, other in ((np.s_[1:, :], np.s_[:-1, :]), (np.s_[:, 1:], np.s_[:, :-1])):
        gradient = np.abs(values[(..., *one)] - values[(..., *other)]).sum(0)
        edge = (labels[one] != labels[other]) & (labels[one] != VOID) & (labels[other] != VOID)
        edges += np.bincount(gradient[edge], minlength=len(edges))
        steep += np.bincount(gradient.ravel(), minlength=len(steep))
    rest = steep - edges
    if edges.sum() < FEW or not rest.any():
        return float("nan")
    below = np.cumsum(rest) - rest / 2
    return float(2 * (edges * below).sum() / (edges.sum() * rest.sum()) - 1)


def _mode(pixels: NDArray[np.uint8] | NDArray[np.float32]) -> str:
    channels = len(pixels)
    grey = channels == 1 or (channels in (3, 4) and all(np.array_equal(pixels[0], pixels[i]) for i in (1, 2)))
    kind = "grey" if grey else "colour" if channels in (3, 4) else f"{channels} channels"
    return kind if pixels.dtype == np.uint8 else f"{kind}, more than 8 bits"


def _levels(image: Tensor) -> int:
    return len(np.unique(image.flatten(1).numpy(), axis=1)[0])


def _is_jpeg(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(3) == b"\xff\xd8\xff"
    return False
