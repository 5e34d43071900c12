"""Data sets built from their YAML, as a command builds them."""

from __future__ import annotations

from segrun.config.build import build
from segrun.config.compose import compose
from segrun.data.dataset import Dataset


def from_config(*words: str) -> Dataset:
    """The data set of a `segrun train` with these words. Problems with its files are refused."""
    data = build(compose("train", list(words))["dataset"], "dataset")
    assert isinstance(data, Dataset)
    data.check()
    return data
