"""Data sets whose masks are drawn from annotations: polygons, run lengths."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segrun.data.dataset import Dataset
from segrun.data.read.images import read_image
from segrun.data.sets.classes import read_classes
from segrun.data.sets.files import visible
from segrun.errors import DataError
from segrun.types import VOID, Sample

Mask = NDArray[np.uint8]


class Annotated(Dataset):
    """A subclass fills `places` (name: the image's file, then those of its labels), calls `name_classes` and draws.

    Masks are drawn in the size of the image as it is read, turned as its EXIF orientation says: annotation tools show
    it so. What no annotation covers is the class `background`, or VOID where that is None.
    """

    root: Path
    places: dict[str, tuple[Path, ...]]
    background: str | None

    @abstractmethod
    def draw(self, name: str, mask: Mask) -> None:
        """Onto `mask`, (H, W), filled with the background. Raises DataError, naming file and entry."""

    def name_classes(self, labels: Sequence[str], background: str | None) -> None:
        """`background`, then the labels; a label of its name is the same class."""
        self.background = background
        names = [] if background is None else [background]
        self.classes = read_classes(self.root, names + [label for label in labels if label != background])
        self.index = {name: index for index, name in enumerate(self.classes.names)}

    @property
    def names(self) -> Sequence[str]:  # type: ignore[override]
        return tuple(self.places)

    def files(self, name: str) -> tuple[Path, ...]:
        return self.places[name]

    def image(self, name: str) -> Tensor:
        return read_image(self.places[name][0], self.channels)

    def mask(self, name: str) -> Tensor:
        return self.sample(name).mask

    def sample(self, name: str) -> Sample:
        image = self.image(name)
        mask = np.full(tuple(image.shape[-2:]), VOID if self.background is None else 0, np.uint8)
        self.draw(name, mask)
        return Sample(name, image, torch.from_numpy(mask))


def same_size(mask: Mask, width: object, height: object, image: Path, file: Path) -> None:
    """Raises DataError where an annotation file gives the image another size than it is read in. None: not given."""
    high, wide = mask.shape
    if width not in (None, wide) or height not in (None, high):
        raise DataError(
            f"{image}: is {wide}×{high}, turned as its EXIF orientation says; {file} has it as {width}×{height}. "
            "Annotate this file, or bring back the one that was annotated."
        )


def read_json(file: Path) -> dict[str, Any]:
    """Raises DataError where it cannot be read, or holds no object."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:  # of the decoder and of UTF-8
        raise DataError(f"{file}: cannot be read as JSON ({error}).") from error
    if not isinstance(content, dict):
        raise DataError(f"{file}: holds no JSON object ({{…}}).")
    return content


def pictures(folder: Path) -> list[str]:
    """Image files in a folder and its subfolders, as paths in it; hidden ones are not looked at."""
    known = Image.registered_extensions()
    return [path.relative_to(folder).as_posix() for path in visible(folder) if path.suffix.lower() in known]
