"""A data set of raw values measures its training images once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segrun.data import raw_dataset
from segrun.data.raw_dataset import RawDataset
from segrun.data.read.intensity import Intensity, IntensitySettings
from segrun.types import ClassMap


def raw(*values: float) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32).reshape(1, 1, -1)


class Given(RawDataset):
    """Images from memory."""

    def __init__(self, images: dict[str, NDArray[np.float32]], scaling: dict[str, Any]) -> None:
        self.images, self.intensity = images, Intensity(IntensitySettings(**scaling))
        self.names, self.classes, self.reads = tuple(images), ClassMap.of(("a", "b")), list[str]()
        self.notes = ("before",)

    def raw(self, name: str) -> NDArray[np.float32]:
        self.reads.append(name)
        return self.images[name]

    def mask(self, name: str) -> torch.Tensor:
        return torch.zeros(self.images[name].shape[1:], dtype=torch.uint8)


def test_fitting_a_data_set_fixes_its_images_says_so_and_gives_the_config() -> None:
    data = Given(
        {"one": raw(0, 10), "two": raw(20, 30), "three": raw(-50, 90)}, {"scale": "dataset", "low": 0, "high": 100}
    )
    assert data.image("two").flatten().tolist() == [0, 1]
    fitted, settings = data.fit(("one", "two"))
    assert settings == {"intensity": {"scale": "fixed", "low": [0.0], "high": [30.0]}}
    assert fitted.image("two").flatten().tolist() == pytest.approx([2 / 3, 1])
    assert fitted.image("three").flatten().tolist() == [0, 1]
    assert list(fitted.notes) == ["before", "intensity: percentiles 0 and 100 of the training images: 0…30"]
    assert fitted.fit(("three",)) == (fitted, {})  # it is fixed now
    assert list(data.notes) == ["before"] and data.image("two").flatten().tolist() == [0, 1]  # it has not changed


def test_of_many_images_a_part_is_measured_evenly_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_dataset, "FIT_IMAGES", 3)
    data = Given({f"{k}": raw(k, k + 1) for k in range(9)}, {"scale": "dataset", "low": 0, "high": 100})
    fitted, _ = data.fit(data.names)
    assert data.reads == ["0", "4", "8"]
    assert fitted.notes[-1] == "intensity: percentiles 0 and 100 of 3 of the 9 training images: 0…9"
