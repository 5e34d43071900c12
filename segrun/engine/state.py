"""The training state in last.ckpt: everything besides the weights that a resumed run needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.swa_utils import AveragedModel

from segrun.engine.optimizers import named_state
from segrun.engine.progress import Progress
from segrun.tasks.balance.balance import Balance

if TYPE_CHECKING:  # accelerate takes a second to import
    from accelerate import Accelerator


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
    balance.load_state_dict(state["balance"])
    if accelerator.scaler is not None and state.get("scaler"):
        accelerator.scaler.load_state_dict(state["scaler"])
