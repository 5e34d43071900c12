"""COCO-JSON: a user's annotations from CVAT, Label Studio or Roboflow, and the instances of COCO."""

from __future__ import annotations

import marshal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segrun.data.sets.annotated import (
    OUTSIDE,
    AnnotatedDataset,
    Mask,
    check_size,
    folders_allowed,
    is_file,
    list_images,
    path_inside,
)
from segrun.data.sets.coco_files import (
    AnnotationFile,
    ListedImage,
    Source,
    find_sources,
    named_sources,
    read_annotation_file,
)
from segrun.data.sets.files import FileReport, dataset_root
from segrun.data.sets.rle import Runs, runs_to_mask, segmentation_runs
from segrun.errors import DataError, RequestError, brief, join_names
from segrun.types import VOID


@dataclass(frozen=True)
class PackedImage:
    """What is drawn on an image.

    Attributes:
        width: As the annotation file states it, or None.
        height: As the annotation file states it, or None.
        annotations: Fields of each `Annotation` as one block of bytes: loader processes get copies of the 860,000 of
            COCO, and as single objects these would take gigabytes each.
    """

    width: int | None
    height: int | None
    annotations: bytes


class Coco(AnnotatedDataset):
    """Instances (Lin et al., ECCV 2014) as classes: `background`, then the categories in the order of their ids.

    Where instances overlap, the one with fewer pixels is on top. Polygons are rasterised by pycocotools, which defines
    COCO's masks.

    Args:
        root: The folder.
        annotations: A file in `root`, or one per split. None: found in the layouts of COCO 2017, CVAT
            (annotations/instances_*.json) or Roboflow (train|valid|test/_annotations.coco.json), or the only JSON file
            in `root`.
        images: The folder in `root` that file names are relative to, or one per split. None: as the layout has it.
        background: The class of pixels that no annotation covers; None: they are VOID.
        crowd: What regions with `iscrowd` are: VOID, or of their category.
        allow_outside: Whether file names in the annotations may lead out of `root` and `images`; see `path_inside`.

    Raises:
        RequestError: `root` or files are missing, or options contradict each other.
        DataError: A file is not COCO-JSON.
    """

    def __init__(
        self,
        root: str | None,
        annotations: str | Mapping[str, str] | None,
        images: str | Mapping[str, str] | None,
        background: str | None,
        crowd: Literal["void", "class"],
        allow_outside: bool = False,
    ) -> None:
        self.root = dataset_root(root)
        self.allow_outside = allow_outside
        self.crowd_is_void = crowd == "void"
        sources = self._with_image_dirs(
            named_sources(self.root, annotations) if annotations else find_sources(self.root), images
        )
        report = FileReport()
        self.paths = {}
        self.packed: dict[str, PackedImage] = {}
        files: list[AnnotationFile] = []
        for split, source in sources.items():
            file = read_annotation_file(source.file)
            if files and file.categories != files[0].categories:
                raise DataError(f"{file.path}: its categories are not those of {files[0].path}. Make them the same.")
            files.append(file)
            self._add_file(split, file, source.image_dirs, report)
        self._set_categories(files, background, report)
        self.splits = self.splits_by_prefix(split for split in sources if split)
        self.notes, self.problems = report.notes, report.problems

    def _with_image_dirs(
        self, sources: Mapping[str, Source], images: str | Mapping[str, str] | None
    ) -> Mapping[str, Source]:
        """The sources with the folders that the user names."""
        if images is None or images == "":
            return sources
        image_dirs = dict.fromkeys(sources, images) if isinstance(images, str) else images
        if image_dirs.keys() != sources.keys():
            raise RequestError(
                f"dataset.images names {join_names(image_dirs)}; annotations are of {join_names(sources) or 'all'}. "
                "Give a folder for each of these."
            )
        return {split: Source(source.file, [self.root / image_dirs[split]]) for split, source in sources.items()}

    def _add_file(self, split: str, file: AnnotationFile, image_dirs: Sequence[Path], report: FileReport) -> None:
        """Add the images of an annotation file to `paths` and `packed`."""
        self._report_annotations(file, report)
        allowed = folders_allowed(self.allow_outside, self.root, *image_dirs)
        folder = _find_image_dir(file, image_dirs, allowed)
        located = {image.file_name: path_inside(folder / image.file_name, allowed) for image in file.images}
        outside = [name for name, path in located.items() if path is None]
        if outside:
            report.problems.append(_outside(file, outside))
        images = {image.file_name: image for image in file.images if located[image.file_name] is not None}
        _report_images(file, folder, images, report)
        for image in images.values():
            path = located[image.file_name]
            assert path is not None
            name = f"{split}/{image.name}" if split else image.name
            if name in self.paths:
                report.problems.append(
                    f"{self.paths[name][0]} and {image.file_name} share a name. Rename one, in {file.path}, too."
                )
            annotations = [tuple(annotation) for annotation in file.annotations.get(image.id, ())]
            self.paths[name] = (path, file.path)
            try:
                self.packed[name] = PackedImage(image.width, image.height, marshal.dumps(annotations))
            except ValueError as error:
                raise DataError(
                    f"{file.path}: the annotations of {brief(image.file_name)} are nested too deeply."
                ) from error

    def _report_annotations(self, file: AnnotationFile, report: FileReport) -> None:
        crowds = sum(annotation.is_crowd for entries in file.annotations.values() for annotation in entries)
        if crowds:
            meaning = "void (dataset.crowd=class: their category)" if self.crowd_is_void else "their category"
            report.notes.append(f"{file.path.name}: {crowds} annotations are crowds (iscrowd), taken as {meaning}")
        if file.unlisted_images:
            report.problems.append(
                f"{file.path}: annotations of images that it does not list: {join_names(file.unlisted_images)}. "
                "List these images, or remove the annotations."
            )

    def _set_categories(self, files: Sequence[AnnotationFile], background: str | None, report: FileReport) -> None:
        """The classes, and the class of each category."""
        categories = sorted(files[0].categories.items())
        supercategories = {name for file in files for name in file.supercategories}
        drawn = {category for file in files for category in file.drawn_categories}
        # Roboflow lists the project itself as a category that groups all others and is never drawn
        groups = [name for category, name in categories if name in supercategories and category not in drawn]
        if groups:
            report.notes.append(f"not a class: {join_names(groups)}, which groups other categories and is never drawn")
        self.set_classes([name for _, name in categories if name not in groups], background)
        self.class_of_category = {
            category: self.class_index[name] for category, name in categories if name in self.class_index
        }

    def draw(self, name: str, mask: Mask) -> None:
        image, file = self.paths[name]
        packed = self.packed[name]
        check_size(mask, packed.width, packed.height, image, file)
        layers: list[tuple[int, Runs]] = []
        for annotation_id, category, is_crowd, segmentation in marshal.loads(packed.annotations):
            place = f"{file}: annotation {brief(annotation_id)}"
            if category not in self.class_of_category:
                raise DataError(
                    f"{place}: category {brief(category)} is not listed in the file. Correct it or remove it."
                )
            value = VOID if is_crowd and self.crowd_is_void else self.class_of_category[category]
            layers.append((value, segmentation_runs(segmentation, mask.shape, place)))
        layers.sort(key=lambda layer: -sum(layer[1][1::2]))
        for value, runs in layers:
            mask[runs_to_mask(runs, mask.shape)] = value


def _find_image_dir(file: AnnotationFile, image_dirs: Sequence[Path], allowed: Sequence[str] | None) -> Path:
    """The folder that holds images of a file. allowed: as for `path_inside`."""
    names = [image.file_name for image in file.images]
    for folder in image_dirs:
        if any(is_file(path) for name in names if (path := path_inside(folder / name, allowed))):
            return folder
    outside = [name for name in names if not all(path_inside(folder / name, allowed) for folder in image_dirs)]
    if outside:
        raise DataError(_outside(file, outside))
    searched = " or ".join(str(folder) for folder in image_dirs)
    raise RequestError(f"{file.path}: none of its images is in {searched}. Give dataset.images=<folder in root>.")


def _outside(file: AnnotationFile, names: Sequence[str]) -> str:
    return f"{file.path}: names {join_names(names, 3)}, {OUTSIDE}"


def _report_images(file: AnnotationFile, folder: Path, images: Mapping[str, ListedImage], report: FileReport) -> None:
    """Compare the images that a file lists, by file name, with those in its folder."""
    present = set(list_images(folder))
    missing = [name for name in images if name not in present and not is_file(folder / name)]
    unlisted = len(present - images.keys())
    bare = sum(image.id not in file.annotations for image in images.values())
    duplicates = len(file.images) - len({image.file_name for image in file.images})
    if missing:
        report.problems.append(
            f"{folder}: {len(missing)} images of {file.path.name} are missing: {join_names(missing)}. "
            "Restore them, or remove their entries."
        )
    if unlisted:
        report.notes.append(f"left out: {unlisted} images in {folder} that {file.path.name} does not list")
    if bare:
        report.notes.append(f"{bare} images of {file.path.name} have no annotation")
    if duplicates:
        report.problems.append(f"{file.path}: lists {duplicates} images twice. Remove one entry of each.")
