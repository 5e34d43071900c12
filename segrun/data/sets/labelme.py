"""LabelMe's JSON files, one an image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segrun.data.dataset import SPLITS
from segrun.data.sets.annotated import Annotated, Mask, pictures, read_json, same_size
from segrun.data.sets.files import existing, visible
from segrun.data.sets.polygons import Region, Size, corners, disc, of_the_image, polygon
from segrun.errors import DataError, join_names
from segrun.types import VOID


class LabelMe(Annotated):
    """Every JSON file in root and its subfolders is an image's; it names the image (imagePath) from where it lies.
    Where root holds train/, val/ or test/, these are the split, and only they are looked at.

    Shapes are drawn in their order, later ones on top: polygon, rectangle and circle.

    classes: the labels in the order of their classes, behind `background`; None: all that are drawn, sorted. void:
    labels whose pixels have no label.

    Raises:
        RequestError: root is not there, or too few or too many classes.
        DataError: no JSON file at all.
    """

    def __init__(
        self, root: str | None, classes: Sequence[str] | None, background: str | None, void: Sequence[str]
    ) -> None:
        self.root = existing(root)
        self.void = frozenset(map(str, void))
        self.notes: list[str] = []
        self.problems: list[str] = []
        self.places = {}
        drawn: set[str] = set()
        there = [split for split in SPLITS if (self.root / split).is_dir()]
        for top in there or [""]:
            for file in visible(self.root / top, "*.json"):
                drawn |= self._add(file)
        if not self.places and not self.problems:
            raise DataError(f"{self.root}: no JSON file of LabelMe's.")
        used = {os.path.normpath(path) for path, _ in self.places.values()}
        images = (self.root / top / name for top in there or [""] for name in pictures(self.root / top))
        if other := sum(os.path.normpath(path) not in used for path in images):
            self.notes.append(f"left out: {other} images without a JSON file")
        if classes is None:
            classes = sorted(drawn - self.void)
            self.notes.append(f"classes are the labels that are drawn: {join_names(classes, 24)} (dataset.classes says so)")
        self.name_classes([str(label) for label in classes], background)
        self.splits = self.within(there)

    def _add(self, file: Path) -> set[str]:
        """Index it; gives its labels. What cannot be read is a problem."""
        try:
            content, shapes = read_shapes(file)
        except DataError as error:
            self.problems.append(str(error))
            return set()
        image = Path(file.parent / str(content["imagePath"]).replace("\\", "/"))
        if not image.is_file():
            self.problems.append(f"{file}: its imagePath {content['imagePath']} is not there. Bring it back.")
        self.places[file.relative_to(self.root).with_suffix("").as_posix()] = (image, file)
        return {str(shape["label"]) for shape in shapes}

    def draw(self, name: str, mask: Mask) -> None:
        image, file = self.places[name]
        content, shapes = read_shapes(file)
        same_size(mask, content.get("imageWidth"), content.get("imageHeight"), image, file)
        for number, shape in enumerate(shapes, 1):
            label = str(shape["label"])
            place = f"{file}: shape {number} ({label})"
            if label not in self.void and label not in self.index:
                known = join_names(self.classes.names, 24)
                raise DataError(f"{place}: is none of {known}. Add it to dataset.classes or dataset.void.")
            region(shape, mask.shape, place).paint(mask, VOID if label in self.void else self.index[label])


def read_shapes(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The content and its shapes. Raises DataError where it is not LabelMe's."""
    content = read_json(file)
    shapes = content.get("shapes")
    if not content.get("imagePath") or not isinstance(shapes, list):
        raise DataError(f"{file}: is none of LabelMe's files: it has no imagePath and shapes. Put it elsewhere.")
    if not all(isinstance(shape, dict) and "label" in shape and "points" in shape for shape in shapes):
        raise DataError(f"{file}: a shape has no label or no points. Draw it again.")
    return content, shapes


def region(shape: dict[str, Any], size: Size, place: str) -> Region:
    """The pixels of a polygon, a rectangle (two opposite corners) or a circle (its centre and a point on it).

    Raises:
        DataError: another kind of shape, or points that make none.
    """
    kind = shape.get("shape_type") or "polygon"  # files of LabelMe 3 name none
    if kind not in ("polygon", "rectangle", "circle"):
        raise DataError(f"{place}: a {kind} has no area here: polygon, rectangle and circle do. Draw it as a polygon.")
    points = corners(shape["points"], place, 3 if kind == "polygon" else 2)
    of_the_image(points, size, place)
    if kind == "polygon":
        return polygon(points, size)
    if len(points) != 2:
        raise DataError(f"{place}: a {kind} has 2 points, not {len(points)}. Draw it again.")
    if kind == "circle":
        return disc(points[0], float(np.hypot(*(points[1] - points[0]))), size)
    (left, top), (right, bottom) = points
    return polygon(np.array([[left, top], [right, top], [right, bottom], [left, bottom]]), size)
