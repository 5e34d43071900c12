"""What a data set is to the rest of segrun."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor

from segrun.errors import DataError, RequestError, listed
from segrun.types import ClassMap, Sample

Splits = Mapping[str, Sequence[str]]


class Dataset(ABC):
    """A named set of images with masks, parted into splits.

    A subclass sets `classes`, `splits` (train, val and, where there is one, test: the names of the images)
    `channels` of the images, and `notes` (what the user should know: files left out, how masks were understood), and
    reads by name.
    """

    classes: ClassMap
    splits: Splits
    channels: int = 3
    notes: Sequence[str] = ()

    @abstractmethod
    def image(self, name: str) -> Tensor:
        """(channels, H, W): uint8, or float32 in [0, 1]. Raises DataError when it cannot be read."""

    @abstractmethod
    def mask(self, name: str) -> Tensor:
        """(H, W) uint8: class indices and VOID. Raises DataError, naming file and value."""

    def sample(self, name: str) -> Sample:
        """Image and mask together. Raises DataError where their sizes differ."""
        image, mask = self.image(name), self.mask(name)
        if image.shape[-2:] != mask.shape:
            wide = "×".join(str(v) for v in reversed(image.shape[-2:]))
            raise DataError(f"{name}: the image is {wide}, its mask {'×'.join(str(v) for v in reversed(mask.shape))}.")
        return Sample(name, image, mask)

    def use(self, splits: Splits) -> None:
        """Take the splits that a run has stored in place of the data set's own.

        Raises:
            RequestError: an image of the stored split is no longer there.
        """
        here = {name for names in self.splits.values() for name in names}
        gone = [name for names in splits.values() for name in names if name not in here]
        if gone:
            raise RequestError(
                f"{len(gone)} images of the run's stored split are not in this data set: {listed(gone)}. "
                "Name the data with dataset=… dataset.root=…."
            )
        self.splits = {key: tuple(names) for key, names in splits.items()}
