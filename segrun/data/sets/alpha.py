"""Portraits and cut-outs: the mask is the alpha channel of the image itself."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from segrun.data.dataset import SPLITS, Dataset
from segrun.data.read.images import open_image
from segrun.data.sets.classes import read_classes
from segrun.data.sets.files import existing, files_in
from segrun.errors import DataError, RequestError
from segrun.types import VOID

WANTS = "images with an alpha channel, in images/ or beside each other, or in train/, val/ and perhaps test/"


class Alpha(Dataset):
    """`root/images` (or root itself) with PNG, WebP or TIFF files that have an alpha channel; or `root/train|val|test`,
    each with images/ or the files themselves: then that is the split.

    threshold: where alpha reaches this share of full opacity the pixel is of the second class, elsewhere of the first.
    void: (low, high): alpha between these shares, both excluded, is VOID (hair, soft borders).
    backgrounds: a folder of photographs to lay under the images, by alpha (as Xu et al., CVPR 2017); each image
    always gets the same one, covering it, cut at the centre, and all splits share them. None: the colours as stored,
    whatever alpha says. Where these are of one colour under alpha 0, the cut-out shows the network its own mask; that
    is told in `notes`.

    Raises:
        RequestError: root, classes or backgrounds are missing, or shares that contradict each other.
        DataError: no image at all.
    """

    def __init__(
        self,
        root: str | None,
        classes: Sequence[str] | Mapping[str, Sequence[int]] | None,
        threshold: float,
        void: Sequence[float] | None,
        backgrounds: str | None,
    ) -> None:
        band = (threshold, threshold) if void is None else tuple(void)
        if not (0 < threshold <= 1 and len(band) == 2 and 0 <= band[0] <= threshold <= band[1] <= 1):
            raise RequestError(
                f"dataset.threshold={threshold} dataset.void={list(band)}: 0 < threshold ≤ 1, and void is "
                "[low, high] around it, from 0 to 1."
            )
        self.threshold, (self.low, self.high) = threshold, band
        self.root = existing(root)
        self.classes = read_classes(self.root, classes)
        if len(self.classes) != 2:
            raise RequestError(f"dataset.classes: alpha tells two classes apart, not {len(self.classes)}.")
        self.notes: list[str] = []
        self.problems: list[str] = []
        there = [s for s in SPLITS if (self.root / s).is_dir()]
        self.paths: dict[str, Path] = {}
        for split in there or ("",):
            place = self.root / split
            found = self._images(place / "images" if (place / "images").is_dir() else place)
            self.paths.update({f"{split}/{name}".lstrip("/"): path for name, path in found.items()})
        if not self.paths:
            raise DataError(f"{self.root}: no image there; it is to hold {WANTS}.")
        self.names = tuple(self.paths)
        self.splits = self.within(there)
        self.backgrounds = self._photographs(backgrounds) if backgrounds else ()
        if not backgrounds:
            self._warn_of_cut_outs()

    def _images(self, folder: Path) -> dict[str, Path]:
        return files_in(folder, self.notes, self.problems, wants=WANTS)

    def _photographs(self, folder: str) -> tuple[Path, ...]:
        path = Path(folder).expanduser()
        found = tuple(self._images(path).values()) if path.is_dir() else ()
        if not found:
            raise RequestError(f"dataset.backgrounds={folder}: there is no image.")
        return found

    def files(self, name: str) -> tuple[Path, ...]:
        return self.paths[name], *self._background(name)

    def image(self, name: str) -> Tensor:
        pixels = self._rgba(name)
        colours = pixels[..., :3]
        for path in self._background(name):
            photo = ImageOps.fit(open_image(path).convert("RGB"), (pixels.shape[1], pixels.shape[0]))
            opaque = pixels[..., 3:] / np.float32(255)
            colours = np.rint(opaque * colours + (1 - opaque) * np.asarray(photo)).astype(np.uint8)
        return torch.from_numpy(colours.transpose(2, 0, 1).copy())

    def mask(self, name: str) -> Tensor:
        alpha = self._rgba(name)[..., 3] / 255
        labels = (alpha >= self.threshold).astype(np.uint8)
        labels[(alpha > self.low) & (alpha < self.high)] = VOID
        return torch.from_numpy(labels)

    def _background(self, name: str) -> tuple[Path, ...]:
        return self.backgrounds and (self.backgrounds[crc32(name.encode()) % len(self.backgrounds)],)

    def _rgba(self, name: str) -> NDArray[np.uint8]:
        """(H, W, 4), the colours not multiplied by alpha."""
        image = open_image(self.paths[name])
        if not transparent(image):
            raise DataError(
                f"{self.paths[name]}: has no alpha channel ({image.mode}). Save it with one, or give masks as files: "
                "dataset=folder."
            )
        return np.asarray(image.convert("RGBA"))

    def _warn_of_cut_outs(self) -> None:
        """ImageRecord at the first image alone: sets are cut out in one way."""
        with contextlib.suppress(DataError):  # told with all others when the data are looked at
            pixels = self._rgba(self.names[0])
            behind = pixels[pixels[..., 3] == 0][:, :3]
            if len(behind) > 1 and (behind == behind[0]).all():
                colour = ", ".join(str(value) for value in behind[0])
                self.notes.append(
                    f"{self.names[0]}: is of one colour ({colour}) wherever alpha is 0, which gives the mask away: "
                    "scores will not hold on photographs. Use the uncut photographs with dataset=folder, or lay "
                    "others under them: dataset.backgrounds=<folder>"
                )


def transparent(image: Image.Image) -> bool:
    """Whether it has an alpha channel, or a colour or palette entries that are transparent."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa") or (
        "transparency" in image.info and image.mode in ("1", "L", "P", "RGB")
    )
