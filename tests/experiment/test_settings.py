"""Numbers are checked where they enter: every key of every option is fed with wrong values."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import re
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from annotated_types import Ge, Gt, Le, Lt

from segrun.commands.check import CheckSettings
from segrun.commands.compare import CompareSettings
from segrun.commands.describe import DescribeSettings
from segrun.config.keys import flatten
from segrun.config.trust import locate_class
from segrun.data.scan.settings import Limits, Rules
from segrun.data.sizing import Sizing
from segrun.data.split.settings import SplitSettings
from segrun.engine.settings import TrainerSettings
from segrun.errors import RequestError
from segrun.experiment.experiment import Experiment
from segrun.inference.settings import PredictSettings
from tests.config.shipped import CONF, OPTIONS, composed

pytestmark = pytest.mark.slow  # a minute; .ci/run includes it

VALUES = (-1, 0, 1e30, math.nan, math.inf, "abc", None, [])
NUMBERS = (1e30, math.nan, math.inf)  # nonsense for every number
# numbers that may be negative, and texts that may be any word
NEGATIVE = ("trainer.workers", "freeze.block", "intensity.low", "intensity.high", "ignore_index")
GROUPS = {option.partition("/")[0] for option in OPTIONS} - {"experiment", "search"}
LISTS = ("tracker", "auxiliary", "regularizer")
NOT_SETTINGS = ("_target_",)


def targets(option: str) -> list[str]:
    """The classes that an option's file names itself."""
    return re.findall(r"_target_: (segrun\S+)", (CONF / f"{option}.yaml").read_text(encoding="utf-8"))


def options_by_class() -> list[str]:
    """An option for each class and each group of plain settings; timm's needs the network to know its name."""
    named = {tuple(targets(option)): option for option in reversed(OPTIONS) if option.partition("/")[0] in GROUPS}
    plain = [option for option in OPTIONS if option.partition("/")[0] in ("splits", "rules", "trainer", "sizing")]
    return sorted({*named.values(), *plain})


def composed_with(option: str) -> dict[str, Any]:
    group, _, name = option.partition("/")
    return composed("train", f"{group}=[{name}]" if group in LISTS else f"{group}={name}")


def replaced(config: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(dict(config))
    *path, last = key.split(".")
    functools.reduce(lambda node, word: node[word], path, changed)[last] = value
    return changed


def accepted(config: Mapping[str, Any], key: str, value: Any) -> bool:
    """Whether the experiment is built; what is refused is a RequestError that names the key."""
    try:
        Experiment.from_config(replaced(config, key, value))
    except RequestError as error:
        assert key.rpartition(".")[2] in str(error) and len(str(error).splitlines()) <= 2, f"{key}={value}: {error}"
        return False
    return True


@pytest.mark.parametrize("option", options_by_class())
def test_wrong_values_are_refused_by_name(option: str, folder_data: Callable[..., Path]) -> None:
    other = folder_data(root="other")  # of auxiliary=[segmentation], whose files are listed early
    (other / "classes.txt").write_text("background\nsquare\n")
    config = composed_with(option)
    group, _, name = option.partition("/")
    prefix = {"splits": "split"}.get(group, f"{group}.{name}" if group in LISTS else group)
    settings = functools.reduce(lambda node, key: node[key], prefix.split("."), config)
    assert accepted(config, "seed", 0)
    for key, default in flatten(settings, prefix):
        if key.endswith(NOT_SETTINGS):
            continue
        taken = [value for value in VALUES if accepted(config, key, value)]
        where = f"{key} (default {default}) accepts {taken}"
        assert not [value for value in taken if any(value is number for number in NUMBERS)], where
        if isinstance(default, bool):
            assert not taken, where
        elif isinstance(default, int | float):
            assert "abc" not in taken or key.endswith(NEGATIVE), where
            assert -1 not in taken or key.endswith((*NEGATIVE, "background")), where
        elif isinstance(default, list):
            assert "abc" not in taken or key.endswith(("where", "alphas", "classes", "void")), where


NUMBER_LIMITS = (Ge, Gt, Le, Lt)
SETTINGS = (TrainerSettings, PredictSettings, SplitSettings, Rules, Limits, Sizing, CheckSettings, CompareSettings,
            DescribeSettings)  # fmt: skip
ANY_NUMBER = ("baseline", "classes", "void")  # the value of any key; names of classes may be numbers


def configurable_classes() -> list[type]:
    named = {target for option in OPTIONS for target in targets(option)}
    return [*SETTINGS, *(locate_class(target, "", None) for target in sorted(named))]


def plain_numbers(hint: Any, limited: bool = False) -> bool:
    """Whether an annotation has an int or a float without a range."""
    if typing.get_origin(hint) is typing.Annotated:
        base, *constraints = typing.get_args(hint)
        return plain_numbers(base, limited or any(isinstance(c, NUMBER_LIMITS) for c in constraints))
    if typing.get_origin(hint) is typing.Literal:
        return False
    if hint in (int, float):
        return not limited
    return any(plain_numbers(argument) for argument in typing.get_args(hint))


@pytest.mark.parametrize("cls", configurable_classes(), ids=lambda cls: cls.__name__)
def test_every_number_of_a_configurable_class_has_a_range(cls: type) -> None:
    source: Any = cls if dataclasses.is_dataclass(cls) else cls.__init__
    late = getattr(cls, "late_arguments", ())
    hints = typing.get_type_hints(source, include_extras=True)
    hints = {name: hint for name, hint in hints.items() if name != "return" and name not in late}
    unlimited = [name for name, hint in hints.items() if plain_numbers(hint) and name not in ANY_NUMBER]
    assert not unlimited
