"""The contract between a data set and the rest of segrun."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

from segrun.data.read.images import Exif, read_image
from segrun.errors import DataError
from segrun.types import ClassMap, Sample

Reader = Callable[[Path], Tensor]  # → (channels, H, W)
Splits = Mapping[str, Sequence[str]]  # image names by split
SPLITS = ("train", "val", "test")
MAX_PROBLEMS = 3  # written out when a data set is refused


class Dataset(ABC):
    """A named set of images with masks. It never changes after construction.

    Attributes:
        classes: Set by the subclass.
        names: Names of all images, set by the subclass.
        splits: Image names of train, val and test as the publisher or the folders define them. A split that is
            missing or empty is drawn.
        channels: Channels of every image.
        image_labels: Labels of whole images by image name, if there are any.
        notes: What the user should know, such as files left out or how the masks were interpreted.
        exif: Whether images and masks in files are turned as their EXIF orientation says; None where it does not apply,
            as with drawn masks. The scan compares "apply" with the masks.
        guessed_index: Whether no setting said that masks hold class indices, and 255 where there is no label.
        problems: What is wrong with the files. `segrun check` lists it, every other command refuses the data set.
    """

    classes: ClassMap
    names: Sequence[str]
    splits: Splits = MappingProxyType({})
    channels: int = 3
    image_labels: Mapping[str, str] = MappingProxyType({})
    notes: Sequence[str] = ()
    problems: Sequence[str] = ()
    exif: Exif | None = None
    guessed_index: bool = False

    @abstractmethod
    def image(self, name: str) -> Tensor:
        """Read an image.

        Returns:
            (channels, H, W), uint8 or float32 in [0, 1].

        Raises:
            DataError: It cannot be read.
        """

    @abstractmethod
    def mask(self, name: str) -> Tensor:
        """Read a mask.

        Returns:
            (H, W), uint8 class indices and VOID.

        Raises:
            DataError: It cannot be read, or holds a value that is no class. The message names file and value.
        """

    @classmethod
    def reader(cls, options: Mapping[str, Any], channels: int) -> Reader:
        """A function that reads further image files as a data set with these options reads its own.

        Args:
            options: The data set's config.
            channels: Channels that the model takes.
        """
        return partial(read_image, channels=channels, apply_orientation=options.get("exif") != "ignore")

    @classmethod
    def sidecars(cls, path: Path) -> Mapping[str, str]:
        """Text files to write beside each picture that is made from an image file.

        Args:
            path: The image file.

        Returns:
            The texts by the ending that is appended to the picture's file name. Most data sets have none.
        """
        return {}

    def files(self, name: str) -> tuple[Path, ...]:
        """The files that an image is read from, the image file first.

        The scan cache compares their sizes and modification times. An image without files is not cached.
        """
        return ()

    def group(self, name: str) -> str:
        """The volume or scene that an image is a part of. A drawn split keeps a group together."""
        return name

    def fit(self, names: Sequence[str]) -> tuple[Dataset, Mapping[str, Any]]:
        """Measure on training images what reading depends on, see `RawDataset`.

        Args:
            names: The training images.

        Returns:
            A data set that reads with the measured settings (`self` where nothing is measured, otherwise a copy), and
            the settings to replace in its config, so that it is read in the same way from then on.
        """
        return self, {}

    def sample(self, name: str) -> Sample:
        """Read image and mask together.

        Raises:
            DataError: One of them cannot be read, or their sizes differ.
        """
        image, mask = self.image(name), self.mask(name)
        if image.shape[-2:] != mask.shape:
            (height, width), (mask_height, mask_width) = image.shape[-2:], mask.shape
            raise DataError(f"{name}: the image is {width}×{height}, its mask {mask_width}×{mask_height}.")
        return Sample(name, image, mask)

    def splits_by_prefix(self, splits: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Splits of the images whose names begin with the split's, such as `train/a/1`."""
        return {split: tuple(name for name in self.names if name.startswith(f"{split}/")) for split in splits}

    def check(self) -> None:
        """Refuse a data set with problems.

        Raises:
            DataError: There are problems. The message holds the first of them.
        """
        if not self.problems:
            return
        more = len(self.problems) - MAX_PROBLEMS
        text = "\n".join(self.problems[:MAX_PROBLEMS])
        raise DataError(f"{text}\n… and {more} more problems." if more > 0 else text)
