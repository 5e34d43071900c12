"""A plan as a table: phases as columns, parts as rows."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.table import Table

from segrun.models.parts import ALL, Parts
from segrun.models.weights.report import LoadReport
from segrun.report.terminal import PlainConsole
from segrun.transfer.plan import PartSettings, Phase, Plan

NARROWEST, LABELS_WIDTH, PHASE_WIDTH = 110, 40, 16  # characters


def plan_table(plan: Plan, parts: Parts, lr: float, expected: bool = False) -> Table:
    """What is trained in each phase, at which learning rate.

    Args:
        plan: The phases.
        parts: The parts of the model.
        lr: The base learning rate.
        expected: Whether no weights were read, so that the loaded shares are only expected.
    """
    table = Table("part", title=f"plan: base learning rate {lr:g}", title_justify="left")
    table.add_column("parameters", justify="right")
    table.add_column("loaded", justify="right")
    first_epoch = 1
    for phase in plan.phases:
        table.add_column(_phase_title(phase, first_epoch), justify="right")
        first_epoch += phase.epochs
    for part in parts.values():
        cells = [_part_cell(phase.trainable.get(part.name), lr) for phase in plan.phases]
        share = f"{part.loaded:.0%}"
        if expected and part.loaded:
            share += " expected"
        table.add_row(part.name, f"{part.size:,}", share, *cells)
    table.add_section()
    _add_totals(table, plan, parts)
    return table


def _phase_title(phase: Phase, first_epoch: int) -> str:
    last_epoch = first_epoch + phase.epochs - 1
    epochs = f"epoch {first_epoch}" if phase.epochs == 1 else f"epochs {first_epoch}–{last_epoch}"
    return f"{phase.name}\n{epochs}"


def _part_cell(settings: PartSettings | None, lr: float) -> str:
    """The learning rate of a part in a phase, and what of it is frozen."""
    if settings is None:
        return "frozen"
    text = f"{lr * settings.lr_multiplier:.1e}"
    if settings.kinds != ALL:
        text += f" {'+'.join(sorted(settings.kinds))}"
    return text if settings.statistics else f"{text} statistics frozen"


def _add_totals(table: Table, plan: Plan, parts: Parts) -> None:
    """The rows below the parts: trained parameters, regularizers, LR multipliers."""
    sizes = {parameter.name: parameter.size for parameter in parts.parameters}
    trained = [sum(sizes[name] for name in phase.trainable_parameters(parts)) for phase in plan.phases]
    table.add_row("trained", f"{sum(sizes.values()):,}", "", *(f"{count:,}" for count in trained))
    if any(phase.regularizers for phase in plan.phases):
        names = ["+".join(regularizer.name for regularizer in phase.regularizers) or "–" for phase in plan.phases]
        table.add_row("regularizers", "", "", *names)
    if any(phase.lr_multipliers for phase in plan.phases):
        measured = ["measured per tensor" if phase.lr_multipliers else "–" for phase in plan.phases]
        table.add_row("LR multipliers", "", "", *measured)


def plan_text(plan: Plan, parts: Parts, lr: float, report: LoadReport, notes: Sequence[str] = ()) -> str:
    """The plan with the origin of the weights and the notes of the strategy, as text.

    Args:
        plan: The phases.
        parts: The parts of the model.
        lr: The base learning rate.
        report: What became of the pretrained weights.
        notes: Notes of the strategy.
    """
    text = io.StringIO()
    console = PlainConsole(text, max(NARROWEST, LABELS_WIDTH + PHASE_WIDTH * len(plan.phases)))
    console.print(plan_table(plan, parts, lr, report.expected))
    lines = [f"weights: {report}", *(f"strategy: {note}" for note in notes)]
    if report.expected:
        lines.insert(0, "loaded: these shares are expected, because segrun plan reads no weights")
    for line in lines:
        console.print(line, soft_wrap=True)
    return text.getvalue()
