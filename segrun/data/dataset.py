"""What a data set is to the rest of segrun."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

from segrun.data.read.images import read_image
from segrun.errors import DataError, RequestError, join_names
from segrun.types import ClassMap, Sample

Reader = Callable[[Path], Tensor]  # → (channels, H, W)
Splits = Mapping[str, Sequence[str]]
SPLITS = ("train", "val", "test")


class Dataset(ABC):
    """A named set of images with masks.

    A subclass sets `classes`, `channels` of the images, `names` of all images, `labels` of whole images if it has any,
    `splits` where its publisher or its folders part them (train, val, test: names; what is empty is drawn), `notes`
    (what the user should know: files left out, how masks were understood) and `problems` (what is wrong with its
    files; check lists them, everything else refuses them), and reads by name.
    """

    classes: ClassMap
    names: Sequence[str]
    splits: Splits = MappingProxyType({})
    channels: int = 3
    labels: Mapping[str, str] = MappingProxyType({})
    notes: Sequence[str] = ()
    problems: Sequence[str] = ()

    @abstractmethod
    def image(self, name: str) -> Tensor:
        """(channels, H, W): uint8, or float32 in [0, 1]. Raises DataError when it cannot be read."""

    @abstractmethod
    def mask(self, name: str) -> Tensor:
        """(H, W) uint8: class indices and VOID. Raises DataError, naming file and value."""

    @classmethod
    def reader(cls, options: Mapping[str, Any], channels: int) -> Reader:
        """How one more image file is read as this data set, made with these options of its config, reads its own."""
        return partial(read_image, channels=channels)

    @classmethod
    def sidecars(cls, path: Path) -> Mapping[str, str]:
        """What belongs beside every picture that is made of such an image file: texts by the ending that is added to
        the picture's name. Most: nothing."""
        return {}

    def files(self, name: str) -> tuple[Path, ...]:
        """What it is read from, the image's file first: a cache asks for their size and time. None: nothing to ask."""
        return ()

    def group(self, name: str) -> str:
        """What it is a part of (a volume, a scene), so that a drawn split keeps them together."""
        return name

    def fit(self, names: Sequence[str]) -> Mapping[str, Any]:
        """Measure on these training images what reading needs to know (see `Scaled`); gives it as it stands in the
        config from now on. Most have nothing to measure."""
        return {}

    def sample(self, name: str) -> Sample:
        """Image and mask together. Raises DataError where their sizes differ."""
        image, mask = self.image(name), self.mask(name)
        if image.shape[-2:] != mask.shape:
            wide = "×".join(str(v) for v in reversed(image.shape[-2:]))
            raise DataError(f"{name}: the image is {wide}, its mask {'×'.join(str(v) for v in reversed(mask.shape))}.")
        return Sample(name, image, mask)

    def within(self, splits: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Splits out of names that begin with theirs: train/a/1."""
        return {split: tuple(name for name in self.names if name.startswith(f"{split}/")) for split in splits}

    def check(self) -> None:
        """Raises DataError where something is wrong with its files, with the first few of them."""
        if self.problems:
            more = f"\n… and {len(self.problems) - 3} more problems." if len(self.problems) > 3 else ""
            raise DataError("\n".join(self.problems[:3]) + more)

    def use(self, splits: Splits) -> None:
        """Take these splits, drawn or stored by a run, in place of the data set's own.

        Raises:
            RequestError: an image of them is not there.
        """
        here = set(self.names)
        gone = [name for names in splits.values() for name in names if name not in here]
        if gone:
            raise RequestError(
                f"{len(gone)} images of the run's stored split are not in this data set: {join_names(gone)}. "
                "Name the data with dataset=… dataset.root=…."
            )
        self.splits = {key: tuple(names) for key, names in splits.items()}
