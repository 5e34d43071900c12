"""The typed experiment: everything that a config names, built once, here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from segrun.config.build import Partial, build, check_value, partial, to_dataclass
from segrun.config.recorded import RecordedConfig
from segrun.config.trust import Trust
from segrun.data.augment.augment import Augment
from segrun.data.dataset import Dataset
from segrun.data.scan.settings import Rules
from segrun.data.sizing import Sizing
from segrun.data.split.settings import SplitSettings
from segrun.engine.optimizers import OptimizerFactory
from segrun.engine.schedules import Schedule
from segrun.engine.settings import TrainerSettings
from segrun.models.backbones.backbone import Backbone
from segrun.models.heads.head import Head
from segrun.ranges import NonNegativeInt, PositiveFraction, PositiveInt
from segrun.report.trackers.trackers import Tracker
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.balance.balance import Balance
from segrun.tasks.losses.loss import Loss
from segrun.transfer.freeze import FreezeSchedule
from segrun.transfer.regularizers.regularizer import Regularizer
from segrun.transfer.strategies.strategy import Strategy

Values = Mapping[str, Any]


@dataclass(frozen=True)
class ModelSettings:
    """What a model is made of; channels, levels and classes are known late.

    Attributes:
        backbone: Waits for `in_channels`.
        head: Waits for `levels` and `outputs`.
    """

    backbone: Partial[Backbone]
    head: Partial[Head]

    @classmethod
    def from_config(cls, values: Values, trust: Trust = None) -> ModelSettings:
        """Raises RequestError for a backbone or head that cannot be built from its settings."""
        return cls(
            partial(values.get("backbone"), "backbone", trust=trust, base=Backbone),
            partial(values.get("head"), "head", trust=trust, base=Head),
        )

    def without_weights(self) -> ModelSettings:
        """The same network with random weights."""
        return replace(self, backbone=self.backbone.replace(weights="none"))


@dataclass(frozen=True)
class DataSettings:
    """Images, masks and how they are divided.

    Attributes:
        dataset: Lists its files when it is called.
        split: How splits are drawn.
        rules: What is an error, a warning or ignored.
        labels: How many training images are labelled: "all", a number, or a fraction.
        seed: Of the labelled subset and of the samples' randomness.
        use_test: False: no image of the test split is read.
    """

    dataset: Partial[Dataset]
    sizing: Sizing
    augment: Augment
    split: SplitSettings
    rules: Rules
    labels: int | float | Literal["all"]
    seed: int
    use_test: bool

    @classmethod
    def from_config(cls, values: Values, trust: Trust = None) -> DataSettings:
        """Raises RequestError for a setting that is not allowed."""
        labels = PositiveInt | PositiveFraction | Literal["all"]
        return cls(
            partial(values.get("dataset"), "dataset", trust=trust, base=Dataset),
            sizing_of(values),
            _built(values, "augment", trust, Augment),
            to_dataclass(values.get("split"), SplitSettings, "split"),
            to_dataclass(values.get("rules"), Rules, "rules"),
            check_value(values.get("labels", "all"), labels, "labels"),
            check_value(values.get("seed"), NonNegativeInt, "seed"),
            check_value(values.get("test", True), bool, "test"),
        )


@dataclass(frozen=True)
class Experiment:
    """A training, as far as it is known before data and weights are read.

    What needs nothing further is a finished object; what waits for something is a `Partial`.

    Attributes:
        config: The record that is stored with the run.
        loss: Of the mask.
        auxiliary: Tasks that are trained beside the mask; wait for `image_labels`.
        init_from: A run folder or checkpoint whose whole model is the start.
        base: The weights that a delta checkpoint `init_from` was trained from.
        trust: Modules that this config may name, where it came out of a checkpoint; None: it is the user's own.
        trusted: Modules that the config of another checkpoint, such as `init_from`, may name.
    """

    config: RecordedConfig
    data: DataSettings
    model: ModelSettings
    loss: Partial[Loss]
    auxiliary: Mapping[str, Partial[Auxiliary]]
    balance: Partial[Balance]
    strategy: Strategy
    freeze: FreezeSchedule
    regularizers: Sequence[Regularizer]
    trainer: TrainerSettings
    optimizer: OptimizerFactory
    schedule: Schedule
    trackers: Mapping[str, Tracker]
    seed: int
    init_from: str | None
    base: str | None
    trust: Trust
    trusted: Sequence[str]

    @classmethod
    def from_config(cls, values: Values, trust: Trust = None) -> Experiment:
        """Build everything that the config names.

        Args:
            values: A resolved config of `segrun train`, the user's own or a checkpoint's.
            trust: See the class.

        Raises:
            RequestError: A class is missing or not trusted, or a setting is not allowed.
        """
        auxiliary = values.get("auxiliary") or {}
        data = DataSettings.from_config(values, trust)
        return cls(
            RecordedConfig(values),
            data,
            ModelSettings.from_config(values, trust),
            partial(values.get("loss"), "loss", trust=trust, base=Loss),
            {n: partial(v, f"auxiliary.{n}", trust=trust, base=Auxiliary) for n, v in auxiliary.items()},
            partial(values.get("balance"), "balance", trust=trust, base=Balance),
            strategy_of(values, trust),
            _built(values, "freeze", trust, FreezeSchedule),
            regularizers_of(values, trust),
            to_dataclass(values.get("trainer"), TrainerSettings, "trainer"),
            _built(values, "optimizer", trust, OptimizerFactory),
            _built(values, "schedule", trust, Schedule),
            trackers_of(values, trust),
            data.seed,
            check_value(values.get("init_from"), str | None, "init_from"),
            check_value(values.get("base"), str | None, "base"),
            trust,
            check_value(values.get("trust", []), Sequence[str], "trust") if trust is None else trust,
        )


def sizing_of(values: Values) -> Sizing:
    """Raises RequestError for a setting that is not allowed."""
    return to_dataclass(values.get("sizing"), Sizing, "sizing")


def strategy_of(values: Values, trust: Trust = None) -> Strategy:
    """Raises RequestError for a setting that is not allowed."""
    strategy: Strategy = _built(values, "strategy", trust, Strategy)
    return strategy


def regularizers_of(values: Values, trust: Trust = None) -> tuple[Regularizer, ...]:
    """Raises RequestError for a setting that is not allowed."""
    chosen = values.get("regularizer") or {}
    return tuple(partial(v, f"regularizer.{n}", trust=trust, base=Regularizer)() for n, v in chosen.items())


def trackers_of(values: Values, trust: Trust = None) -> dict[str, Tracker]:
    """Raises RequestError for a setting that is not allowed."""
    chosen = values.get("tracker") or {}
    return {name: build(settings, f"tracker.{name}", trust=trust) for name, settings in chosen.items()}


def _built(values: Values, group: str, trust: Trust, base: type[Any]) -> Any:
    return partial(values.get(group), group, trust=trust, base=base)()
