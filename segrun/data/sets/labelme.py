"""LabelMe's JSON files, one per image."""

from __future__ import annotations

import base64
import io
import os
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segrun.data.sets.annotated import (
    OUTSIDE,
    AnnotatedDataset,
    Mask,
    check_size,
    folders_allowed,
    is_file,
    list_images,
    path_inside,
    read_json,
    take,
    take_name,
)
from segrun.data.sets.classes import ClassName
from segrun.data.sets.files import FileReport, dataset_root, split_folders, visible_files
from segrun.data.sets.polygons import (
    Points,
    Region,
    Size,
    check_near_image,
    parse_points,
    rasterize_disc,
    rasterize_polygon,
)
from segrun.errors import DataError, brief, join_names
from segrun.types import VOID


class LabelMe(AnnotatedDataset):
    """JSON files in `root` and its subfolders. Each names its image (imagePath) relative to its own folder.

    Where `root` holds train/, val/ or test/, these are the split, and other folders are not read. Shapes (polygon,
    rectangle, circle, mask) are drawn in their order, later ones on top.

    Args:
        root: The folder.
        classes: Labels in the order of their classes, which follow `background`; None for all labels that are drawn,
            sorted.
        background: The class of pixels that no shape covers; None: they are VOID.
        void: Labels that mean "no label".
        allow_outside: Whether imagePath may lead out of `root`; see `path_inside`.

    Raises:
        RequestError: `root` is missing, or there are too few or too many classes.
        DataError: There is no JSON file at all.
    """

    def __init__(
        self,
        root: str | None,
        classes: Sequence[ClassName] | None,
        background: str | None,
        void: Sequence[ClassName],
        allow_outside: bool = False,
    ) -> None:
        self.root = dataset_root(root)
        self.folders = folders_allowed(allow_outside, self.root)
        self.void = frozenset(map(str, void))
        report = FileReport()
        self.paths = {}
        splits = split_folders(self.root)
        folders = [self.root / split for split in splits] or [self.root]
        drawn_labels: set[str] = set()
        for folder in folders:
            for file in visible_files(folder, "*.json"):
                drawn_labels |= self._add_file(file, report)
        if not self.paths and not report.problems:
            raise DataError(f"{self.root}: no JSON file of LabelMe. Save the annotations there.")
        self._note_unlabelled_images(folders, report)
        if classes is None:
            labels = sorted(drawn_labels - self.void)
            report.notes.append(
                f"classes are the labels that are drawn: {join_names(labels, 24)} (dataset.classes sets them)"
            )
        else:
            labels = [str(label) for label in classes]
        self.set_classes(labels, background)
        self.splits = self.splits_by_prefix(splits)
        self.notes, self.problems = report.notes, report.problems

    def _add_file(self, file: Path, report: FileReport) -> set[str]:
        """Add a file to `paths`, and return its labels. A file that cannot be read becomes a problem."""
        try:
            content, shapes = read_shapes(file)
        except DataError as error:
            report.problems.append(str(error))
            return set()
        image = path_inside(file.parent / content["imagePath"].replace("\\", "/"), self.folders)
        if image is None:
            report.problems.append(f"{file}: its imagePath is {brief(content['imagePath'])}, {OUTSIDE}")
            return set()
        if not is_file(image):
            report.problems.append(
                f"{file}: its imagePath {brief(content['imagePath'])} is missing. Restore the image, or remove the "
                "JSON file."
            )
        self.paths[file.relative_to(self.root).with_suffix("").as_posix()] = (image, file)
        return {str(shape["label"]) for shape in shapes}

    def _note_unlabelled_images(self, folders: Sequence[Path], report: FileReport) -> None:
        labelled = {os.path.normpath(image) for image, _ in self.paths.values()}
        images = [folder / name for folder in folders for name in list_images(folder)]
        unlabelled = sum(os.path.normpath(image) not in labelled for image in images)
        if unlabelled:
            report.notes.append(f"left out: {unlabelled} images without a JSON file")

    def draw(self, name: str, mask: Mask) -> None:
        image, file = self.paths[name]
        content, shapes = read_shapes(file)
        check_size(mask, content.get("imageWidth"), content.get("imageHeight"), image, file)
        for number, shape in enumerate(shapes, 1):
            label = str(shape["label"])
            place = f"{file}: shape {number} ({brief(label)})"
            if label not in self.void and label not in self.class_index:
                known = join_names(self.classes.names, 24)
                raise DataError(f"{place}: is none of {known}. Add it to dataset.classes or dataset.void.")
            value = VOID if label in self.void else self.class_index[label]
            rasterize_shape(shape, mask.shape, place).paint(mask, value)


def read_shapes(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The content of a JSON file, and its shapes.

    Raises:
        DataError: It is not a file of LabelMe.
    """
    content = read_json(file)
    if "imagePath" not in content or "shapes" not in content:
        raise DataError(f"{file}: is not a file of LabelMe: it has no imagePath and shapes. Move it elsewhere.")
    take(content, "imagePath", (str,), file)
    shapes = take(content, "shapes", (list,), file)
    for index, shape in enumerate(shapes):
        take_name(shape, "label", file, "shapes", index)
        take(shape, "points", (list,), file, "shapes", index)
    return content, shapes


def rasterize_shape(shape: dict[str, Any], size: Size, place: str) -> Region:
    """The pixels of a polygon, a rectangle (two opposite corners, or all four), a circle (its centre and a point on
    it), or a mask (its box and a PNG).

    Args:
        shape: As in the file.
        size: Height and width of the mask.
        place: File and shape, for messages.

    Raises:
        DataError: It is another kind of shape, or its points do not define one.
    """
    kind = shape.get("shape_type") or "polygon"  # files of LabelMe 3 do not state it
    if kind in ("line", "linestrip", "point", "points"):
        raise DataError(f"{place}: a {kind} has no area. Draw it as a polygon, rectangle, circle or mask.")
    if kind not in ("polygon", "rectangle", "circle", "mask"):
        raise DataError(
            f"{place}: its shape_type is {reprlib.repr(kind)}. Draw it as a polygon, rectangle, circle or mask."
        )
    points = parse_points(shape["points"], place, 3 if kind == "polygon" else 2)
    check_near_image(points, size, place)
    if kind == "polygon":
        return rasterize_polygon(points, size)
    if kind == "rectangle" and len(points) == 4:  # as X-AnyLabeling writes it
        corners = _corners(points.min(axis=0), points.max(axis=0))
        if sorted(corners.tolist()) != sorted(points.tolist()):
            raise DataError(f"{place}: its 4 points are not the corners of an upright rectangle. Draw a polygon.")
        return rasterize_polygon(corners, size)
    if len(points) != 2:
        raise DataError(f"{place}: a {kind} has 2 points, not {len(points)}. Draw it again.")
    first, second = points
    if kind == "circle":
        return rasterize_disc(first, float(np.hypot(*(second - first))), size)
    if kind == "rectangle":
        return rasterize_polygon(_corners(first, second), size)
    return _mask_region(shape.get("mask"), points, size, place)


def _corners(first: Points, second: Points) -> Points:
    """(4, 2): the corners of an upright rectangle, of which two opposite ones are given."""
    (left, top), (right, bottom) = first, second
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _mask_region(text: object, points: Points, size: Size, place: str) -> Region:
    """The pixels that are not 0 in a PNG (base64), whose first pixel is the first of two corners of a box.

    The second corner is the last pixel, or the one after it: LabelMe adds a row and a column where the image has them.
    """
    left, top, right, bottom = (int(value) for value in points.ravel())
    try:
        content = base64.b64decode(text, validate=True)  # type: ignore[arg-type]
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            width, height = image.size
            extra = (right + 1 - left - width, bottom + 1 - top - height)
            if not set(extra) <= {0, 1} or left < 0 or top < 0 or left + width > size[1] or top + height > size[0]:
                raise DataError(
                    f"{place}: its mask of {width}×{height} does not fill the box ({left}, {top}) to "
                    f"({right}, {bottom}) in the image of {size[1]}×{size[0]}. Draw it again."
                )
            values = np.asarray(image)
    except (TypeError, ValueError, OSError, SyntaxError, EOFError) as error:
        raise DataError(f"{place}: its mask is not a PNG in base64. Draw it again.") from error
    if values.ndim != 2:
        raise DataError(f"{place}: its mask has several channels. Save one, in which 0 is outside.")
    return Region(top, left, values != 0)
