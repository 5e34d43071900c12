"""Configs that older versions recorded are read under the present names."""

from __future__ import annotations

import pytest

from segrun.config.legacy import MOVED, translate
from segrun.config.trust import locate_class
from tests.config.shipped import composed


@pytest.mark.parametrize("path", MOVED.values())
def test_every_class_that_has_moved_is_at_its_new_path(path: str) -> None:
    assert locate_class(f"segrun.{path}", "x", trust=()).__name__ == path.rpartition(".")[2]


def test_a_config_of_this_version_stays_as_it_is() -> None:
    for words in ((), ("regularizer=[l2sp]", "auxiliary=[boundary]")):
        values = composed("train", *words)
        assert translate(values) == values


def test_old_groups_and_classes_get_their_present_names() -> None:
    old = {
        "names": {"term": "l2sp", "head": "fcn"},
        "term": {"l2sp": {"_target_": "segrun.transfer.terms.L2SP", "alpha": 0.1}},
        "loss": {"losses": [{"_target_": "segrun.tasks.losses.Focal"}, {"_target_": "mine.Loss"}]},
        "backbone": {"name": "resnet18", "in_channels": 3},
    }
    assert translate(old) == {
        "names": {"regularizer": "l2sp", "head": "fcn"},
        "regularizer": {"l2sp": {"_target_": "segrun.transfer.regularizers.l2sp.L2SP", "alpha": 0.1}},
        "loss": {"losses": [{"_target_": "segrun.tasks.losses.focal.Focal"}, {"_target_": "mine.Loss"}]},
        "backbone": {"name": "resnet18"},
    }
