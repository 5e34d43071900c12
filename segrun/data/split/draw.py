"""Drawing splits by fractions or folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from segrun.data.dataset import SPLITS, Splits
from segrun.data.split.groups import group_units
from segrun.data.split.settings import SplitSettings
from segrun.data.split.stratified import stratified_split
from segrun.errors import RequestError, join_names

DrawnSplits = dict[str, tuple[str, ...]]
ROUNDING = 1e-9  # fractions such as 0.7, 0.15 and 0.15 may add up to a little more than 1


def draw_splits(
    names: Sequence[str], official: Splits, settings: SplitSettings, linked: Sequence[int], present: Tensor
) -> DrawnSplits:
    """Draw the splits that are not official; an official test is kept.

    Args:
        names: The images.
        official: The official splits, if any.
        settings: See `SplitSettings`.
        linked: A number per image, the same for images that stay together.
        present: (N, classes) bool, whether an image shows a class.

    Raises:
        RequestError: The fractions add up to more than 1, or a split would be empty.
    """
    fractions = _fractions(settings)
    official_test = tuple(official.get("test", ()))
    if official:  # train and val share the images outside its test
        whole = max(fractions["train"] + fractions["val"], ROUNDING)  # never 0
        fractions = {split: fractions[split] / whole for split in ("train", "val")}
    drawn = set(range(len(names))) - _indices_of(official_test, names)
    order = sorted(drawn, key=lambda index: names[index])
    strata = present if settings.stratify else present[:, :0]

    def draw(indices: Sequence[int], parts: Mapping[str, float]) -> dict[str, list[int]]:
        return stratified_split(group_units(indices, linked), strata, parts, settings.seed)

    if settings.folds is None:
        indices = draw(order, fractions)
    else:  # first test, which is the same in every fold
        test_fraction = fractions.get("test", 0.0)
        first = draw(order, {"test": test_fraction, "rest": 1 - test_fraction})
        rest = sorted(first["rest"], key=lambda index: names[index])
        folds = draw(rest, {str(fold): 1 / settings.folds for fold in range(settings.folds)})
        val = folds.pop(str(settings.fold))
        indices = {"train": [index for fold in folds.values() for index in fold], "val": val, "test": first["test"]}
    _check_not_empty(indices, fractions, len(order), len({linked[index] for index in order}))
    splits = {split: tuple(sorted(names[index] for index in indices[split])) for split in SPLITS if indices.get(split)}
    return {**splits, "test": official_test} if official_test else splits


def _fractions(settings: SplitSettings) -> dict[str, float]:
    """The fractions by split. With folds, train and val are all that is not test."""
    if settings.folds is not None:
        val = (1 - settings.test) / settings.folds
        fractions = {"train": 1 - settings.test - val, "val": val, "test": settings.test}
    else:
        fractions = {"train": settings.train, "val": settings.val, "test": settings.test}
    if not 0 < sum(fractions.values()) <= 1 + ROUNDING:
        text = " ".join(f"split.{split}={fraction}" for split, fraction in fractions.items())
        raise RequestError(f"{text}: the fractions must add up to 1 at most, and to more than 0.")
    return fractions


def _indices_of(members: Iterable[str], names: Sequence[str]) -> set[int]:
    members = set(members)
    return {index for index, name in enumerate(names) if name in members}


def _check_not_empty(
    indices: Mapping[str, Sequence[int]], fractions: Mapping[str, float], images: int, groups: int
) -> None:
    """Refuse a draw without train or val, or without the test that was requested."""
    required = [split for split in SPLITS if split != "test" or fractions.get(split)]
    empty = [split for split in required if not indices.get(split)]
    if empty:
        in_groups = f" in {groups} groups" if groups < images else ""
        raise RequestError(
            f"{images} images{in_groups} leave none for {join_names(empty)}. Change split.*, or add images."
        )
