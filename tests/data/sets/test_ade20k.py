"""ADE20K: classes out of its own table, 0 as void."""

from __future__ import annotations

import pytest

from segrun.data.sets.ade20k import ADE20K
from segrun.errors import DataError, RequestError
from segrun.types import VOID
from tests.data.sets import layouts


def test_values_1_to_150_become_0_to_149_and_0_is_void() -> None:
    data = ADE20K(str(layouts.ade20k()))
    assert data.splits == {"train": ("train/ADE_train_00000001",), "val": ("val/ADE_val_00000001",)}
    for name in data.names:
        assert data.mask(name).tolist() == layouts.filled(VOID, p00=0, p01=1, p34=149).tolist()


def test_classes_come_from_the_official_table_whole() -> None:
    classes = ADE20K(str(layouts.ade20k())).classes
    assert len(classes) == 150
    assert classes.names[:2] == ("wall", "building, edifice") and classes.names[149] == "thing150, thing"


def test_the_root_may_be_the_folder_itself() -> None:
    assert len(ADE20K(str(layouts.ade20k() / "ADEChallengeData2016")).names) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Idx\tName\n1\twall\n", "must name 150 classes, Idx 1 to 150, but names 1"),
        ("a list\nof words\n", "is not the official table"),
        ("Idx\tName\none\twall\n", "is not the official table"),
        ("Idx\tName\n1\n", "is not the official table"),
    ],
)
def test_another_table_is_refused(text: str, message: str) -> None:
    path = layouts.ade20k() / "ADEChallengeData2016" / "objectInfo150.txt"
    path.write_text(text)
    with pytest.raises(RequestError, match=rf"objectInfo150\.txt: {message}"):
        ADE20K("ade")


def test_a_value_beyond_150_is_refused() -> None:
    data = ADE20K(str(layouts.ade20k()))
    layouts.put(data.pairs[data.names[0]][1], layouts.filled(1, p00=151))
    with pytest.raises(DataError, match=r"151 \(1 pixels\)"):
        data.mask(data.names[0])


def test_an_image_without_its_mask_is_a_problem() -> None:
    data = ADE20K(str(layouts.ade20k()))
    layouts.picture(data.root / "images/training/ADE_train_00000002.jpg")
    (problem,) = ADE20K("ade").problems
    assert "1 images without a mask: ADE_train_00000002. Unpack" in problem
