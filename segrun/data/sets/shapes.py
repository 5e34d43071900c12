"""The embedded default data set: pictures drawn by the program.

The classes differ in texture alone. Outline, colour, brightness, scale and direction are random for every object, plain
objects without texture belong to the background, light falls unevenly, and objects occlude each other. Pretrained
networks know textures (Geirhos et al., ICLR 2019); a network trained from scratch has to learn them from a few dozen
pictures.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le
from numpy.typing import NDArray
from torch import Tensor

from segrun.data.dataset import SPLITS, Dataset
from segrun.errors import RequestError
from segrun.ranges import NonNegativeInt
from segrun.types import ClassMap

Field = NDArray[np.float64]
TEXTURES = ("stripes", "checks", "dots", "waves", "bricks")

PictureSize = Annotated[int, Ge(1), Le(10_000)]
PictureCount = Annotated[int, Ge(0), Le(1_000_000)]


class Shapes(Dataset):
    """Pictures that are a function of (seed, name). No file is read or written.

    Args:
        size: Height and width in pixels.
        train: Number of pictures.
        val: Number of pictures.
        test: Number of pictures.
        objects: Largest number of objects per picture.
        seed: Of the pictures.

    Raises:
        RequestError: There is no picture at all.
    """

    def __init__(
        self,
        size: PictureSize,
        train: PictureCount,
        val: PictureCount,
        test: PictureCount,
        objects: Annotated[int, Ge(2), Le(1000)],
        seed: NonNegativeInt,
    ) -> None:
        counts = dict(zip(SPLITS, (train, val, test), strict=True))
        if not any(counts.values()):
            raise RequestError("dataset.train=0 dataset.val=0 dataset.test=0: there is no picture. Give at least one.")
        self.classes = ClassMap.of(("background", *TEXTURES))
        self.size, self.objects, self.seed = size, objects, seed
        self.splits = {
            split: tuple(f"{split}-{index:03}" for index in range(count)) for split, count in counts.items() if count
        }
        self.names = tuple(name for names in self.splits.values() for name in names)

    def files(self, name: str) -> tuple[Path, ...]:
        return (Path(__file__),)  # a picture depends on this file and the settings

    def image(self, name: str) -> Tensor:
        return torch.from_numpy(_draw_picture(name, self.size, self.objects, self.seed)[0])

    def mask(self, name: str) -> Tensor:
        return torch.from_numpy(_draw_picture(name, self.size, self.objects, self.seed)[1])


@functools.lru_cache(maxsize=512)
def _draw_picture(name: str, size: int, objects: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(3, size, size) picture and (size, size) class indices."""
    split, _, number = name.partition("-")
    rng = np.random.default_rng((seed, SPLITS.index(split), int(number)))
    y, x = np.mgrid[:size, :size].astype(np.float64)
    image = _blend_colours(_smooth_noise(rng, size), rng)
    mask = np.zeros((size, size), np.uint8)
    for _ in range(rng.integers(max(2, objects // 2), objects + 1)):
        inside = _draw_outline(rng, x, y, size)
        label = int(rng.integers(0, len(TEXTURES) + 1))
        pattern = _draw_texture(TEXTURES[label - 1], rng, x, y) if label else np.full_like(x, 0.5)
        image = np.where(inside, _blend_colours(pattern, rng), image)
        mask[inside] = label
    light = 0.65 + 0.55 * _smooth_noise(rng, size, cells=2)
    image = image * light * rng.uniform(0.75, 1.2) + rng.normal(0, rng.uniform(0.02, 0.07), image.shape)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8), mask


def _smooth_noise(rng: np.random.Generator, size: int, cells: int = 4) -> Field:
    """(size, size) noise in [0, 1]: a random grid of so many cells per side, interpolated bilinearly."""
    grid = rng.random((cells + 1, cells + 1))
    position = np.linspace(0, cells, size, endpoint=False)
    cell = position.astype(int)
    weight = position - cell
    rows = grid[cell] * (1 - weight)[:, None] + grid[cell + 1] * weight[:, None]
    return np.asarray(rows[:, cell] * (1 - weight) + rows[:, cell + 1] * weight)


def _blend_colours(pattern: Field, rng: np.random.Generator) -> Field:
    """(3, H, W): the pattern blends two random colours of clearly different brightness, in either order."""
    first = rng.uniform(0.15, 0.85, 3)
    second = first + rng.choice((-1, 1)) * rng.uniform(0.25, 0.5) + rng.normal(0, 0.12, 3)
    return np.asarray(first[:, None, None] * (1 - pattern) + np.clip(second, 0, 1)[:, None, None] * pattern)


def _draw_outline(rng: np.random.Generator, x: Field, y: Field, size: int) -> NDArray[np.bool_]:
    """The inside of an ellipse, a rectangle or a wavy blob, anywhere, in any direction."""
    u, v = _rotate_randomly(rng, x - rng.uniform(0, size), y - rng.uniform(0, size))
    a, b = rng.uniform(0.12, 0.3, 2) * size
    kind = rng.integers(3)
    if kind == 0:
        return np.asarray((u / a) ** 2 + (v / b) ** 2 < 1)
    if kind == 1:
        return np.asarray((np.abs(u) < a) & (np.abs(v) < b))
    wobble = 1 + 0.25 * np.sin(rng.integers(2, 6) * np.arctan2(v, u) + rng.uniform(0, 6))
    return np.asarray(np.hypot(u / a, v / b) < wobble)


def _rotate_randomly(rng: np.random.Generator, x: Field, y: Field) -> tuple[Field, Field]:
    angle = rng.uniform(0, 2 * math.pi)
    return x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)


def _draw_texture(name: str, rng: np.random.Generator, x: Field, y: Field) -> Field:
    """The pattern of a class in [0, 1], with a random period (in pixels), direction and phase."""
    rotated = _rotate_randomly(rng, x, y)
    u, v = (2 * math.pi * axis / rng.uniform(6, 11) + rng.uniform(0, 6) for axis in rotated)
    if name == "stripes":
        wave = np.sin(u)
    elif name == "checks":
        wave = np.sin(u) * np.sin(v) * 2
    elif name == "dots":
        wave = np.cos(u) + np.cos(v) - 0.9
    elif name == "waves":
        wave = np.sin(u + 1.6 * np.sin(v * 0.7))
    else:
        row = np.floor(v / math.pi)
        mortar = np.minimum(np.abs(np.sin(v)), np.abs(np.sin(u / 2 + (row % 2) * math.pi / 2)))
        wave = mortar - 0.3
    return np.asarray(0.5 + 0.5 * np.tanh(4 * wave))
