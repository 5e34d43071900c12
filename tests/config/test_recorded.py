"""The record of a config: equal for equal requests, and complete."""

from __future__ import annotations

import pytest
import yaml

from segrun.config.recorded import RecordedConfig
from tests.config.shipped import composed


def hash_of(*words: str) -> str:
    return RecordedConfig(composed("train", *words)).hash


@pytest.mark.parametrize(
    "word", ["trainer.device=cpu", "trainer.workers=3", "tracker=[tensorboard]", "output=elsewhere"]
)
def test_the_hash_ignores_what_cannot_change_the_outcome(word: str) -> None:
    assert hash_of(word) == hash_of()


@pytest.mark.parametrize(
    "word",
    ["seed=1", "labels=20", "optimizer.lr=0.1", "head=fcn", "trainer.epochs=3", "strategy=scratch", "dataset.seed=1"],
)
def test_the_hash_tells_other_requests_apart(word: str) -> None:
    assert hash_of(word) != hash_of()


def test_the_config_survives_yaml() -> None:
    values = composed("train", "head=deeplabv3plus")
    assert yaml.safe_load(RecordedConfig(values).to_yaml()) == values == RecordedConfig(values).to_dict()
