"""Lists of names in text files."""

from __future__ import annotations

from pathlib import Path

import pytest

from segrun.data.split.split_files import read_name_list, read_split
from segrun.errors import DataError, RequestError

NAMES = tuple(f"i{n:02}" for n in range(20))


def test_a_list_names_what_is_not_there(elsewhere: Path) -> None:
    Path("val.txt").write_text("i01\nj1.png\nnothing\n")
    with pytest.raises(RequestError, match=r"val\.txt: 2 names without a pair of image and mask: j1\.png, nothing"):
        read_name_list(Path("val.txt"), NAMES)


def test_a_list_may_hold_a_name_twice_paths_and_a_byte_order_mark(elsewhere: Path) -> None:
    Path("val.txt").write_text("x/ü 1.jpg\ni01\ni01.png\n", encoding="utf-8-sig")
    assert read_name_list(Path("val.txt"), [*NAMES, "x/ü 1"]) == ("x/ü 1", "i01")


@pytest.mark.parametrize(("content", "message"), [(b"\n \n", "is empty"), (b"\xff\xfe\x00", "cannot be read")])
def test_an_empty_or_unreadable_list_is_refused(content: bytes, message: str, elsewhere: Path) -> None:
    Path("val.txt").write_bytes(content)
    with pytest.raises(RequestError, match=rf"val\.txt: this split list {message}"):
        read_name_list(Path("val.txt"), NAMES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 50_000, "cannot be read as JSON (maximum recursion depth exceeded"),
        (b'{"train": ["\xff"]}', "cannot be read as JSON ('utf-8' codec can't decode"),
        (b'{"train": "i01"}', "train: must be a list, not 'i01'."),
        (b'{"train": [1]}', "train.0: must be text, not 1."),
        (b'{"trian": ["i01"]}', "trian.[key]: must be 'train', 'val' or 'test', not 'trian'."),
        (b"[]", "must be a mapping, not a list."),
    ],
)
def test_a_split_file_that_cannot_be_used_is_one_line(content: bytes, message: str, elsewhere: Path) -> None:
    Path("split.json").write_bytes(content)
    with pytest.raises(DataError) as refused:
        read_split(Path("split.json"), NAMES)
    assert str(refused.value).startswith(f"split.json: {message}") and "\n" not in str(refused.value)
    assert str(refused.value).endswith('split.file must hold {"train": [names], "val": [names], "test": [names]}.')
