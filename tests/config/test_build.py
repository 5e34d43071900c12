"""Objects out of configs: settings are checked by the annotations, and a stranger's config runs nobody's code."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from annotated_types import Ge, MaxLen, MinLen

from segrun.config.build import Partial, build, partial, to_dataclass
from segrun.data.dataset import Dataset
from segrun.engine.optimizers import AdamW
from segrun.engine.schedules import Schedule
from segrun.engine.settings import TrainerSettings
from segrun.errors import RequestError
from segrun.models.backbones.backbone import Backbone, Level
from segrun.models.heads.head import Head
from segrun.ranges import Fraction, PositiveInt
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.losses.loss import Loss
from segrun.tasks.losses.sum import Sum
from segrun.transfer.freeze import FreezeSchedule
from segrun.transfer.regularizers.regularizer import Regularizer
from segrun.transfer.strategies.strategy import Strategy
from tests.config.shipped import composed


@dataclass
class Tuned:
    lr: float
    steps: int


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"lr": 1.0, "steps": 1, "step": 2}, "step"),
        ({"lr": 1.0, "steps": "many"}, "steps"),
        ({"lr": 1.0, "steps": 1.5}, "steps"),
        ({"lr": [1.0], "steps": 1}, "lr"),
        ({"lr": None, "steps": 1}, "lr"),
        ({"lr": 1.0}, "steps"),
        ({"lr": 1.0, "steps": "???"}, "steps"),
    ],
)
def test_unknown_keys_wrong_types_and_missing_values_are_refused_by_name(values: dict[str, Any], key: str) -> None:
    with pytest.raises(RequestError, match=rf"^tuned\.{key}(=.*)?: "):
        to_dataclass(values, Tuned, "tuned")


def test_typed_values_come_out_as_the_dataclass() -> None:
    assert to_dataclass({"lr": 1, "steps": 7}, Tuned, "tuned") == Tuned(1.0, 7)


@pytest.mark.parametrize(
    ("key", "value"), [("steps", "7"), ("steps", True), ("lr", "1"), ("lr", False), ("lr", float("nan"))]
)
def test_a_number_is_neither_text_nor_true_nor_nan(key: str, value: Any) -> None:
    with pytest.raises(RequestError, match=rf"^tuned\.{key}="):
        to_dataclass({"lr": 1.0, "steps": 1, key: value}, Tuned, "tuned")


@dataclass(frozen=True)
class Nested:
    rate: Fraction
    sides: Annotated[Sequence[PositiveInt], MinLen(2), MaxLen(2)]


@dataclass(frozen=True)
class Outer:
    one: Nested
    several: Sequence[Nested]
    level: Annotated[int, Ge(2)] | None
    name: str


NESTED = {"rate": 1, "sides": [3, 4]}
OUTER = {"one": NESTED, "several": [NESTED, NESTED], "level": None, "name": "x"}


def test_nested_mappings_become_the_dataclasses_that_the_annotations_name() -> None:
    made = to_dataclass(OUTER, Outer, "outer")
    assert made.one == Nested(1.0, [3, 4]) and list(made.several) == [made.one, made.one]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"one": {**NESTED, "rate": 1.5}}, r"^outer\.one\.rate=1\.5: must be a number from 0 to 1\.$"),
        ({"several": [NESTED, {**NESTED, "rate": -1}]}, r"^outer\.several\[1\]\.rate=-1: must be a number from 0 to 1"),
        ({"one": {**NESTED, "sides": [3]}}, r"^outer\.one\.sides=\[3\]: must be a list.*\(2 entries\)\.$"),
        ({"one": {**NESTED, "sides": "ab"}}, r"^outer\.one\.sides=ab: must be a list"),
        ({"one": {**NESTED, "sides": [3, 0]}}, r"^outer\.one\.sides=\[3,0\]: must be .*a whole number of at least 1"),
        ({"one": {**NESTED, "size": 1}}, r"^outer\.one\.size: Nested takes no such key\. It takes rate, sides\.$"),
        ({"one": 3}, r"^outer\.one=3: must be a mapping with the keys rate, sides\.$"),
        ({"level": 1}, r"^outer\.level=1: must be a whole number of at least 2, or null\.$"),
        ({"name": 3}, r"^outer\.name=3: must be text\.$"),
    ],
)
def test_the_message_names_the_key_the_value_and_what_is_allowed(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        to_dataclass({**OUTER, **changed}, Outer, "outer")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trainer.epochs=0", r"^trainer\.epochs=0: must be a whole number of at least 1\.$"),
        ("trainer.monitor=iou", r"^trainer\.monitor=iou: must be one of miou_present"),
        ("trainer.precision=half", r"^trainer\.precision=half: must be one of auto"),
        ("trainer.steps=3", r"^trainer\.steps=3: .*12"),
        ("trainer.ema=1.0", r"^trainer\.ema=1\.0: must be a number above 0 and below 1, or null"),
        ("trainer.clip=0", r"^trainer\.clip=0: must be a number above 0"),
        ("trainer.patience=0", r"^trainer\.patience=0: must be a whole number of at least 1"),
        ("trainer.batch_size=big", r"^trainer\.batch_size=big: must be a whole number"),
    ],
)
def test_trainer_settings_out_of_range_are_refused(word: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        to_dataclass(composed("train", word)["trainer"], TrainerSettings, "trainer")


def test_steps_are_divided_evenly_over_the_epochs() -> None:
    values = composed("train", "trainer.epochs=4", "trainer.steps=10")["trainer"]
    assert to_dataclass(values, TrainerSettings, "trainer").steps_per_epoch(images=5) == [2, 3, 2, 3]
    values = composed("train", "trainer.epochs=2", "trainer.batch_size=4")["trainer"]
    settings = to_dataclass(values, TrainerSettings, "trainer")
    assert settings.steps_per_epoch(images=12) == [3, 3]
    assert settings.steps_per_epoch(images=1) == [1, 1]


LEVELS = [Level(8, 4), Level(16, 8), Level(32, 16), Level(64, 32)]
ADAMW = {"_target_": "segrun.engine.optimizers.AdamW", "lr": 0.1, "weight_decay": 0.0, "betas": [0.9, 0.99]}

MINE = """
from pathlib import Path
Path("ran").mkdir()
class Optimizer:
    def __init__(self, lr):
        self.lr = lr
def function(lr):
    return lr
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The user's own module in the current folder; leaves a folder behind when it is run."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"mine_{tmp_path.name}"  # a module is imported once per process
    Path(f"{name}.py").write_text(MINE)
    return name


def test_build_makes_the_class_with_what_is_written_and_what_is_given() -> None:
    assert build(ADAMW, "optimizer") == AdamW(0.1, 0.0, [0.9, 0.99])
    waiting = partial(composed("train", "head=fcn")["head"], "head", base=Head)
    assert waiting(levels=LEVELS, outputs=2, unknown=1).output.out_channels == 2
    assert waiting.replace(channels=5, unknown=1).settings["channels"] == 5


def test_a_late_argument_cannot_be_a_setting() -> None:
    values = {**composed("train", "head=fcn")["head"], "outputs": 2}
    with pytest.raises(RequestError, match=r"^head\.outputs: is set by segrun and cannot be given\.$"):
        partial(values, "head", base=Head)


def test_a_class_of_another_group_is_refused() -> None:
    with pytest.raises(RequestError, match=r"^head\._target_=segrun\.engine\.optimizers\.AdamW: must be a Head\.$"):
        partial(ADAMW, "head", base=Head)


def test_build_makes_what_is_nested_first() -> None:
    made = build(composed("train", "loss=cross_entropy_dice")["loss"], "loss", trust=())
    assert isinstance(made, Sum)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": 1}, r"^optimizer: no _target_\. Choose optimizer=<name>"),
        ({"_target_": "segrun.engine.optimizers.Adamw"}, r"^optimizer: there is no segrun\.engine\.optimizers\.Adamw"),
        ({"_target_": "segrun.nowhere.X"}, r"^optimizer: there is no segrun\.nowhere\.X"),
        ({"_target_": "X"}, r"^optimizer: there is no X"),
        ({**ADAMW, "beta": 1}, r"^optimizer\.beta: AdamW takes no such key\. It takes lr, weight_decay, betas\.$"),
        ({"_target_": ADAMW["_target_"]}, r"^optimizer\.lr: has no value\. AdamW needs one\.$"),
    ],
)
def test_build_says_what_it_cannot_make(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build(values, "optimizer")


def test_the_users_own_class_is_found_in_the_current_folder(mine: str) -> None:
    assert build({"_target_": f"{mine}.Optimizer", "lr": 3}, "optimizer").lr == 3
    with pytest.raises(RequestError, match=r"function is not a class"):
        build({"_target_": f"{mine}.function", "lr": 3}, "optimizer")


FOREIGN = [
    "os.system", "builtins.eval", "builtins.object", "subprocess.Popen", "pathlib.Path", "collections.OrderedDict",
    "segrun.cli.os.system", "segrun.cli.Path", "segrun.cli.importlib.import_module", "segrun.config.build.TypeAdapter",
    "segrun.models.weights.wheels.subprocess.Popen", "segrun.models.segmenter.nn.Module",
    "segrun.models.segmenter.Tensor", "segrun.cli.main", "segrun.cli.run_hydra", "segrunner.Optimizer", "segrun",
    "segrun.", ".Path", "", "..",
]  # fmt: skip


@pytest.mark.parametrize("target", FOREIGN)
def test_a_checkpoint_builds_nothing_but_segruns_classes(target: str) -> None:
    with pytest.raises(RequestError, match=r"^optimizer"):
        build({"_target_": target}, "optimizer", trust=())


def test_a_checkpoint_does_not_even_import_foreign_code(mine: str) -> None:
    message = rf"names {mine}\.Optimizer, which is not part of segrun.*trust=\[{mine}\]"
    for trust in ((), ("other",), (mine[:-1],)):
        with pytest.raises(RequestError, match=message):
            build({"_target_": f"{mine}.Optimizer", "lr": 3}, "optimizer", trust=trust)
    assert not Path("ran").exists()


def test_a_foreign_class_nested_in_segruns_own_is_refused(mine: str) -> None:
    values = {**ADAMW, "betas": [{"_target_": f"{mine}.Optimizer", "lr": 3}, 0.9]}
    with pytest.raises(
        RequestError, match=r"^optimizer\.betas\[0\]: takes no object \(_target_\); it must be a number"
    ):
        build(values, "optimizer", trust=())
    losses = [{"_target_": f"{mine}.Optimizer", "lr": 3}]
    values = {"_target_": "segrun.tasks.losses.sum.Sum", "losses": losses, "coefficients": [1.0]}
    with pytest.raises(RequestError, match=rf"^loss\.losses\[0\]: the checkpoint names {mine}"):
        build(values, "loss", trust=())
    assert not Path("ran").exists()


CONFIGURED = (Backbone, Dataset, Head, Auxiliary, Loss, Strategy, Regularizer, FreezeSchedule, Schedule)
BUILT: list[str] = []


class Inner:
    def __init__(self, name: str) -> None:
        BUILT.append(name)


class Ready:
    def __call__(self, value: int) -> int:
        return value


class Holder:
    def __init__(  # type: ignore[no-untyped-def]
        self,
        one: Inner,
        several: Annotated[Sequence[Inner], MinLen(2)],
        number: PositiveInt,
        called: Callable[[int], int] | None = None,
        free=None,
    ) -> None:
        BUILT.append("holder")
        self.one, self.several, self.called, self.free = one, several, called, free


HERE = __name__
INNER = {"_target_": f"{HERE}.Inner", "name": "inner"}
HOLDER = {"_target_": f"{HERE}.Holder", "one": INNER, "several": [INNER, INNER], "number": 1}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"extra": INNER}, r"^x\.extra: Holder takes no such key"),
        ({"number": 0}, r"^x\.number=0: must be a whole number of at least 1"),
        ({"number": [INNER]}, r"^x\.number\[0\]: takes no object \(_target_\); it must be a whole number"),
        ({"called": INNER}, r"^x\.called\._target_=.*Inner: must be a"),
        ({"number": INNER}, r"^x\.number: takes no object \(_target_\); it must be a whole number"),
        ({"several": [INNER, {**INNER, "extra": INNER}]}, r"^x\.several\[1\]\.extra: Inner takes no such key"),
        ({"one": {"_target_": INNER["_target_"]}}, r"^x\.one\.name: has no value"),
        ({"one": ADAMW}, r"^x\.one\._target_=segrun\.engine\.optimizers\.AdamW: must be an Inner\.$"),
        ({"several": [INNER, ADAMW]}, r"^x\.several\[1\]\._target_=segrun\..*: must be an Inner\.$"),
    ],
)
@pytest.mark.parametrize("trust", [None, (HERE,)])
def test_nothing_nested_is_built_before_everything_is_checked(
    changed: dict[str, Any], message: str, trust: Sequence[str] | None
) -> None:
    BUILT.clear()
    with pytest.raises(RequestError, match=message):
        build({**HOLDER, **changed}, "x", trust=trust)
    assert not BUILT


def test_nested_objects_are_built_where_an_annotation_names_their_class() -> None:
    BUILT.clear()
    made = build({**HOLDER, "called": {"_target_": f"{HERE}.Ready"}}, "x", trust=(HERE,))
    assert isinstance(made.one, Inner) and len(made.several) == 2 and made.called(3) == 3
    assert BUILT == ["inner", "inner", "inner", "holder"]
    with pytest.raises(RequestError, match=r"^x\.several=.*2 entries or more"):
        build({**HOLDER, "several": [INNER]}, "x")


def test_without_an_annotation_only_the_users_own_config_nests_an_object() -> None:
    assert isinstance(build({**HOLDER, "free": INNER}, "x").free, Inner)
    with pytest.raises(RequestError, match=r"^x\.free: an object out of a checkpoint needs an annotation"):
        build({**HOLDER, "free": INNER}, "x", trust=(HERE,))


def test_a_checkpoints_backbone_names_no_weights() -> None:
    recorded = {**composed("train")["backbone"], "weights": "http://127.0.0.1:9/x.pth"}
    waiting: Partial[Backbone] = partial(recorded, "backbone", trust=())
    assert waiting.settings["weights"] == "none" and waiting.settings["wheel"] is None
    assert partial(recorded, "backbone").settings["weights"] == "http://127.0.0.1:9/x.pth"


def test_every_annotation_of_segruns_classes_can_be_resolved() -> None:
    """One that cannot be would not be checked."""
    package = importlib.import_module("segrun")
    for info in pkgutil.walk_packages(package.__path__, "segrun."):
        if info.name == "segrun.__main__":
            continue
        for name, cls in inspect.getmembers(importlib.import_module(info.name), inspect.isclass):
            if cls.__module__ == info.name and issubclass(cls, CONFIGURED):
                hints = typing.get_type_hints(cls.__init__)
                assert all(n in hints for n in list(inspect.signature(cls).parameters)), f"{info.name}.{name}"


def test_code_that_the_user_trusts_is_built(mine: str) -> None:
    assert build({"_target_": f"{mine}.Optimizer", "lr": 3}, "optimizer", trust=(mine,)).lr == 3


def test_segruns_classes_are_built_out_of_a_checkpoint() -> None:
    assert build(ADAMW, "optimizer", trust=()) == AdamW(0.1, 0.0, [0.9, 0.99])
