"""Which image is in which split: as the publisher says, as a file says, or drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from segrun.data.dataset import SPLITS, Dataset, Splits
from segrun.data.split.stratified import grouped, linked_groups, stratified_split, units
from segrun.errors import RequestError, join_names

Drawn = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class SplitSettings:
    """train, val, test: fractions; seed: of the draw, which is not the training's; stratify: by class presence.

    folds: the images without those of test are parted into so many, and fold `fold` is val. groups: what keeps images
    together: a regular expression searched for in their names, "folder", or a CSV file with the columns image and
    group. file: a run's split.json, or a folder with train.txt, val.txt and perhaps test.txt.
    """

    train: float
    val: float
    test: float
    seed: int
    stratify: bool
    folds: int | None
    fold: int
    groups: str | None
    file: str | None


def split(
    data: Dataset, names: Sequence[str], settings: SplitSettings, present: Tensor, digests: Sequence[bytes]
) -> tuple[Drawn, list[str]]:
    """The splits, and what is to be said of them.

    An official split stands; where it has no val, that is drawn from its train. `settings.file` and
    `settings.folds` come before it, but its test stays the test.

    names: of the images that can be read; present: (N, classes) bool; digests: equal where images are, pixel for
    pixel. Such copies stay together in what is drawn, and so do parts of one volume or scene (`data.group`).

    Raises:
        RequestError: the settings contradict each other or the data, or a group is torn apart.
    """
    notes: list[str] = []
    official = data.splits
    groups = [data.group(name) for name in names] if settings.groups is None else grouped(names, settings.groups)
    if settings.file is not None:
        found = from_file(Path(settings.file).expanduser(), names)
    elif settings.folds is None and official.get("train") and official.get("val"):
        found = {key: tuple(members) for key, members in official.items()}
    else:
        together = linked_groups(groups, digests)
        if copies := len(names) - len(set(digests)):
            notes.append(f"{copies} images are copies of another, and stay with it")
        found = _draw(names, official, settings, together, present)
        if left := len(names) - sum(map(len, found.values())):
            notes.append(f"{left} images are in no split: split.train, val and test add up to less than 1")
    disjoint(found)
    check_groups_intact(found, dict(zip(names, groups, strict=True)))
    return found, notes


def _draw(
    names: Sequence[str], official: Splits, settings: SplitSettings, together: Sequence[int], present: Tensor
) -> Drawn:
    folds = settings.folds
    if not (folds or 1) > settings.fold >= 0 or (folds is not None and folds < 2):
        raise RequestError(f"split.folds={folds} split.fold={settings.fold}: two folds or more, counted from 0.")
    shares = {key: float(getattr(settings, key)) for key in SPLITS}
    if folds is not None:  # they are all that is not test
        val = (1 - shares["test"]) / folds
        shares = {"train": 1 - shares["test"] - val, "val": val, "test": shares["test"]}
    if any(share < 0 for share in shares.values()) or not 0 < sum(shares.values()) <= 1 + 1e-9:
        shown = " ".join(f"split.{key}={value}" for key, value in shares.items())
        raise RequestError(f"{shown}: fractions lie between 0 and 1 and add up to 1 at most.")
    test = set(official.get("test", ()))
    if official:  # what there is of it is parted between train and val
        whole = shares["train"] + shares["val"]
        shares = {key: shares[key] / max(whole, 1e-9) for key in ("train", "val")}
    order = sorted((place for place, name in enumerate(names) if name not in test), key=lambda place: names[place])
    shown_classes = present if settings.stratify else present[:, :0]

    def deal(places: Sequence[int], among: Mapping[str, float]) -> dict[str, list[int]]:
        return stratified_split(units(places, together), shown_classes, among, settings.seed)

    if folds is None:
        made = deal(order, shares)
    else:
        share = shares.get("test", 0.0)
        first = deal(order, {"test": share, "rest": 1 - share})
        rest = sorted(first["rest"], key=lambda place: names[place])
        parted = deal(rest, {str(fold): 1 / folds for fold in range(folds)})
        made = {"val": parted.pop(str(settings.fold)), "test": first["test"]}
        made["train"] = [place for part in parted.values() for place in part]
    if empty := [key for key in SPLITS if not made.get(key) and (key != "test" or shares.get(key))]:
        among = len({together[place] for place in order})
        held = f" of {among} groups" if among < len(order) else ""
        raise RequestError(f"{len(order)} images{held} leave none for {join_names(empty)}. Change split.*, or add images.")
    found = {key: tuple(sorted(names[place] for place in made[key])) for key in SPLITS if made.get(key)}
    return {**found, "test": tuple(official["test"])} if test else found


def from_file(path: Path, known: Sequence[str]) -> Drawn:
    """A split.json, or lists of names in train.txt, val.txt and perhaps test.txt.

    Raises:
        RequestError: nothing that can be read, or names that are not there.
    """
    if path.is_dir():
        lists = {key: path / f"{key}.txt" for key in SPLITS}
        found = {key: from_list(file, known) for key, file in lists.items() if key != "test" or file.is_file()}
    else:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RequestError(f"split.file={path}: cannot be read as JSON ({error}).") from error
        if not isinstance(content, dict) or not all(
            key in SPLITS and isinstance(names, list) and all(isinstance(name, str) for name in names)
            for key, names in content.items()
        ):
            raise RequestError(f'split.file={path}: is to hold {{"train": [names], "val": [names], "test": [names]}}.')
        there = set(known)
        if gone := [name for names in content.values() for name in names if name not in there]:
            raise RequestError(f"split.file={path}: {len(gone)} of its images are not in the data set: {join_names(gone)}.")
        found = {key: tuple(dict.fromkeys(names)) for key, names in content.items() if names}
    if missing := [key for key in ("train", "val") if not found.get(key)]:
        raise RequestError(f"split.file={path}: has no images for {join_names(missing)}.")
    return found


def from_list(path: Path, known: Sequence[str]) -> tuple[str, ...]:
    """A text file with a name a line, with or without suffix.

    Raises:
        RequestError: the file is missing, empty, or names an image that is not there.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: this split list cannot be read ({error}).") from error
    there = set(known)
    names = [
        line.strip() if line.strip() in there else line.strip().rpartition(".")[0] for line in lines if line.strip()
    ]
    if unknown := [
        line.strip() for line, name in zip(filter(str.strip, lines), names, strict=True) if name not in there
    ]:
        raise RequestError(f"{path}: {len(unknown)} names without a pair of image and mask: {join_names(unknown)}.")
    if not names:
        raise RequestError(f"{path}: this split list is empty.")
    return tuple(dict.fromkeys(names))


def disjoint(splits: Mapping[str, Sequence[str]]) -> None:
    """Raises RequestError where an image is in two splits: the scores would be of no worth."""
    seen: dict[str, str] = {}
    for split, names in splits.items():
        if twice := [name for name in names if seen.setdefault(name, split) != split]:
            raise RequestError(f"{len(twice)} images are in both {seen[twice[0]]} and {split}: {join_names(twice)}.")


def check_groups_intact(splits: Splits, group: Mapping[str, str]) -> None:
    """Raises RequestError where a group has images in two splits."""
    seen: dict[str, str] = {}
    for key, names in splits.items():
        if torn := [g for g in (group.get(name, name) for name in names) if seen.setdefault(g, key) != key]:
            raise RequestError(
                f"{join_names(dict.fromkeys(torn))}: of one group, with images in both {seen[torn[0]]} and {key}. "
                "Keep each group in one split: correct split.file or split.groups."
            )
