"""COCO 2017 with a label for every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segrun.data.sets.files import FileReport, add_prefix, dataset_root, list_pairs
from segrun.data.sets.pairs import ImageMaskPairs
from segrun.errors import RequestError


class CocoMaps(ImageMaskPairs):
    """Images of COCO 2017, each with a PNG of the same name that labels its pixels.

    A subclass sets `classes` and decodes the PNGs.

    Args:
        root: Holds {train,val}2017/ in images/ or in `root` itself.
        map_dirs: Folders in `root` that may hold the PNGs, with {} in place of the split.

    Attributes:
        map_dirs: The folder of the PNGs of each split.

    Raises:
        RequestError: `root` is missing, or holds none of these folders.
    """

    notes: list[str]
    problems: list[str]

    def __init__(self, root: str | None, map_dirs: Sequence[str]) -> None:
        self.root = dataset_root(root)
        self.notes, self.problems = [], []
        self.pairs = {}
        self.map_dirs: dict[str, Path] = {}
        report = FileReport(self.notes, self.problems)
        for split in ("train", "val"):
            candidates = [self.root / map_dir.format(split) for map_dir in map_dirs]
            map_dir = next((folder for folder in candidates if folder.is_dir()), None)
            if map_dir is None:
                continue
            self.map_dirs[split] = map_dir
            image_dir = self.root / f"images/{split}2017"
            if not image_dir.is_dir():
                image_dir = self.root / f"{split}2017"
            self.pairs.update(add_prefix(split, list_pairs(image_dir, map_dir, report)))
        if not self.map_dirs:
            needed = " or ".join(map_dir.format("train") for map_dir in map_dirs)
            raise RequestError(f"{self.root}: dataset.root must hold {needed}, or the same for val.")
        self.splits = self.splits_by_prefix(self.map_dirs)
