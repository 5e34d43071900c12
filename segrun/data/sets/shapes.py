"""The embedded default data set: pictures drawn by the program.

What tells the classes apart is texture alone. Outline, colour, brightness, scale and direction are drawn at
random for every object, plain objects without texture belong to the background, light falls unevenly, and
objects lie over each other. Pretrained networks know textures (Geirhos et al., ICLR 2019); a network that
starts from nothing has to learn them from a few dozen pictures.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segrun.data.dataset import SPLITS, Dataset
from segrun.types import ClassMap

Field = NDArray[np.float64]
TEXTURES = ("stripes", "checks", "dots", "waves", "bricks")


class Shapes(Dataset):
    """Deterministic in (seed, name): nothing is read, nothing is written.

    size: height and width in pixels; train, val, test: pictures a split; objects: most objects a picture.
    """

    def __init__(self, size: int, train: int, val: int, test: int, objects: int, seed: int) -> None:
        self.classes = ClassMap.of(("background", *TEXTURES))
        self.size, self.objects, self.seed = size, objects, seed
        counts = dict(zip(SPLITS, (train, val, test), strict=True))
        self.splits = {s: tuple(f"{s}-{i:03}" for i in range(n)) for s, n in counts.items() if n}
        self.names = tuple(name for names in self.splits.values() for name in names)

    def image(self, name: str) -> Tensor:
        return torch.from_numpy(_drawn(name, self.size, self.objects, self.seed)[0])

    def mask(self, name: str) -> Tensor:
        return torch.from_numpy(_drawn(name, self.size, self.objects, self.seed)[1])


@functools.lru_cache(maxsize=512)
def _drawn(name: str, size: int, objects: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    split, _, number = name.partition("-")
    rng = np.random.default_rng((seed, SPLITS.index(split), int(number)))
    y, x = np.mgrid[:size, :size].astype(np.float64)
    image = _coloured(_clouds(rng, size), rng)
    mask = np.zeros((size, size), np.uint8)
    for _ in range(rng.integers(max(2, objects // 2), objects + 1)):
        inside = _outline(rng, x, y, size)
        label = int(rng.integers(0, len(TEXTURES) + 1))
        pattern = _texture(label, rng, x, y) if label else np.full_like(x, 0.5)
        image = np.where(inside, _coloured(pattern, rng), image)
        mask[inside] = label
    light = 0.65 + 0.55 * _clouds(rng, size, coarse=2)
    image = image * light * rng.uniform(0.75, 1.2) + rng.normal(0, rng.uniform(0.02, 0.07), image.shape)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8), mask


def _clouds(rng: np.random.Generator, size: int, coarse: int = 4) -> Field:
    """Smooth noise in [0, 1]: a coarse random grid, interpolated bilinearly."""
    grid = rng.random((coarse + 1, coarse + 1))
    at = np.linspace(0, coarse, size, endpoint=False)
    low = at.astype(int)
    part = at - low
    rows = grid[low] * (1 - part)[:, None] + grid[low + 1] * part[:, None]
    return np.asarray(rows[:, low] * (1 - part) + rows[:, low + 1] * part)


def _coloured(pattern: Field, rng: np.random.Generator) -> Field:
    """(3, H, W): the pattern blends two random colours of clearly different brightness, either way round."""
    one = rng.uniform(0.15, 0.85, 3)
    other = one + rng.choice((-1, 1)) * rng.uniform(0.25, 0.5) + rng.normal(0, 0.12, 3)
    return np.asarray(one[:, None, None] * (1 - pattern) + np.clip(other, 0, 1)[:, None, None] * pattern)


def _outline(rng: np.random.Generator, x: Field, y: Field, size: int) -> NDArray[np.bool_]:
    """An ellipse, a rectangle or a wavy blob, anywhere, in any direction."""
    u, v = _turned(rng, x - rng.uniform(0, size), y - rng.uniform(0, size))
    a, b = rng.uniform(0.12, 0.3, 2) * size
    kind = rng.integers(3)
    if kind == 0:
        return np.asarray((u / a) ** 2 + (v / b) ** 2 < 1)
    if kind == 1:
        return np.asarray((np.abs(u) < a) & (np.abs(v) < b))
    wobble = 1 + 0.25 * np.sin(rng.integers(2, 6) * np.arctan2(v, u) + rng.uniform(0, 6))
    return np.asarray(np.hypot(u / a, v / b) < wobble)


def _turned(rng: np.random.Generator, x: Field, y: Field) -> tuple[Field, Field]:
    angle = rng.uniform(0, 2 * math.pi)
    return x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)


def _texture(label: int, rng: np.random.Generator, x: Field, y: Field) -> Field:
    """The pattern of a class in [0, 1], with its own period (in pixels), direction and phase."""
    u, v = (2 * math.pi * c / rng.uniform(6, 11) + rng.uniform(0, 6) for c in _turned(rng, x, y))
    name = TEXTURES[label - 1]
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
