"""COCO 2017 panoptic: 133 classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segrun.data.read.masks import open_mask
from segrun.data.sets.annotated import read_json, take
from segrun.data.sets.classes import read_classes
from segrun.data.sets.coco_files import read_categories
from segrun.data.sets.coco_maps import CocoMaps
from segrun.errors import DataError, join_names
from segrun.types import VOID


class CocoPanoptic(CocoMaps):
    """COCO panoptic (Kirillov et al., CVPR 2019): the categories of its JSON in the order of their ids.

    Crowds are of their category, as in panopticapi's conversion to semantic masks.

    Args:
        root: Holds annotations/panoptic_{train,val}2017.json, the PNGs in folders of these names in annotations/ or in
            `root`, and {train,val}2017/ in images/ or in `root`.

    Raises:
        RequestError: `root` does not hold it.
        DataError: A JSON file is not that of COCO panoptic.
    """

    def __init__(self, root: str | None) -> None:
        super().__init__(root, ("annotations/panoptic_{}2017", "panoptic_{}2017"))
        self.segments: dict[str, NDArray[np.int64]] = {}  # (segments, 2): id and class, by image
        self.json_files: dict[str, Path] = {}  # by split
        categories: dict[int, str] = {}
        for split, map_dir in self.map_dirs.items():
            file = self.json_files[split] = self.root / "annotations" / f"{map_dir.name}.json"
            content = read_json(file)
            entries, annotations = (take(content, key, (list,), file) for key in ("categories", "annotations"))
            categories |= read_categories(entries, file)
            self._add_segments(split, annotations, sorted(categories), file)
            if len(categories) != len(entries):
                raise DataError(f"{file}: its categories are not those of the other split. Unpack both again.")
        unlisted = sorted(self.pairs.keys() - self.segments.keys())
        if unlisted:
            self.problems.append(
                f"{self.root}: {len(unlisted)} images are not in the panoptic JSON: {join_names(unlisted)}. "
                "Unpack the archives again."
            )
        self.classes = read_classes(self.root, [name for _, name in sorted(categories.items())])

    def _add_segments(self, split: str, annotations: list[Any], category_ids: list[int], file: Path) -> None:
        """Take the classes of the segments of each image."""
        class_of_category = {category: index for index, category in enumerate(category_ids)}
        for index, entry in enumerate(annotations):
            rows = []
            place = (file, "annotations", index)
            for number, segment in enumerate(take(entry, "segments_info", (list,), *place)):
                key, category = (
                    take(segment, key, (int,), *place, "segments_info", number) for key in ("id", "category_id")
                )
                if category not in class_of_category or not 0 < key < 2**24:
                    raise DataError(
                        f"{file}: annotations[{index}].segments_info[{number}]: id {key} of category {category}: the "
                        "id must be a colour, and the category be listed. Unpack the archives again."
                    )
                rows.append((key, class_of_category[category]))
            name = f"{split}/{take(entry, 'file_name', (str,), *place).removesuffix('.png')}"
            self.segments[name] = np.array(rows, np.int64).reshape(-1, 2)

    def files(self, name: str) -> tuple[Path, ...]:
        return (*self.pairs[name], self.json_files[name.partition("/")[0]])

    def mask(self, name: str) -> Tensor:
        path = self.pairs[name][1]
        colours = np.asarray(open_mask(path).convert("RGB"), np.int64)
        segment_ids, inverse = np.unique(colours @ np.array([1, 256, 65536]), return_inverse=True)
        class_of_segment = {0: VOID}
        if name in self.segments:
            class_of_segment.update(self.segments[name].tolist())
        unknown = [segment for segment in segment_ids.tolist() if segment not in class_of_segment]
        if unknown:
            raise DataError(
                f"{path}: segments that {self.files(name)[2]} does not list: {join_names(unknown)}. Unpack both again."
            )
        lookup = np.array([class_of_segment[segment] for segment in segment_ids.tolist()], np.uint8)
        return torch.from_numpy(lookup[inverse].reshape(colours.shape[:2]))
