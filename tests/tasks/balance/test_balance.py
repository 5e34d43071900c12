"""What holds for every balance: resuming, one task, and the shipped files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from segrun.config.build import build
from segrun.errors import RequestError
from segrun.tasks.balance.balance import Balance
from segrun.tasks.balance.fixed import Fixed
from segrun.tasks.balance.uncertainty import Uncertainty
from tests.tasks.balance.examples import MAKERS, numbers, split_gradients, started, tensors

CONF = Path(__file__).parents[3] / "conf" / "balance"


def test_fixed() -> None:
    assert started(Fixed()).total(tensors(1.0, 2.0, 3.0), 1.0).item() == pytest.approx(1 + 0.5 * 2 + 2 * 3)
    assert started(Fixed(), {"mask": 3.0}).total({"mask": torch.tensor(2.0)}, 0.5).item() == 6.0


def train(balance: Balance, steps: range) -> list[float]:
    """The weights after each of a few steps, each an epoch, on losses and gradients that the step alone decides."""
    values = []
    optimizer = torch.optim.SGD(balance.parameters(), lr=0.1) if balance.parameters() else None
    for step in steps:
        random = np.random.default_rng(step)
        losses = random.random(3) + 0.1
        total = balance.total({n: v.requires_grad_() for n, v in tensors(*losses).items()}, 1.0)
        if optimizer:
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        balance.gradient_correction(split_gradients(random.normal(size=(3, 24))), numbers(*losses), step)
        balance.end_epoch(numbers(*losses))
        values += [total.item(), *balance.weights().values()]
    return values


@pytest.mark.parametrize("name", MAKERS)
def test_a_resumed_balance_goes_on_as_if_never_stopped(name: str) -> None:
    whole = started(MAKERS[name]())
    train(whole, range(3))
    stored = io.BytesIO()
    torch.save(whole.state_dict(), stored)
    rest = train(whole, range(3, 6))
    stored.seek(0)
    resumed = started(MAKERS[name]())
    resumed.load_state_dict(torch.load(stored, weights_only=True))
    assert train(resumed, range(3, 6)) == rest


def test_a_state_is_a_copy() -> None:
    balance = started(Uncertainty())
    state = balance.state_dict()
    train(balance, range(2))
    assert state["s"].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "fixed"])
def test_one_task_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match=rf"balance={name} weighs tasks against each other, but there is one"):
        started(MAKERS[name](), {"mask": 1.0})


@pytest.mark.parametrize("name", MAKERS)
def test_the_shipped_files(name: str) -> None:
    built = build(yaml.safe_load((CONF / f"{name}.yaml").read_text()), "balance")
    assert type(built) is type(MAKERS[name]()) and vars(built) == vars(MAKERS[name]())
