"""The trainer's settings: ranges, and the steps of each epoch."""

from __future__ import annotations

from typing import Any

import pytest

from segrun.config.build import to_dataclass
from segrun.config.compose import compose
from segrun.engine.settings import TrainerSettings
from segrun.errors import RequestError
from segrun.inference.settings import InferenceSettings

NAN, INF = float("nan"), float("inf")


def settings(**changed: Any) -> TrainerSettings:
    return to_dataclass({**compose("train")["trainer"], **changed}, TrainerSettings, "trainer")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("epochs", value) for value in (0, -1, 1.5, 1e30, "abc", None, [], True)),
        *(("steps", value) for value in (0, -1, 1.5)),
        *(("clip", value) for value in (0, -1, NAN, INF, 1e30)),
        *(("ema", value) for value in (0, 1, NAN)),
        *(("workers", value) for value in (-2, 1.5, "auto", None)),
        *(("cache", value) for value in (-0.1, NAN, INF, None)),
        *(("patience", value) for value in (0, -1)),
        *(("channels_last", value) for value in ("yes", 1, None)),
        *((key, "abc") for key in ("precision", "device", "monitor", "save", "compile", "cka", "deterministic")),
    ],
)
def test_a_setting_outside_its_range_is_refused(key: str, value: object) -> None:
    with pytest.raises(RequestError, match=rf"^trainer\.{key}"):
        settings(**{key: value})


def test_fewer_steps_than_epochs_are_refused() -> None:
    assert settings(steps=3, epochs=3).steps_per_epoch(100) == [1, 1, 1]
    with pytest.raises(RequestError, match=r"trainer\.steps=2: fewer than trainer\.epochs=3"):
        settings(steps=2, epochs=3)


def test_an_epoch_is_the_nearest_number_of_full_batches_or_an_even_share_of_the_steps() -> None:
    assert settings(epochs=2, batch_size=8).steps_per_epoch(21) == [3, 3]
    assert settings(epochs=2, batch_size=8, accumulate=2).steps_per_epoch(3) == [1, 1]
    assert settings(epochs=3, steps=10).steps_per_epoch(1000) == [3, 3, 4]


@pytest.mark.parametrize(
    ("key", "value"),
    [("tile", 31), ("tile", 64.5), ("overlap", 1.0), ("overlap", -0.1), ("overlap", NAN), ("batch_size", 0)],
)
def test_an_inference_setting_outside_its_range_is_refused(key: str, value: object) -> None:
    values = {"batch_size": 8, "device": "cpu", "precision": "fp32", "tile": None, "overlap": None}
    assert to_dataclass(values, InferenceSettings, "").overlap is None
    with pytest.raises(RequestError, match=f"^{key}"):
        to_dataclass({**values, key: value}, InferenceSettings, "")
