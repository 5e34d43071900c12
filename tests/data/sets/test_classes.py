"""Class names as they are written, in every file that gives them."""

from __future__ import annotations

from pathlib import Path

import pytest

from segrun.data.sets.classes import read_classes
from segrun.errors import RequestError
from tests.data.sets.config import from_config

WORDS = ["no", "yes", "on", "off", "y", "true", "null", "~", "01", "1.50", "1e3", "0x1f", "2024-01-02", "12:30", "="]


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_classes_yaml_gives_names_as_they_are_written(quote: str) -> None:
    Path("classes.yaml").write_text("".join(f"- {quote}{word}{quote}\n" for word in WORDS))
    assert read_classes(Path(), None).names == tuple(WORDS)


def test_names_with_colours_are_taken_as_they_are_written() -> None:
    Path("classes.yaml").write_text("no: [0, 0, 0]\noff: [1, 2, 3]\n01: [255, 0, 010]\n")
    classes = read_classes(Path(), None)
    assert classes.names == ("no", "off", "01") and classes.palette == ((0, 0, 0), (1, 2, 3), (255, 0, 10))


def test_classes_txt_gives_names_as_they_are_written() -> None:
    Path("classes.txt").write_text("".join(f"{word}\n" for word in WORDS))
    assert read_classes(Path(), None).names == tuple(WORDS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n-\n", r"a class has no name"),
        ("a: [0, 0, 0]\na: [1, 1, 1]\n", r"classes\.yaml: is not YAML \('a' occurs twice\)"),
        ("- !!timestamp x\n", r"classes\.yaml: is not YAML"),
        ("[" * 5_000, r"classes\.yaml: is not YAML \(nested too deeply\)"),
        ("- [a]\n- b\n", "classes must be a list of names"),
        ("a: &x [*x]\n", "is not YAML|classes must be a list"),
    ],
)
def test_a_classes_yaml_that_cannot_be_understood_is_refused_in_one_line(text: str, message: str) -> None:
    Path("classes.yaml").write_text(text)
    with pytest.raises(RequestError, match=message) as caught:
        read_classes(Path(), None)
    assert "\n" not in str(caught.value)


def test_classes_yaml_of_another_encoding_is_refused() -> None:
    Path("classes.yaml").write_bytes("- é\n- b\n".encode("latin-1"))
    with pytest.raises(RequestError, match=r"classes\.yaml: cannot be read \(not UTF-8 text\)"):
        read_classes(Path(), None)


def test_words_of_the_command_are_names_and_truth_values_need_quotes() -> None:
    for folder in ("images", "masks"):
        Path(folder).mkdir()
    words = ("dataset=microscopy", "dataset.root=.", "dataset.masks=index")
    for classes in ("[true,false]", "[a,null]", "[a,2.50]"):
        with pytest.raises(RequestError, match=r"are no names in YAML\. Write them in quotes"):
            from_config(*words, f"dataset.classes={classes}")
    assert read_classes(Path(), ["no", "off", 7]).names == ("no", "off", "7")
