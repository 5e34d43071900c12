"""Oxford-IIIT Pet: trimaps, their border, and the breeds."""

from __future__ import annotations

import pytest

from segrun.data.sets.pet import Pet
from segrun.errors import RequestError
from segrun.types import VOID
from tests.data.sets import layouts
from tests.data.sets.config import from_config


@pytest.mark.parametrize(("border", "value"), [("void", VOID), ("pet", 1)])
def test_trimaps_become_background_and_pet(border: str, value: int) -> None:
    data = Pet(str(layouts.pet()), border, download=False)
    assert data.classes.names == ("background", "pet")
    assert data.mask("Abyssinian_1").tolist() == layouts.filled(0, p00=1, p01=value).tolist()


def test_the_official_lists_are_train_and_test() -> None:
    data = Pet(str(layouts.pet()), "void", download=False)
    assert data.splits == {"train": ("Abyssinian_1", "american_bulldog_10"), "test": ("Abyssinian_2",)}


def test_every_image_has_its_breed() -> None:
    data = Pet(str(layouts.pet()), "void", download=False)
    assert data.image_labels == {
        "Abyssinian_1": "Abyssinian", "american_bulldog_10": "american_bulldog", "Abyssinian_2": "Abyssinian",
    }  # fmt: skip


def test_the_root_may_be_the_folder_itself() -> None:
    assert len(Pet(str(layouts.pet() / "oxford-iiit-pet"), "void", download=False).names) == 3


def test_another_border_is_refused() -> None:
    with pytest.raises(RequestError, match=r"dataset\.border=cat: must be one of void, pet"):
        from_config("dataset=pet", f"dataset.root={layouts.pet()}", "dataset.border=cat")
