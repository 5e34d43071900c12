"""Splits: the publisher's, a file's, or drawn by fractions, folds, groups and class presence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segrun.config.build import to_dataclass
from segrun.data.dataset import Dataset, Splits
from segrun.data.sets.shapes import Shapes
from segrun.data.split.settings import SplitSettings
from segrun.data.split.splits import check_disjoint, check_names_exist, make_splits
from segrun.errors import RequestError

NAMES = tuple(f"i{n:02}" for n in range(20))
DEFAULT = SplitSettings(0.7, 0.15, 0.15, seed=0, stratify=True, folds=None, fold=0, groups=None, file=None)


class Named(Dataset):
    """Names and an official split; the part before a slash is the group, where there is one."""

    def __init__(self, names: Sequence[str], splits: Splits | None = None) -> None:
        self.names, self.splits = tuple(names), splits or {}

    def group(self, name: str) -> str:
        return name.partition("/")[0]

    def image(self, name: str) -> Tensor:
        raise AssertionError("splits are drawn without reading again")

    mask = image


def drawn(
    names: Sequence[str] = NAMES,
    official: Splits | None = None,
    present: Tensor | None = None,
    digests: Sequence[bytes] | None = None,
    **changed: object,
) -> dict[str, tuple[str, ...]]:
    present = torch.ones(len(names), 1, dtype=torch.bool) if present is None else present
    data = Named(names, official)
    result, _ = make_splits(data, names, replace(DEFAULT, **changed), present, digests or [n.encode() for n in names])  # type: ignore[arg-type]
    return result


def sizes(splits: Mapping[str, Sequence[str]]) -> dict[str, int]:
    return {key: len(names) for key, names in splits.items()}


def test_fractions_part_all_images_between_the_splits() -> None:
    splits = drawn()
    assert sizes(splits) == {"train": 14, "val": 3, "test": 3}
    assert sorted(name for names in splits.values() for name in names) == sorted(NAMES)


def test_the_splits_follow_their_seed_and_not_the_order_of_the_files() -> None:
    assert drawn(seed=1) == drawn(NAMES[::-1], seed=1)
    assert drawn(seed=1) != drawn(seed=2)


def test_the_splits_do_not_touch_the_random_state_of_training() -> None:
    torch.manual_seed(1)
    drawn(seed=5)
    after = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(3))


def test_a_split_of_zero_is_left_out() -> None:
    assert set(drawn(train=0.5, val=0.5, test=0.0)) == {"train", "val"}


def test_fractions_beyond_1_in_all_are_refused() -> None:
    with pytest.raises(RequestError, match=r"split\.train=0\.9 .*add up to 1 at most"):
        drawn(train=0.9)


@pytest.mark.parametrize(
    ("key", "value"),
    [("train", -0.1), ("train", 14), ("val", float("nan")), ("folds", 1), ("folds", 0), ("fold", -1), ("seed", 0.5)],
)
def test_settings_outside_their_range_are_refused(key: str, value: float) -> None:
    with pytest.raises(RequestError, match=rf"split\.{key}={value}: must be "):
        to_dataclass({**asdict(DEFAULT), key: value}, SplitSettings, "split")


@pytest.mark.parametrize(("fractions", "lacks"), [((0.7, 0.15, 0.15), "test"), ((1.0, 0.0, 0.0), "val")])
def test_too_few_images_for_a_split_are_refused(fractions: tuple[float, ...], lacks: str) -> None:
    with pytest.raises(RequestError, match=f"3 images leave none for .*{lacks}"):
        drawn(NAMES[:3], **dict(zip(("train", "val", "test"), fractions, strict=True)))


def test_what_is_in_no_split_is_said() -> None:
    data = Named(NAMES)
    tenth = replace(DEFAULT, train=0.1, val=0.1, test=0.1)
    result, notes = make_splits(data, NAMES, tenth, torch.ones(20, 1).bool(), [n.encode() for n in NAMES])
    assert sizes(result) == {"train": 2, "val": 2, "test": 2}
    assert notes == ["14 images are in no split: split.train, val and test add up to less than 1"]


def test_a_rare_class_is_in_every_split_in_due_proportion() -> None:
    present = torch.zeros(200, 3, dtype=torch.bool)
    present[:, 0] = True
    present[:20, 1] = True  # a tenth of the images
    present[15:25, 2] = True
    names = [f"{n:03}" for n in range(200)]
    shares = {"train": 0.6, "val": 0.2, "test": 0.2}
    for seed in range(5):
        splits = drawn(names, present=present, seed=seed, **shares)
        for c, whole in ((1, 20), (2, 10)):
            got = {key: sum(bool(present[int(name), c]) for name in members) for key, members in splits.items()}
            assert all(
                abs(got[key] - whole * share) <= 1 for key, share in (("train", 0.6), ("val", 0.2), ("test", 0.2))
            )
        assert all(abs(n - whole) <= 4 for n, whole in zip(sizes(splits).values(), (120, 40, 40), strict=True))


def test_without_stratification_presence_says_nothing() -> None:
    present = torch.rand(20, 4, generator=torch.Generator().manual_seed(0)) > 0.5
    assert drawn(present=present, stratify=False) == drawn(present=torch.ones(20, 4).bool())
    assert drawn(present=present) != drawn(present=present, stratify=False)


def test_each_image_is_val_in_one_fold_and_test_is_the_same_in_all() -> None:
    folds = [drawn(folds=4, fold=fold, test=0.2) for fold in range(4)]
    assert all(sizes(fold) == {"train": 12, "val": 4, "test": 4} for fold in folds)
    assert len({fold["test"] for fold in folds}) == 1
    assert sorted(name for fold in folds for name in fold["val"]) == sorted(set(NAMES) - set(folds[0]["test"]))


@pytest.mark.parametrize(("folds", "fold"), [(5, 5), (None, 2)])
def test_folds_that_are_none_are_refused(folds: int | None, fold: int) -> None:
    with pytest.raises(RequestError, match=rf"split\.folds={folds} split\.fold={fold}"):
        drawn(folds=folds, fold=fold)


def test_an_official_split_stands_and_its_test_stays_in_every_fold() -> None:
    official = {"train": NAMES[:12], "val": NAMES[12:16], "test": NAMES[16:]}
    assert drawn(official=official) == official
    folds = [drawn(official=official, folds=4, fold=fold) for fold in range(4)]
    assert all(fold["test"] == NAMES[16:] for fold in folds)
    assert sorted(name for fold in folds for name in fold["val"]) == sorted(NAMES[:16])


def test_val_is_drawn_from_an_official_train_that_has_none() -> None:
    splits = drawn(official={"train": NAMES[:15], "test": NAMES[15:]}, train=0.4, val=0.1, test=0.5)
    assert sizes(splits) == {"train": 12, "val": 3, "test": 5} and splits["test"] == NAMES[15:]


GROUPED = [f"p{patient}/s{n}" for patient in range(8) for n in range(5)]


@pytest.mark.parametrize("by", [None, "folder", r"^(p\d)", r"p\d", "groups.csv"])
def test_groups_stay_together(by: str | None, elsewhere: Path) -> None:
    rows = "".join(f"{name}.png,{name[:2]}\n" for name in GROUPED)
    Path("groups.csv").write_text(f"image,group\n{rows}")
    splits = drawn(GROUPED, groups=by, train=0.5, val=0.25, test=0.25)
    assert sizes(splits) == {"train": 20, "val": 10, "test": 10}
    owners = [{name[:2] for name in names} for names in splits.values()]
    assert sum(map(len, owners)) == 8


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("(", "no regular expression"),
        ("q", "gives 40 of 40 images no group"),
        ("gone.csv", r"split\.groups=gone\.csv"),
    ],
)
def test_groups_that_cannot_be_made_are_refused(by: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        drawn(GROUPED, groups=by)


def test_a_table_of_groups_names_the_line_that_contradicts(elsewhere: Path) -> None:
    Path("groups.csv").write_text("image,group\ni00,a\ni00.png,b\n")
    with pytest.raises(RequestError, match=r"groups\.csv:3: i00 is 'b' here and 'a' above"):
        drawn(groups="groups.csv")


def test_a_group_in_two_splits_is_refused() -> None:
    torn = {"train": GROUPED[:7], "val": GROUPED[7:]}
    with pytest.raises(RequestError, match="p1: of one group, with images in both train and val"):
        drawn(GROUPED, official=torn)


def test_copies_stay_together() -> None:
    for seed in range(10):
        digests = [b"same" if name in ("i03", "i11", "i17") else name.encode() for name in NAMES]
        splits = drawn(digests=digests, seed=seed)
        assert len({key for key, names in splits.items() if {"i03", "i11", "i17"} & set(names)}) == 1


def test_a_stored_split_is_given_back(elsewhere: Path) -> None:
    stored = {"train": ["i01", "i03"], "val": ["i02"], "test": []}
    Path("split.json").write_text(json.dumps(stored))
    assert drawn(file="split.json") == {"train": ("i01", "i03"), "val": ("i02",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ('["i01"]', "must hold"),
        ('{"train": ["i01"], "dev": ["i02"]}', "must hold"),
        ('{"train": ["i01", "x9"], "val": ["i02"]}', "1 of its images are not in the data set: x9"),
        ('{"train": ["i01"]}', "has no images for val"),
        ('{"train": ["i01"], "val": ["i01"]}', "1 images are in both train and val: i01"),
    ],
)
def test_a_stored_split_that_is_none_is_refused(text: str, message: str, elsewhere: Path) -> None:
    Path("split.json").write_text(text)
    with pytest.raises(RequestError, match=message):
        drawn(file="split.json")


def test_lists_in_a_folder_name_the_split(elsewhere: Path) -> None:
    Path("lists").mkdir()
    Path("lists/train.txt").write_text("i03\ni01.png\n\n")
    Path("lists/val.txt").write_text("i00\r\n")
    assert drawn(file="lists") == {"train": ("i03", "i01"), "val": ("i00",)}
    Path("lists/val.txt").unlink()
    with pytest.raises(RequestError, match=r"val\.txt: this split list cannot be read"):
        drawn(file="lists")


def test_an_image_in_two_splits_is_refused() -> None:
    check_disjoint({"train": ["a", "b"], "val": ["c"]})
    with pytest.raises(RequestError, match="1 images are in both train and test: b"):
        check_disjoint({"train": ["a", "b"], "val": ["c"], "test": ["b", "d"]})


def test_a_stored_split_of_other_images_is_refused() -> None:
    data = Shapes(32, train=3, val=2, test=1, objects=2, seed=0)
    check_names_exist({"train": ["val-000"], "val": ["train-001"]}, data.names)
    with pytest.raises(RequestError, match="1 images of the run's stored split are not in this data set: train-009"):
        check_names_exist({"train": ["train-009"]}, data.names)


def test_the_official_split_may_be_given_without_damaged_images() -> None:
    data = Named(NAMES, {"train": NAMES[:12], "val": NAMES[12:]})
    readable = {"train": NAMES[:11], "val": NAMES[12:]}
    digests = [name.encode() for name in NAMES]
    splits, _ = make_splits(data, NAMES, DEFAULT, torch.ones(20, 1).bool(), digests, readable)
    assert splits == readable and data.splits["train"] == NAMES[:12]
