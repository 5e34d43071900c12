"""Every shipped strategy trains, and what it says it holds still does: judged by names, epoch by epoch, without
segrun's own audit."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import segrun
from segrun.config.options import option_names
from segrun.engine import loop
from tests.commands.test_train import state
from tests.conftest import QUICK

timm = pytest.importorskip("timm", reason="extra timm")

State = dict[str, Tensor]
Learns = Callable[[str, int], bool]  # (tensor, epoch from 0) → whether it is to change in that epoch


def heads(name: str, epoch: int = 0) -> bool:
    return not name.startswith("backbone.")


def all_of(name: str, epoch: int = 0) -> bool:
    return True


def then_all(name: str, epoch: int) -> bool:
    return epoch > 0 or heads(name)


def unless(pattern: str) -> Learns:
    return lambda name, epoch: heads(name) or not re.search(pattern, name)


def only(pattern: str) -> Learns:
    return lambda name, epoch: heads(name) or bool(re.search(pattern, name))


def from_the_top(name: str, epoch: int) -> bool:
    """test_efficientnet's blocks 4 … 0 join one an epoch, the stem last; what follows block 4 is of its part."""
    block = re.match(r"backbone\.net\.blocks\.(\d)", name)
    joins = 5 - int(block[1]) if block else 6 if re.match(r"backbone\.net\.(conv_stem|bn1)\.", name) else 1
    return heads(name) or epoch >= joins


STATISTICS = r"\.(running_\w+|num_batches_tracked)$"
NORM = r"\.bn\d\.(weight|bias)$"
LEARNS: Mapping[str, Learns] = {
    **dict.fromkeys(("scratch", "finetune", "discriminative", "layer_decay", "l2sp", "bss", "multitask"), all_of),
    **dict.fromkeys(("lp_ft", "delta", "distill", "wise_ft"), then_all),
    "fastai": lambda name, epoch: epoch > 0 or heads(name) or bool(re.search(f"{NORM}|{STATISTICS}", name)),
    "feature_extraction": heads,
    "gradual": from_the_top,
    "surgical": only(r"^backbone\.net\.blocks\.0\."),
    "auto_rgn": unless(NORM),
    "norms_only": only(f"{NORM}|{STATISTICS}"),
    "bitfit": only(r"\.bias$"),
    "lora": only(r"\.parametrizations\.\w+\.\d+\.\w+$"),
    "ssf": only(r"\.parametrizations\.\w+\.\d+\.\w+$"),
    "conv_adapter": only(r"\.adapter\."),
    "adaptformer": only(r"\.adapter\."),
}


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segrun.runs.finish.draw_plots", lambda run, result: None)  # half of a tiny run's time


def watched(monkeypatch: pytest.MonkeyPatch, every: int) -> list[State]:
    """The state before each epoch of `every` steps, once the run has come there."""
    states: list[State] = []
    step, done = loop.train_step, []

    def watching(model: Any, *args: Any, **more: Any) -> Any:
        if len(done) % every == 0:
            states.append(copy.deepcopy(model.state_dict()))
        done.append(1)
        return step(model, *args, **more)

    monkeypatch.setattr(loop, "train_step", watching)
    return states


def weights_file(folder: Path, name: str) -> Path:
    torch.save(timm.create_model(name).state_dict(), folder / "pretrained.pth")
    return folder / "pretrained.pth"


def stands(name: str, strategy: str) -> bool:
    """What no strategy moves; and the statistics of a backbone that learns beside its norms."""
    beside = strategy in ("bitfit", "lora", "ssf", "conv_adapter", "adaptformer") and name.startswith("backbone.")
    return name in ("mean", "std") or (beside and bool(re.search(STATISTICS, name)))


def is_buffer(name: str) -> bool:
    return bool(re.search(STATISTICS, name)) or name in ("mean", "std")


def test_each_strategy_is_judged_here() -> None:
    assert set(LEARNS) == set(option_names("strategy"))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", LEARNS)
def test_the_loss_falls_and_what_is_frozen_stands_still(
    strategy: str, monkeypatch: pytest.MonkeyPatch, elsewhere: Path
) -> None:
    network = "test_vit" if strategy == "adaptformer" else "test_efficientnet"
    epochs, every = (8, 2) if strategy == "gradual" else (2, 6)
    words = [*(w for w in QUICK if not w.startswith(("trainer.epochs", "dataset.test", "dataset.val")))]
    words += ["dataset.val=2", "dataset.test=0", "augment=none", f"trainer.epochs={epochs}"]
    words += [f"trainer.steps={epochs * every}", "backbone=timm", f"backbone.name={network}", f"strategy={strategy}"]
    words += ["optimizer.lr=5e-3", *(["strategy.alphas=[0.5]"] if strategy == "wise_ft" else [])]
    if strategy != "scratch":
        words.append(f"backbone.weights={weights_file(elsewhere, network)}")
    states = watched(monkeypatch, every)
    folder = segrun.train(words).folder

    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == epochs
    assert rows[-1]["losses"]["mask"] < rows[0]["losses"]["mask"] - 0.005  # it begins at the classes' shares

    ended = state(folder)
    states.append(ended["weights"])
    assert len(states) == epochs + 1
    learns = LEARNS[strategy]
    for epoch, (before, after) in enumerate(pairwise(states)):
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved == {n for n in before if learns(n, epoch) and not stands(n, strategy)}

    learning = {n for n in ended["weights"] if learns(n, epochs - 1) and not is_buffer(n)}
    owned = set(ended["training"]["optimizer"])
    assert owned - {"balance.0"} == learning
    assert ("balance.0" in owned) == (strategy == "multitask")
    ever = [n for n, v in ended["weights"].items() if not is_buffer(n) and any(learns(n, e) for e in range(epochs))]
    kept = json.loads((folder / "result.json").read_text())
    assert kept["cost"]["parameters_trained"] == sum(ended["weights"][n].numel() for n in ever)
