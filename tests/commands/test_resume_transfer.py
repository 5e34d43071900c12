"""Resuming in the middle of a transfer: what terms, rates, balances and candidates remember is what it was."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import segrun
from segrun.engine import loop
from segrun.errors import Interrupted
from segrun.runs import candidates
from segrun.transfer.regularizers.distill import Distill
from segrun.transfer.regularizers.l2sp import L2SP
from segrun.transfer.regularizers.regularizer import Regularizer
from tests.commands.test_train import same, state
from tests.conftest import QUICK, stopped_after

timm = pytest.importorskip("timm", reason="extra timm")

TINY = [
    *(w for w in QUICK if not w.startswith(("dataset.val", "dataset.test", "trainer.batch_size"))),
    "dataset.val=2", "dataset.test=0", "trainer.batch_size=2", "trainer.steps=4",
    "backbone=timm", "backbone.name=test_efficientnet",
]  # fmt: skip
ACCUMULATE, EMA = "trainer.accumulate=2", "trainer.ema=0.9"
PHASES = ["freeze=head_first", "freeze.epochs=1"]  # two steps of the head, two of everything
SEVERAL = ["strategy=multitask", "auxiliary=[boundary,presence]"]
CASES: Mapping[str, list[str]] = {
    "lp_ft": ["strategy=lp_ft", "freeze.epochs=1", ACCUMULATE],
    "delta": ["strategy=delta", "freeze.epochs=1", EMA],
    "distill": ["strategy=distill", "freeze.epochs=1", "regularizer=[l2sp]", ACCUMULATE],
    "l2sp": ["strategy=l2sp", *PHASES, EMA, ACCUMULATE],
    "auto_rgn": ["strategy=auto_rgn", EMA, ACCUMULATE],  # measured before steps 1 and 3
    "wise_ft": ["strategy=wise_ft", "freeze.epochs=1", "strategy.alphas=[0.3,0.6]", EMA],
    "uncertainty": [*SEVERAL, "balance=uncertainty", ACCUMULATE, EMA],
    "dwa": [*SEVERAL, "balance=dwa", "trainer.epochs=4", ACCUMULATE],
    "gradnorm": [*SEVERAL, "balance=gradnorm", *PHASES, ACCUMULATE],
    "pcgrad": [*SEVERAL, "balance=pcgrad", EMA],
    "lora": ["strategy=lora", EMA],
    "ssf": ["strategy=ssf", ACCUMULATE],
    "conv_adapter": ["strategy=conv_adapter", EMA],
}
QUICKLY = {("lp_ft", 2), ("delta", 3), ("auto_rgn", 3), ("gradnorm", 3)}


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segrun.runs.finish.draw_plots", lambda run, result: None)  # half of a tiny run's time


@pytest.fixture
def weights(elsewhere: Path) -> Path:
    torch.save(timm.create_model("test_efficientnet").state_dict(), elsewhere / "pretrained.pth")
    return elsewhere / "pretrained.pth"


def whole_and_resumed(words: list[str], weights: Path, stop_after: int) -> tuple[Path, Path]:
    """The folders of a run that was left alone, and of one that was stopped after so many steps and went on."""
    words = [*TINY, f"backbone.weights={weights}", *words]
    whole = segrun.train([*words, "output=whole"]).folder
    with stopped_after(stop_after), pytest.raises(Interrupted):
        segrun.train([*words, "output=parts"])
    folder = next(Path("parts/train").glob("*/*"))
    assert state(folder)["training"]["progress"]["step"] == stop_after
    return whole, segrun.train([f"resume={folder}"]).folder


def alike(whole: Path, resumed: Path) -> None:
    same(state(whole), state(resumed))
    best = [torch.load(folder / "best.ckpt", weights_only=True)["weights"] for folder in (whole, resumed)]
    same(*best)
    rows = [[json.loads(row) for row in (f / "metrics.jsonl").read_text().splitlines()] for f in (whole, resumed)]
    assert [(row["losses"], row["weights"], row["val"]) for row in rows[0]] == [
        (row["losses"], row["weights"], row["val"]) for row in rows[1]
    ]
    results = [json.loads((folder / "result.json").read_text()) for folder in (whole, resumed)]
    assert [results[0][key] for key in ("val", "drift", "candidates", "best_epoch")] == [
        results[1][key] for key in ("val", "drift", "candidates", "best_epoch")
    ]


@pytest.mark.parametrize(
    ("case", "stop_after"),
    [
        pytest.param(case, stop, marks=() if (case, stop) in QUICKLY else pytest.mark.slow)
        for case in CASES
        for stop in (1, 2, 3)
    ],
)
def test_a_transfer_goes_on_bit_for_bit(case: str, stop_after: int, weights: Path) -> None:
    alike(*whole_and_resumed(CASES[case], weights, stop_after))


def test_the_anchor_and_the_teacher_after_a_resume_are_the_first_ones(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound: dict[str, list[tuple[Any, Any, Any]]] = {"l2sp": [], "distill": []}
    for kind in (L2SP, Distill):

        def build_penalty(
            self: Regularizer, model: Any, start: Any, memory: Any, original: Any = kind.build_penalty
        ) -> Any:
            now = {name: value.clone() for name, value in model.state_dict().items()}
            bound[self.name].append((start, memory, now))
            return original(self, model, start, memory)

        monkeypatch.setattr(kind, "build_penalty", build_penalty)
    whole_and_resumed(CASES["distill"], weights, 3)
    for name, times in bound.items():
        assert len(times) == 3, name  # left alone, until it was stopped, after it went on
        for start, memory, _ in times[1:]:
            same(dict(start), dict(times[0][0]))
            same(dict(memory), dict(times[0][1]))
    pretrained = torch.load(weights, weights_only=True)
    (_, _, then), _, (anchor, _, now) = bound["l2sp"]
    place = "backbone.net."
    loaded = [name for name in anchor if name.startswith(place)]
    assert loaded and all(torch.equal(anchor[name], pretrained[name.removeprefix(place)]) for name in loaded)
    teacher = bound["distill"][-1][1]
    same(dict(teacher), then)
    assert not any(torch.equal(now[name], teacher[name]) for name in now if name.endswith(".weight"))


def test_a_run_stopped_just_after_its_head_only_phase_still_has_that_phases_weights(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*TINY, f"backbone.weights={weights}", *CASES["wise_ft"]]
    whole = segrun.train([*words, "output=whole"]).folder
    judge = loop.update_best

    def interrupted(*args: Any, **more: Any) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        return judge(*args, **more)

    monkeypatch.setattr(loop, "update_best", interrupted)
    with pytest.raises(Interrupted, match="after epoch 1 of 2"):
        segrun.train([*words, "output=parts"])
    monkeypatch.setattr(loop, "update_best", judge)
    folder = next(Path("parts/train").glob("*/*"))
    alike(whole, segrun.train([f"resume={folder}"]).folder)


def test_candidates_are_mixed_with_the_trained_weights_also_after_one_of_them_was_kept(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    monkeypatch.setattr(
        candidates, "monitored_score", lambda evaluation, monitor: 2.0 + len(tried)
    )  # each is the best so far
    words = [*TINY, f"backbone.weights={weights}", *CASES["wise_ft"], "trainer.eval_every=2"]  # the best is the last
    whole = segrun.train([*words, "output=whole"]).folder
    estimate = candidates.update_batch_norm

    def killed(*args: Any) -> None:
        tried.append("")
        if len(tried) == 2:
            raise KeyboardInterrupt
        estimate(*args)

    monkeypatch.setattr(candidates, "update_batch_norm", killed)
    with pytest.raises(Interrupted):
        segrun.train([*words, "output=parts"])
    monkeypatch.setattr(candidates, "update_batch_norm", estimate)
    tried.clear()
    resumed = segrun.train([f"resume={next(Path('parts/train').glob('*/*'))}"]).folder
    same(*(torch.load(folder / "best.ckpt", weights_only=True)["weights"] for folder in (whole, resumed)))
