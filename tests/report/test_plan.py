"""The plan as a table: learning rates per part and phase, and shares of loaded weights that are only expected."""

from __future__ import annotations

from segrun.models.parts import Kind, Parameter, Part, Parts
from segrun.models.weights.report import LoadReport
from segrun.report.plan import plan_text
from segrun.transfer.plan import PartSettings, Phase, Plan


def part(name: str, loaded: bool, kinds: tuple[Kind, ...] = ("weight", "bias")) -> Part:
    parameters = tuple(Parameter(f"{name}.{kind}", kind, 1000, loaded) for kind in kinds)
    return Part(name, parameters, (name,))


PARTS = Parts([part("backbone.layer1", loaded=True), part("head.mask", loaded=False)])
PLAN = Plan((
    Phase("head", 1, {"head.mask": PartSettings()}),
    Phase("all", 3, {
        "backbone.layer1": PartSettings(frozenset({"bias"}), lr_multiplier=0.1, statistics=False),
        "head.mask": PartSettings(),
    }, lr_multipliers=lambda weights, gradients: {}),
))  # fmt: skip


def rows(text: str) -> dict[str, list[str]]:
    """The cells of each row by its first cell."""
    lines = [line.split("│") for line in text.splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in line[1:-1]] for line in lines]
    return {first: others for first, *others in cells}


def test_each_phase_shows_learning_rates_and_trained_parameters() -> None:
    text = plan_text(PLAN, PARTS, 0.01, LoadReport("here", loaded=("a",), share=0.5), ["adapted"])
    assert "plan: base learning rate 0.01" in text and "epochs 2–4" in text and "epoch 1 " in text
    assert rows(text) == {
        "backbone.layer1": ["2,000", "100%", "frozen", "1.0e-03 bias statistics frozen"],
        "head.mask": ["2,000", "0%", "1.0e-02", "1.0e-02"],
        "trained": ["4,000", "", "2,000", "3,000"],
        "LR multipliers": ["", "", "–", "measured per tensor"],
    }
    assert text.splitlines()[-1] == "strategy: adapted" and "weights: here: 1 tensors loaded" in text
    assert "expected" not in text


def test_shares_of_weights_that_were_not_read_are_expected() -> None:
    text = plan_text(PLAN, PARTS, 0.01, LoadReport("here", loaded=("a",), share=0.5, expected=True))
    assert [rows(text)[name][1] for name in ("backbone.layer1", "head.mask")] == ["100% expected", "0%"]
    assert "loaded: these shares are expected, because segrun plan reads no weights" in text.splitlines()
