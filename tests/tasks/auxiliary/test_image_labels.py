"""Labels of whole images from a table: what is found, what is unknown, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segrun.config.build import partial
from segrun.errors import RequestError
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.auxiliary.image_labels import ImageLabels
from segrun.types import VOID, Sample


def task(text: str | bytes) -> ImageLabels:
    file = Path("t.csv")
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return ImageLabels(1.0, str(file), 0.1, 0.0)


def label(made: ImageLabels, name: str) -> int:
    return int(made.target(Sample(name, torch.zeros(3, 4, 4), torch.zeros(4, 4, dtype=torch.uint8)), 2))


def test_labels_are_sorted_and_looked_up_by_name_and_by_last_part() -> None:
    made = task("image,label\na.png,z\nsub/b.JPG,k\nslide.2,m\nc,k\n")
    assert made.classes == ("k", "m", "z")
    found = {name: label(made, name) for name in ("a", "train/a", "sub/b", "b", "slide.2", "slide", "x/c", "none")}
    assert found == {"a": 2, "train/a": 2, "sub/b": 0, "b": VOID, "slide.2": 1, "slide": VOID, "x/c": 0, "none": VOID}


def test_the_full_name_goes_before_the_last_part() -> None:
    made = task("image,label\na,one\nsub/a,two\n")
    assert (label(made, "sub/a"), label(made, "other/a")) == (1, 0)


def test_other_columns_a_byte_order_mark_blanks_and_quotes_are_no_obstacle() -> None:
    made = task('\ufeffpatient, label, image\r\n1, "mild, left", a\r\n\r\n2,none,b\r\n')
    assert made.classes == ("mild, left", "none") and label(made, "a") == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"t\.csv:1: the header must name the columns image and label"),
        ("a,good\nb,bad\n", r"t\.csv:1: the header"),
        ("image,label\na,good\nb\n", r"t\.csv:3: a row must have 2 values"),
        ("image,label\na,good,1\n", r"t\.csv:2: a row must have 2 values"),
        ("image,label\na,good\n\n,bad\n", r"t\.csv:4: a row must have 2 values"),
        ("image,label\na,good\nb, \n", r"t\.csv:3: a row must have 2 values"),
        ('image,label\na,"good\n', r"t\.csv:2: unexpected end of data"),
        ("image,label\na.png,good\nb,good\na.jpg,bad\n", r"t\.csv:4: a is 'bad' here and 'good' above"),
        ("image,label\na,good\nb,good\n", r"t\.csv: 1 different labels; there must be 2 to 255"),
        ("image,label\n" + "".join(f"{i},{i}\n" for i in range(256)), r"256 different labels"),
        (b"image,label\na,\xff\n", r"t\.csv: not UTF-8 text"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_with_its_line(text: str | bytes, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        task(text)


def test_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(RequestError, match=r"auxiliary\.image_labels\.file=none\.csv: No such file"):
        ImageLabels(1.0, "none.csv", 0.1, 0.0)


def test_a_table_of_other_images_is_refused_with_the_counts() -> None:
    made = task("image,label\na,good\nb,bad\nc,bad\n")
    made.check_names(["train/c", "d"])
    said = r"none of its 3 images is one of the 2 training images\. It names a, b and 1 more; they are p1, p2\."
    with pytest.raises(RequestError, match=said):
        made.check_names(["p1", "p2"])


def test_a_row_that_names_several_training_images_is_refused() -> None:
    made = task("image,label\na,good\nb,bad\n")
    with pytest.raises(RequestError, match=r"t\.csv: a: several training images have this name\. Add their folders"):
        made.check_names(["x/a", "y/a", "x/b"])


def test_without_a_file_the_labels_are_those_of_the_dataset() -> None:
    task = ImageLabels(1.0, None, 0.1, 0.0, image_labels={"a": "cat", "b": "dog"})
    assert task.classes == ("cat", "dog") and label(task, "b") == 1
    for labels in ({}, None):
        with pytest.raises(RequestError, match=r"image_labels\.file=null: this dataset brings no image labels"):
            ImageLabels(1.0, None, 0.1, 0.0, labels)


def test_a_file_goes_before_the_labels_of_the_dataset() -> None:
    Path("t.csv").write_text("image,label\na,good\nb,bad\n", encoding="utf-8")
    assert ImageLabels(1.0, "t.csv", 0.1, 0.0, {"a": "cat", "b": "dog"}).classes == ("bad", "good")


def test_the_labels_of_images_are_a_late_argument() -> None:
    settings = {"weight": 1.0, "file": None, "dropout": 0.1, "label_smoothing": 0.0}
    config = {"_target_": "segrun.tasks.auxiliary.image_labels.ImageLabels", **settings}
    waiting = partial(config, "auxiliary.image_labels", base=Auxiliary)
    assert waiting(image_labels={"a": "cat", "b": "dog"}).labels == {"a": "cat", "b": "dog"}
    with pytest.raises(RequestError, match=r"auxiliary\.image_labels\.image_labels: is set by segrun"):
        partial({**config, "image_labels": {"a": "cat"}}, "auxiliary.image_labels", base=Auxiliary)


def test_other_tasks_do_not_take_the_labels_of_images() -> None:
    config = {"_target_": "segrun.tasks.auxiliary.presence.Presence", "weight": 1.0, "void": 0.0, "dropout": 0.1}
    assert partial(config, "auxiliary.presence", base=Auxiliary)(image_labels={"a": "cat"}).name == "presence"
