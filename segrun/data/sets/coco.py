"""COCO-JSON: one's own annotations from CVAT, Label Studio or Roboflow, and the instances of COCO."""

from __future__ import annotations

import marshal
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from segrun.data.dataset import SPLITS
from segrun.data.sets.annotated import Annotated, Mask, pictures, read_json, same_size
from segrun.data.sets.files import existing
from segrun.data.sets.polygons import corners, of_the_image
from segrun.data.sets.rle import Runs, inside, runs_of
from segrun.errors import DataError, RequestError, import_extra, join_names
from segrun.types import VOID

Place = tuple[Path, Sequence[Path]]


@dataclass(frozen=True)
class Entry:
    """drawn: (id, category, crowd, segmentation) of each annotation as one block of bytes: loader processes get copies
    of COCO's 860,000, and as single numbers these would take gigabytes each."""

    width: int | None
    height: int | None
    drawn: bytes


class Coco(Annotated):
    """Instances (Lin et al., ECCV 2014) as classes: `background`, then the categories in the order of their ids.

    Where instances overlap, the one of fewer pixels lies on top. Polygons are rasterised by pycocotools, which
    defines COCO's masks.

    annotations: a file in root, or one a split; None: found as COCO 2017, CVAT (annotations/instances_*.json) or
    Roboflow (train|valid|test/_annotations.coco.json) lay them, or the only JSON file in root. images: the folder in
    root that they are named from, or one a split. crowd: what regions with iscrowd are, "void" or "class".

    Raises:
        RequestError: root, files or options that are missing or contradict each other.
        DataError: a file that is no COCO-JSON.
    """

    def __init__(
        self,
        root: str | None,
        annotations: str | Mapping[str, str] | None,
        images: str | Mapping[str, str] | None,
        background: str | None,
        crowd: str,
    ) -> None:
        if crowd not in ("void", "class"):
            raise RequestError(f"dataset.crowd={crowd}: choose void or class.")
        self.root = existing(root)
        self.crowd_is_void = crowd == "void"
        self.notes: list[str] = []
        self.problems: list[str] = []
        self.places = {}
        self.entries: dict[str, Entry] = {}
        self.categories: dict[int, str] = {}
        self.used: set[int] = set()
        groups: set[str] = set()
        places = _named(self.root, annotations) if annotations else _found(self.root)
        if isinstance(images, Mapping) and images.keys() != places.keys():
            raise RequestError(f"dataset.images names {join_names(images)}; annotations are of {join_names(places) or 'all'}.")
        for split, (file, folders) in places.items():
            if images:
                folders = (self.root / (images[split] if isinstance(images, Mapping) else images),)
            try:
                groups |= self._read(split, file, folders)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise DataError(f"{file}: is no COCO-JSON ({type(error).__name__}: {error}).") from error
        self._classes(groups, background)
        self.splits = self.within(split for split in places if split)

    def _read(self, split: str, file: Path, folders: Sequence[Path]) -> set[str]:
        """Index a file. Gives the supercategories of its categories, apart from those of their own name."""
        content = read_json(file)
        categories = {int(category["id"]): str(category["name"]) for category in content["categories"]}
        if self.categories and categories != self.categories:
            raise DataError(f"{file}: its categories are not those of the other files. They are to be the same.")
        self.categories = categories
        drawn: dict[Any, list[Any]] = defaultdict(list)
        for entry in content["annotations"]:
            keep = (entry.get("id"), entry["category_id"], bool(entry.get("iscrowd")), entry.get("segmentation"))
            drawn[entry["image_id"]].append(keep)
        self.used |= {category for entries in drawn.values() for _, category, _, _ in entries}
        known = {entry["id"] for entry in content["images"]}
        if crowds := sum(crowd for entries in drawn.values() for _, _, crowd, _ in entries):
            what = "void (dataset.crowd=class: their category)" if self.crowd_is_void else "their category"
            self.notes.append(f"{file.name}: {crowds} annotations are crowds (iscrowd), taken as {what}")
        if lost := [key for key in drawn if key not in known]:
            self.problems.append(f"{file}: annotations of images that it does not list: {join_names(lost)}.")
        self._list_images(split, file, folders, content["images"], drawn)
        return {str(c.get("supercategory")) for c in content["categories"] if c.get("supercategory") != c["name"]}

    def _list_images(
        self, split: str, file: Path, folders: Sequence[Path], images: Sequence[Any], drawn: Mapping[Any, list[Any]]
    ) -> None:
        if not images:
            raise DataError(f"{file}: lists no image.")
        files = {entry["file_name"].replace("\\", "/"): entry for entry in images}  # Label Studio on Windows
        folder = next((f for f in folders if any((f / name).is_file() for name in files)), None)
        if folder is None:
            tried = " or ".join(str(f) for f in folders)
            raise RequestError(f"{file}: none of its images is in {tried}. Give dataset.images=<folder in root>.")
        there = set(pictures(folder))
        missing = [name for name in files if name not in there and not (folder / name).is_file()]
        if missing:
            what = f"{len(missing)} images of {file.name} are missing: {join_names(missing)}"
            self.problems.append(f"{folder}: {what}. Bring them back, or remove their entries.")
        if other := len(there - files.keys()):
            self.notes.append(f"left out: {other} images in {folder} that {file.name} does not name")
        if bare := sum(entry["id"] not in drawn for entry in files.values()):
            self.notes.append(f"{bare} images of {file.name} have no annotation")
        if twice := len(images) - len(files):
            self.problems.append(f"{file}: names {twice} images twice. Remove one entry each.")
        for place, entry in files.items():
            name = "/".join(filter(None, (split, str(PurePosixPath(place).with_suffix("")))))
            if name in self.places:
                self.problems.append(f"{self.places[name][0]} and {place} share a name: rename one, in {file}, too.")
            self.places[name] = (folder / place, file)
            packed = marshal.dumps(drawn.get(entry["id"], []))
            self.entries[name] = Entry(entry.get("width"), entry.get("height"), packed)

    def _classes(self, groups: set[str], background: str | None) -> None:
        order = sorted(self.categories.items())
        # Roboflow lists the project itself as a category, above all others and never drawn
        above = [name for id_, name in order if name in groups and id_ not in self.used]
        if above:
            self.notes.append(f"no class: {join_names(above)}, above other categories and never drawn")
        labels = [name for _, name in order if name not in above]
        self.name_classes(labels, background)
        self.value = {id_: self.index[name] for id_, name in order if name in self.index}

    def draw(self, name: str, mask: Mask) -> None:
        image, file = self.places[name]
        entry = self.entries[name]
        same_size(mask, entry.width, entry.height, image, file)
        layers = []
        for id_, category, crowd, segmentation in marshal.loads(entry.drawn):
            place = f"{file}: annotation {id_}"
            if category not in self.value:
                raise DataError(f"{place}: category {category} is none of the file's. Correct it or remove it.")
            value = VOID if crowd and self.crowd_is_void else self.value[category]
            layers.append((value, _runs(segmentation, mask.shape, place)))
        for value, runs in sorted(layers, key=lambda layer: -sum(layer[1][1::2])):
            mask[inside(runs, mask.shape)] = value


def _runs(segmentation: Any, size: tuple[int, ...], place: str) -> Runs:
    """Of polygons, or run lengths as they are."""
    if not segmentation or not isinstance(segmentation, list | dict):
        raise DataError(f"{place}: has no segmentation, perhaps a box. Draw its outline, or remove it.")
    if isinstance(segmentation, list):
        rle = import_extra("pycocotools.mask", "coco")
        outlines = [corners(outline, place) for outline in segmentation]
        for outline in outlines:
            of_the_image(outline, size, place)
        counts = rle.merge(rle.frPyObjects([outline.ravel().tolist() for outline in outlines], *size))["counts"]
    else:
        counts = segmentation.get("counts")
        if list(size) != segmentation.get("size"):
            raise DataError(f"{place}: its size is {segmentation.get('size')}, that of the image {list(size)}.")
    try:
        return runs_of(counts, size)
    except ValueError as error:
        raise DataError(f"{place}: {error}. Export it again.") from error


def _named(root: Path, annotations: str | Mapping[str, str]) -> dict[str, Place]:
    if isinstance(annotations, str):
        return {"": (root / annotations, [root])}
    if unknown := annotations.keys() - set(SPLITS):
        raise RequestError(f"dataset.annotations: {join_names(unknown)}: give a file for train, val and perhaps test.")
    return {split: (root / file, [root]) for split, file in annotations.items()}


def _found(root: Path) -> dict[str, Place]:
    """The annotation files of each split, "" where there are none, with the folders in which images may be."""
    found: dict[str, Place] = {}
    for split in (*SPLITS, ""):
        own = root / ("valid" if split == "val" else split)
        folders = [root / split, root / "images" / split] if split else []
        for file, places in (
            (own / "_annotations.coco.json", [own]),
            (root / f"annotations/instances_{split}2017.json", [root / f"{split}2017", root / f"images/{split}2017"]),
            (root / f"annotations/instances_{split or 'default'}.json", [*folders, root / "images", root]),
        ):
            if file.is_file() and (split or not found):
                found.setdefault(split, (file, places))
    alone = sorted(root.glob("*.json"))
    if not found and len(alone) == 1:
        found = {"": (alone[0], [root, root / "images"])}
    if not found:
        held = f"{len(alone)} JSON files in root" if alone else "no JSON file in root or annotations/"
        raise RequestError(f"{root}: {held}. Give dataset.annotations=<file in root>.")
    return found
