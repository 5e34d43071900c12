"""The training state in last.ckpt: everything besides the weights that a resumed run needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NotRequired

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from typing_extensions import TypedDict

from segrun.engine.optimizers import named_state
from segrun.engine.progress import Progress
from segrun.models.parts import Weights
from segrun.models.weights.report import LoadReport
from segrun.schema import check_content, like
from segrun.tasks.balance.balance import Balance

if TYPE_CHECKING:  # accelerate takes a second to import
    from accelerate import Accelerator


CURE = "The run cannot continue from it. Start a new run."


class TrainingState(TypedDict):
    """What a resumed run reads; `report`, `format` and `processes` are the run folder's.

    Attributes:
        optimizer: By parameter name.
        average: The state of the moving average of the weights; None without one.
        rates: Measured LR multipliers by parameter name.
    """

    progress: Mapping[str, Any]
    optimizer: Mapping[str, Mapping[str, Any]]
    average: Mapping[str, Tensor] | None
    balance: Mapping[str, Any]
    rates: Mapping[str, float]
    scaler: Mapping[str, Any] | None
    report: Mapping[str, Any]
    processes: NotRequired[int]


def check_training_state(state: Mapping[str, Any], weights: Weights, averages: bool, place: str) -> None:
    """Refuse a training state that lacks something or has a wrong type somewhere.

    Args:
        state: `training` of a last.ckpt.
        weights: The weights beside it.
        averages: Whether the run has a moving average of its weights.
        place: The file and key, for messages.

    Raises:
        DataError: The message names file and key.
    """
    check_content(state, TrainingState, place, CURE)
    check_content(state["progress"], Progress, f"{place}: progress", CURE)
    check_content(state["report"], LoadReport, f"{place}: report", CURE)
    average = {"n_averaged": torch.tensor(0), **{f"module.{name}": value for name, value in weights.items()}}
    check_content(state["average"], like(average) if averages else None, f"{place}: average", CURE)
    # each parameter has what any of them has
    entry = {key: value for values in state["optimizer"].values() for key, value in values.items() if value is not None}
    for name, values in state["optimizer"].items():
        check_content(values, like(entry), f"{place}: optimizer.{name}", CURE)


def training_state(
    progress: Progress,
    optimizer: torch.optim.Optimizer,
    ema: AveragedModel | None,
    balance: Balance,
    lr_multipliers: Mapping[str, float],
    accelerator: Accelerator,
) -> dict[str, Any]:
    """The state of a training after a step, for `torch.save`."""
    scaler = accelerator.scaler
    return {
        "progress": asdict(progress),
        "optimizer": named_state(optimizer),
        "average": ema.state_dict() if ema else None,
        "balance": balance.state_dict(),
        "rates": dict(lr_multipliers),
        "scaler": scaler.state_dict() if scaler else None,
    }


def restore_balance_and_scaler(state: Mapping[str, Any], balance: Balance, accelerator: Accelerator) -> None:
    """Restore, in place, what exists for the whole run: the balance and the loss scaler of fp16."""
    check_content(state["balance"], like(balance.state_dict()), "last.ckpt: training: balance", CURE)
    if state["balance"].get("past"):  # otherwise there are no losses to compare with yet
        check_content(state["balance"]["past"], like(balance.factors), "last.ckpt: training: balance.past", CURE)
    balance.load_state_dict(state["balance"])
    if accelerator.scaler is not None and state.get("scaler"):
        accelerator.scaler.load_state_dict(state["scaler"])
