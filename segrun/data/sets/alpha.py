"""Portraits and cut-outs: the mask is the alpha channel of the image itself."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from zlib import crc32

import numpy as np
import torch
from annotated_types import MaxLen, MinLen
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from segrun.data.dataset import Dataset
from segrun.data.read.images import open_image
from segrun.data.sets.classes import Classes, read_classes
from segrun.data.sets.files import FileReport, add_prefix, dataset_root, list_files, split_folders
from segrun.errors import DataError, RequestError
from segrun.ranges import Fraction, PositiveFraction
from segrun.types import VOID

LAYOUT = "images with an alpha channel, in images/ or beside each other, or in train/, val/ and optionally test/"


class Alpha(Dataset):
    """PNG, WebP or TIFF files that have an alpha channel, in `root/images` or in `root` itself.

    With `root/train|val|test`, each with images/ or the files themselves, these folders are the split.

    Without `backgrounds` the colours are read as stored, whatever alpha is. Where these are of one colour under alpha
    0, the cut-out shows the network its own mask; `notes` warns of it.

    Args:
        root: The folder.
        classes: The class of transparent pixels, then that of opaque ones; see `Folder`.
        threshold: A pixel is of the second class where its alpha, as a share of full opacity, is this or more.
        void: Pixels whose alpha lies between these two shares, both excluded, are VOID (hair, soft borders).
        backgrounds: A folder of photographs to lay under the images, by alpha (as Xu et al., CVPR 2017). Each image
            always gets the same one, which covers it and is cropped at the centre. All splits share them.

    Raises:
        RequestError: `root`, the classes or the photographs are missing, or `void` does not enclose `threshold`.
        DataError: There is no image at all.
    """

    def __init__(
        self,
        root: str | None,
        classes: Classes | None,
        threshold: PositiveFraction,
        void: Annotated[Sequence[Fraction], MinLen(2), MaxLen(2)] | None,
        backgrounds: str | None,
    ) -> None:
        self.threshold = threshold
        self.low, self.high = (threshold, threshold) if void is None else void
        if not self.low <= threshold <= self.high:
            raise RequestError(
                f"dataset.void=[{self.low},{self.high}] dataset.threshold={threshold}: void must be [low, high] with "
                "the threshold in between."
            )
        self.root = dataset_root(root)
        self.classes = read_classes(self.root, classes)
        if len(self.classes) != 2:
            raise RequestError(f"dataset.classes: alpha distinguishes two classes, not {len(self.classes)}.")
        report = FileReport()
        splits = split_folders(self.root)
        self.paths = self._list_images(splits, report)
        self.names = tuple(self.paths)
        self.splits = self.splits_by_prefix(splits)
        self.backgrounds: tuple[Path, ...] = ()
        if backgrounds:
            self.backgrounds = _list_photographs(backgrounds, report)
        else:
            report.notes.extend(self._cut_out_warnings())
        self.notes, self.problems = report.notes, report.problems

    def _list_images(self, splits: list[str], report: FileReport) -> dict[str, Path]:
        paths: dict[str, Path] = {}
        for split in splits or [""]:
            folder = self.root / split
            if (folder / "images").is_dir():
                folder = folder / "images"
            paths.update(add_prefix(split, list_files(folder, report, layout=LAYOUT)))
        if not paths:
            raise DataError(f"{self.root}: no image there. dataset.root must hold {LAYOUT}.")
        return paths

    def files(self, name: str) -> tuple[Path, ...]:
        background = self._background(name)
        return (self.paths[name],) if background is None else (self.paths[name], background)

    def image(self, name: str) -> Tensor:
        pixels = self._read_rgba(name)
        colours = pixels[..., :3]
        background = self._background(name)
        if background is not None:
            height, width = colours.shape[:2]
            photograph = np.asarray(ImageOps.fit(open_image(background).convert("RGB"), (width, height)))
            opacity = pixels[..., 3:] / np.float32(255)
            colours = np.rint(opacity * colours + (1 - opacity) * photograph).astype(np.uint8)
        return torch.from_numpy(colours.transpose(2, 0, 1).copy())

    def mask(self, name: str) -> Tensor:
        alpha = self._read_rgba(name)[..., 3] / 255
        labels = (alpha >= self.threshold).astype(np.uint8)
        labels[(alpha > self.low) & (alpha < self.high)] = VOID
        return torch.from_numpy(labels)

    def _background(self, name: str) -> Path | None:
        """The photograph of an image: chosen by its name, so that it is the same in every process."""
        if not self.backgrounds:
            return None
        return self.backgrounds[crc32(name.encode()) % len(self.backgrounds)]

    def _read_rgba(self, name: str) -> NDArray[np.uint8]:
        """(H, W, 4), the colours not multiplied by alpha."""
        image = open_image(self.paths[name])
        if not has_alpha(image):
            raise DataError(
                f"{self.paths[name]}: has no alpha channel ({image.mode}). Save it with one, or give masks as files: "
                "dataset=folder."
            )
        return np.asarray(image.convert("RGBA"))

    def _cut_out_warnings(self) -> list[str]:
        """A warning if the background is of one colour. Only the first image is checked: it stands for the set."""
        with contextlib.suppress(DataError):  # the scan reports it together with all others
            pixels = self._read_rgba(self.names[0])
            background = pixels[pixels[..., 3] == 0][:, :3]
            if len(background) > 1 and (background == background[0]).all():
                colour = ", ".join(str(value) for value in background[0])
                return [
                    f"{self.names[0]}: is of one colour ({colour}) wherever alpha is 0, which reveals the mask: scores "
                    "will not hold on photographs. Use the uncut photographs with dataset=folder, or lay others under "
                    "them: dataset.backgrounds=<folder>"
                ]
        return []


def has_alpha(image: Image.Image) -> bool:
    """Whether a picture has an alpha channel, or a transparent colour or palette entries."""
    has_transparent_colour = "transparency" in image.info and image.mode in ("1", "L", "P", "RGB")
    return has_transparent_colour or image.mode in ("RGBA", "LA", "PA", "RGBa")


def _list_photographs(folder: str, report: FileReport) -> tuple[Path, ...]:
    path = Path(folder).expanduser()
    photographs = tuple(list_files(path, report).values()) if path.is_dir() else ()
    if not photographs:
        raise RequestError(f"dataset.backgrounds={folder}: there is no image. Choose a folder of photographs.")
    return photographs
