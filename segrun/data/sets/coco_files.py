"""COCO-JSON files: where they are, and what they hold."""

from __future__ import annotations

import reprlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from segrun.data.dataset import SPLITS
from segrun.data.sets.annotated import read_json, take, take_name
from segrun.errors import DataError, RequestError, join_names


class Annotation(NamedTuple):
    """An annotation of an image, in plain values.

    Attributes:
        id: As in the file, for messages.
        category: Id of its category.
        is_crowd: Whether `iscrowd` is set.
        segmentation: Polygons or run lengths, unchecked.
    """

    id: Any
    category: int
    is_crowd: bool
    segmentation: Any


@dataclass(frozen=True)
class ListedImage:
    """An image that an annotation file lists.

    Attributes:
        id: As in the file.
        file_name: Relative to the folder of the images.
        name: The same without suffix.
        width: As stated, or None.
        height: As stated, or None.
    """

    id: Any
    file_name: str
    name: str
    width: int | None
    height: int | None


@dataclass(frozen=True)
class AnnotationFile:
    """The content of a COCO-JSON file.

    Attributes:
        path: The file.
        categories: Names by id.
        supercategories: Supercategories of categories, apart from those that a category has for itself.
        images: In the order of the file.
        annotations: By the id of their image.
        drawn_categories: Ids of the categories that have annotations.
        unlisted_images: Ids of images that have annotations, but are not listed.
    """

    path: Path
    categories: Mapping[int, str]
    supercategories: frozenset[str]
    images: Sequence[ListedImage]
    annotations: Mapping[Any, Sequence[Annotation]]
    drawn_categories: frozenset[int]
    unlisted_images: Sequence[Any]


@dataclass(frozen=True)
class Source:
    """An annotation file, and the folders that may hold its images."""

    file: Path
    image_dirs: Sequence[Path]


def read_annotation_file(path: Path) -> AnnotationFile:
    """Read a COCO-JSON file.

    Raises:
        DataError: It is not one, or lists no image. The message names the entry.
    """
    content = read_json(path)
    categories, annotations, images = (
        take(content, key, (list,), path) for key in ("categories", "annotations", "images")
    )
    names = read_categories(categories, path)
    supercategories = frozenset(
        str(category.get("supercategory"))
        for category in categories
        if category.get("supercategory") != category["name"]
    )
    annotations_by_image = _annotations_by_image(annotations, path)
    listed_images = [_parse_image(entry, path, index) for index, entry in enumerate(images)]
    drawn_categories = frozenset(entry["category_id"] for entry in annotations)
    image_ids = {image.id for image in listed_images}
    unlisted_images = [image_id for image_id in annotations_by_image if image_id not in image_ids]
    if not images:
        raise DataError(f"{path}: lists no image.")
    return AnnotationFile(
        path, names, supercategories, listed_images, annotations_by_image, drawn_categories, unlisted_images
    )


def read_categories(entries: Sequence[Any], path: Path) -> dict[int, str]:
    """The names of a file's categories by id.

    Raises:
        DataError: An id is no whole number or occurs twice, or a name is no text.
    """
    names: dict[int, str] = {}
    for index, entry in enumerate(entries):
        written = take(entry, "id", (int, float, str), path, "categories", index)
        try:
            number = int(written)
        except (ValueError, OverflowError):  # text, nan, infinity
            number = None
        if number is None or (number != written and not isinstance(written, str)):
            raise DataError(f"{path}: categories[{index}].id={reprlib.repr(written)}: must be a whole number.")
        if number in names:
            raise DataError(f"{path}: categories[{index}].id={number}: an earlier category has it. Give each its own.")
        names[number] = take_name(entry, "name", path, "categories", index)
    return names


def _annotations_by_image(entries: Sequence[Any], path: Path) -> dict[Any, list[Annotation]]:
    annotations: dict[Any, list[Annotation]] = defaultdict(list)
    for index, entry in enumerate(entries):
        image_id, category = (
            take(entry, key, (int, str, float), path, "annotations", index) for key in ("image_id", "category_id")
        )
        crowd = entry.get("iscrowd")
        if crowd not in (0, 1, None):
            raise DataError(f"{path}: annotations[{index}].iscrowd={reprlib.repr(crowd)}: must be 0 or 1.")
        annotations[image_id].append(Annotation(entry.get("id"), category, bool(crowd), entry.get("segmentation")))
    return dict(annotations)


def _parse_image(entry: Any, path: Path, index: int) -> ListedImage:
    file_name = take(entry, "file_name", (str,), path, "images", index).replace("\\", "/")  # Label Studio on Windows
    image_id = take(entry, "id", (int, str, float), path, "images", index)
    name = str(PurePosixPath(file_name).parent / PurePosixPath(file_name).stem)
    return ListedImage(image_id, file_name, name, entry.get("width"), entry.get("height"))


def named_sources(root: Path, annotations: str | Mapping[str, str]) -> dict[str, Source]:
    """The annotation files that the user names, by split; "" where there is one for all.

    Raises:
        RequestError: A key is not a split.
    """
    if isinstance(annotations, str):
        return {"": Source(root / annotations, [root])}
    unknown = annotations.keys() - set(SPLITS)
    if unknown:
        raise RequestError(
            f"dataset.annotations: {join_names(unknown)}: give a file for train, for val and optionally for test."
        )
    return {split: Source(root / file, [root]) for split, file in annotations.items()}


def find_sources(root: Path) -> dict[str, Source]:
    """The annotation files of a known layout, by split; "" where there is one for all.

    Raises:
        RequestError: There are none, or several JSON files in another layout.
    """
    by_split = {split: _find_source(root, split) for split in SPLITS}
    sources = {split: source for split, source in by_split.items() if source is not None}
    if sources:
        return sources
    source = _find_source(root, "")
    if source is not None:
        return {"": source}
    json_files = sorted(root.glob("*.json"))
    if len(json_files) == 1:
        return {"": Source(json_files[0], [root, root / "images"])}
    content = f"{len(json_files)} JSON files in root" if json_files else "no JSON file in root or annotations/"
    raise RequestError(f"{root}: {content}. Give dataset.annotations=<file in root>.")


def _find_source(root: Path, split: str) -> Source | None:
    """The annotation file of a split, or that of all images (""), in one of the known layouts."""
    roboflow_dir = root / ("valid" if split == "val" else split)
    split_dirs = [root / split, root / "images" / split] if split else []
    sources = (
        Source(roboflow_dir / "_annotations.coco.json", [roboflow_dir]),
        Source(  # COCO 2017
            root / f"annotations/instances_{split}2017.json", [root / f"{split}2017", root / f"images/{split}2017"]
        ),
        Source(  # CVAT
            root / f"annotations/instances_{split or 'default'}.json", [*split_dirs, root / "images", root]
        ),
    )
    return next((source for source in sources if source.file.is_file()), None)
