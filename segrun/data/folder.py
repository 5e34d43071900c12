"""Data sets of image and mask files: one's own folder, and CamVid in SegNet's layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from torch import Tensor

from segrun.data.dataset import Dataset
from segrun.data.reading import MODES, decode_mask, mask_values, read_image
from segrun.data.splits import by_fractions, from_list
from segrun.errors import DataError, RequestError, listed
from segrun.types import ClassMap

SPLITS = ("train", "val", "test")


class Folder(Dataset):
    """`root/images` + `root/masks`, pairs by their path without suffix, in any mix of formats Pillow reads.

    Or `root/train|val|test/{images,masks}`: then that is the split. Otherwise `split` gives fractions
    (drawn by split.seed, which is not the training's seed) or three lists of names.
    channels: the images are read as grey (1), RGB (3) or RGBA (4).
    masks: "index", "colour", "binary" (0/255) or "auto". Overlapping labels are not supported: one mask
    holds one class a pixel.

    Raises:
        RequestError: root, classes or splits are missing or contradict each other.
        DataError: images without masks or masks without images (unless `allow_unpaired`).
    """

    def __init__(
        self,
        root: str | None,
        classes: Sequence[str] | Mapping[str, Sequence[int]] | None,
        masks: str,
        ignore_index: int,
        split: Mapping[str, Any],
        allow_unpaired: bool,
        channels: int = 3,
    ) -> None:
        if channels not in MODES:
            raise RequestError(f"dataset.channels={channels}: choose 1 (grey), 3 (RGB) or 4 (RGBA).")
        self.channels = channels
        self.root = existing(root)
        self.classes = read_classes(self.root, classes)
        self.ignore_index = ignore_index
        self.notes: list[str] = []
        split_folders = [s for s in SPLITS if (self.root / s / "images").is_dir()]
        places = {s: (self.root / s / "images", self.root / s / "masks") for s in split_folders}
        self._pair(places or {"": (self.root / "images", self.root / "masks")}, allow_unpaired)
        if split_folders:
            self.splits = {s: tuple(n for n in self.pairs if n.startswith(f"{s}/")) for s in split_folders}
        else:
            self.splits = self._split(split)
        self.coding = self._coding(masks)
        if self.coding == "index" and ignore_index in range(len(self.classes)):
            name = self.classes.names[ignore_index]
            raise RequestError(f"dataset.ignore_index={ignore_index}: is the value of the class {name!r}, too.")

    def image(self, name: str) -> Tensor:
        return read_image(self.pairs[name][0], self.channels)

    def mask(self, name: str) -> Tensor:
        path = self.pairs[name][1]
        return decode_mask(mask_values(path), path, self.classes, self.coding, self.ignore_index)

    def _pair(self, places: Mapping[str, tuple[Path, Path]], allow_unpaired: bool) -> None:
        self.pairs: dict[str, tuple[Path, Path]] = {}
        for prefix, (images, masks) in places.items():
            found = [self._files(folder) for folder in (images, masks)]
            for stem in sorted(found[0].keys() & found[1].keys()):
                self.pairs[f"{prefix}/{stem}" if prefix else stem] = (found[0][stem], found[1][stem])
            for one, other, what in ((0, 1, "images without a mask"), (1, 0, "masks without an image")):
                alone = sorted(found[one].keys() - found[other].keys())
                if alone and not allow_unpaired:
                    raise DataError(
                        f"{(images, masks)[one]}: {len(alone)} {what}: {listed(alone)}. "
                        "Complete the pairs, or leave these out with dataset.allow_unpaired=true."
                    )
                if alone:
                    self.notes.append(f"left out: {len(alone)} {what} ({listed(alone)})")
        if not self.pairs:
            raise DataError(f"{self.root}: no pair of image and mask (same name, any suffix) in images/ and masks/.")

    def _files(self, folder: Path) -> dict[str, Path]:
        if not folder.is_dir():
            raise RequestError(
                f"{folder}: there is no such folder; dataset.root is to hold images/ and masks/ (or CamVid's)."
            )
        readable = Image.registered_extensions()
        found: dict[str, Path] = {}
        other = 0
        for path in sorted(folder.rglob("*")):
            place = path.relative_to(folder)
            if path.is_dir() or any(part.startswith(".") for part in place.parts):
                continue
            if path.suffix.lower() not in readable:
                other += 1
                continue
            stem = place.with_suffix("").as_posix()
            if stem in found:
                raise DataError(f"{found[stem]} and {path.name} share a name: which is it? Remove or rename one.")
            found[stem] = path
        if other:
            self.notes.append(f"left out: {other} files in {folder.name}/ that are no images")
        return found

    def _split(self, split: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        names = tuple(self.pairs)
        parts = {s: split.get(s) for s in SPLITS}
        if any(isinstance(value, str) for value in parts.values()):
            if missing := [f"dataset.split.{s}" for s in ("train", "val") if not parts[s]]:
                raise RequestError(f"{listed(missing)}: where one split is a list, train and val both need one.")
            return {s: from_list(Path(str(v)).expanduser(), names) for s, v in parts.items() if v}
        drawn = by_fractions(names, {s: float(v or 0) for s, v in parts.items()}, int(split["seed"]))
        if left := len(names) - sum(map(len, drawn.values())):
            self.notes.append(f"{left} images are in no split: dataset.split.* add up to less than 1")
        return drawn

    def _coding(self, masks: str) -> str:
        if masks not in ("auto", "index", "colour", "binary"):
            raise RequestError(f"dataset.masks={masks}: choose auto, index, colour or binary.")
        if masks != "auto":
            return masks
        first = mask_values(next(iter(self.pairs.values()))[1])
        if first.ndim == 3:
            coding = "colour"
        elif len(self.classes) == 2 and all(_zero_or_255(path) for _, path in self.pairs.values()):
            coding = "binary"  # in a two-class set in which no pixel is 1, 255 can only be the second class
        else:
            coding = "index"
        self.notes.append(f"masks understood as {coding} (dataset.masks={coding} says so outright)")
        return coding


class CamVid(Folder):
    """CamVid as split by SegNet (Brostow et al., 2009; Badrinarayanan et al., PAMI 2017):
    train/ trainannot/ val/ valannot/ test/ testannot/, mask value = class index, 11 = void."""

    NAMES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "cyclist")
    PALETTE = (
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
        (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    )  # fmt: skip

    def __init__(self, root: str | None) -> None:
        self.root = existing(root)
        self.classes = ClassMap(self.NAMES, self.PALETTE)
        self.ignore_index, self.coding = 11, "index"
        self.notes = []
        there = [s for s in SPLITS if (self.root / s).is_dir()] or SPLITS
        self._pair({s: (self.root / s, self.root / f"{s}annot") for s in there}, allow_unpaired=False)
        self.splits = {s: tuple(n for n in self.pairs if n.startswith(f"{s}/")) for s in there}


def existing(root: str | None) -> Path:
    if not root:
        raise RequestError("dataset.root has no value: give dataset.root=<folder>.")
    try:
        path = Path(root).expanduser()
    except RuntimeError:  # the home of nobody
        path = Path(root)
    if not path.is_dir():
        raise RequestError(f"dataset.root={root}: there is no such folder.")
    return path


def read_classes(root: Path, given: Sequence[str] | Mapping[str, Sequence[int]] | None) -> ClassMap:
    """From the config, else `classes.yaml` (a list, or name: [r, g, b]), else `classes.txt` (a name a line,
    its colour behind it if there is one)."""
    classes: Any = given
    for file, parse in ((root / "classes.yaml", yaml.safe_load), (root / "classes.txt", _class_lines)):
        if classes is None and file.is_file():
            try:
                classes = parse(file.read_text(encoding="utf-8-sig"))
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                kind = "YAML" if file.suffix == ".yaml" else "UTF-8 text"
                raise RequestError(f"{file}: no {kind} ({str(error).splitlines()[0]}).") from error
    if not classes:
        raise RequestError(
            f"{root}: the classes are not known. Give dataset.classes=[background,…] in the order of their "
            "values, or write classes.txt (one name a line)."
        )
    if not _are_classes(classes):
        raise RequestError(
            f"{root}: classes are a list of names, or name: [r, g, b] with different colours from 0 to 255."
        )
    if not 2 <= len(classes) <= 255 or len(set(map(str, classes))) != len(classes):
        raise RequestError(f"{root}: {len(classes)} classes ({listed(classes)}); 2 to 255 different ones are possible.")
    return ClassMap.of(classes)


def _class_lines(text: str) -> list[str] | dict[str, list[str]]:
    rows = [line.replace(",", " ").split() for line in text.split("\n") if line.strip()]
    coloured = all(len(row) > 3 and all(v.isdigit() for v in row[-3:]) for row in rows)
    names = [" ".join(row[:-3] if coloured else row) for row in rows]
    if coloured and len(set(names)) == len(names):
        return {name: row[-3:] for name, row in zip(names, rows, strict=True)}
    return names


def _are_classes(classes: Any) -> bool:
    """Names, or names with a colour of its own each."""
    if not isinstance(classes, Mapping):
        listing = isinstance(classes, Sequence) and not isinstance(classes, str)
        return listing and all(isinstance(name, str | int) for name in classes)
    colours = [tuple(str(v) for v in c) for c in classes.values() if isinstance(c, Sequence) and len(c) == 3]
    bytes_ = all(v.isdecimal() and int(v) < 256 for colour in colours for v in colour)
    return bytes_ and len(set(colours)) == len(classes)


def _zero_or_255(path: Path) -> bool:
    return bool(np.isin(mask_values(path), (0, 255)).all())
