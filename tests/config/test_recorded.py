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


def test_names_of_folders_are_short_whatever_the_data_is_called() -> None:
    record = RecordedConfig(composed("train", "dataset=folder", f"dataset.root=/data/{'ü' * 120}"))
    other = RecordedConfig(composed("train", "dataset=folder", f"dataset.root=/data/{'ü' * 121}"))
    assert record.dataset_name.startswith("ü" * 80) and record.dataset_name != other.dataset_name
    assert len(record.label.encode()) <= 180 and len(record.job_name.encode()) <= 180 + len("_seed0_") + 10
    assert record.job_name.endswith(f"_seed0_{record.hash}")


def test_the_config_survives_yaml() -> None:
    values = composed("train", "head=deeplabv3plus")
    assert yaml.safe_load(RecordedConfig(values).to_yaml()) == values == RecordedConfig(values).to_dict()
