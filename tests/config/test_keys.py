"""The table of config keys: the nearest row decides, and every row is about a key that exists."""

from __future__ import annotations

import pytest

from segrun.config.keys import DEFAULT, KEYS, facts, flatten, keys_that
from tests.config.shipped import OPTIONS, PRIMARY, composed


def test_a_key_without_a_row_has_the_facts_of_its_group_and_else_the_defaults() -> None:
    assert facts("optimizer.lr") == facts("optimizer") and facts("optimizer").shown_by_value
    assert facts("head.any.deep.key") == facts("head")
    assert facts("dataset.intensity.low").measured and facts("dataset.intensity.low").chosen_on_val is False
    assert facts("no.such.key") == DEFAULT


@pytest.mark.parametrize(
    ("key", "fact", "value"),
    [
        ("trainer.device", "affects_result", False),
        ("trainer.epochs", "affects_result", True),
        ("trainer.workers", "may_change_on_resume", True),
        ("trainer.batch_size", "may_change_on_resume", False),
        ("trainer.batch_size", "budget", True),
        ("optimizer.lr", "chosen_on_val", True),
        ("seed", "chosen_on_val", False),
        ("dataset.root", "path", True),
        ("dataset.size", "path", False),
        ("tracker.mlflow.tracking_uri", "affects_result", False),
        ("regularizer.l2sp.alpha", "of_strategy", True),
        ("backbone.weights", "initial_weights", True),
    ],
)
def test_a_fact(key: str, fact: str, value: bool) -> None:
    assert getattr(facts(key), fact) is value


@pytest.mark.slow
def test_every_row_is_about_a_group_or_key_of_the_shipped_configs() -> None:
    keys = {"hydra", "choose", "resume", "init_from", *(option.partition("/")[0] for option in OPTIONS)}
    configs = [composed(name) for name in PRIMARY]
    lists = ("tracker", "auxiliary", "regularizer")
    for option in OPTIONS:
        group, _, name = option.partition("/")
        configs.append(composed("train", f"{group}=[{name}]" if group in lists else f"{group}={name}"))
    for config in configs:
        for key, _ in flatten(config):
            words = key.split(".")
            keys |= {".".join(words[:count]) for count in range(1, len(words) + 1)}
    assert not set(KEYS) - keys


def test_rows_that_say_a_fact_are_listed_in_the_order_of_the_table() -> None:
    assert keys_that("multiple") == ["regularizer", "auxiliary", "tracker"]
    assert keys_that("budget") == ["trainer.epochs", "trainer.steps", "trainer.batch_size", "trainer.accumulate"]


def test_a_nested_config_is_flattened_to_dotted_keys() -> None:
    assert dict(flatten({"a": {"b": 1, "c": {}}, "d": [2]})) == {"a.b": 1, "a.c": {}, "d": [2]}
