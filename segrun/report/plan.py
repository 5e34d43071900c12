"""A plan as a table: phases across, parts down."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from segrun.models.parts import ALL, Parts
from segrun.models.weights.loading import LoadReport
from segrun.transfer.plan import PartSettings, Plan


def plan_table(plan: Plan, parts: Parts, lr: float) -> Table:
    """What learns in each phase, at which rate; `lr` is the base rate."""
    table = Table("part", title=f"plan: base rate {lr:g}", title_justify="left")
    table.add_column("parameters", justify="right")
    table.add_column("loaded", justify="right")
    first = 1
    for phase in plan.phases:
        last = first + phase.epochs - 1
        table.add_column(
            f"{phase.name}\nepochs {first}–{last}" if last > first else f"{phase.name}\nepoch {first}", justify="right"
        )
        first = last + 1
    for part in parts.values():
        cells = (_cell(phase.learn.get(part.name), lr) for phase in plan.phases)
        table.add_row(part.name, f"{part.size:,}", f"{part.loaded:.0%}", *cells)
    table.add_section()
    total = sum(part.size for part in parts.values())
    sizes = {p.name: p.size for p in parts.parameters}
    learning = (sum(sizes[name] for name in phase.learning(parts)) for phase in plan.phases)
    table.add_row("learning", f"{total:,}", "", *(f"{n:,}" for n in learning))
    if any(phase.terms for phase in plan.phases):
        table.add_row("terms", "", "", *("+".join(term.name for term in phase.terms) or "–" for phase in plan.phases))
    if any(phase.rates for phase in plan.phases):
        table.add_row("rates", "", "", *("measured a tensor" if phase.rates else "–" for phase in plan.phases))
    return table


def plan_text(plan: Plan, parts: Parts, lr: float, report: LoadReport, notes: Sequence[str] = ()) -> str:
    """The same as text, for plan.txt."""
    text = io.StringIO()
    console = Console(file=text, width=max(110, 40 + 16 * len(plan.phases)))
    console.print(plan_table(plan, parts, lr))
    console.print(f"weights: {report}", markup=False, soft_wrap=True)
    for note in notes:
        console.print(f"strategy: {note}", markup=False, soft_wrap=True)
    return text.getvalue()


def _cell(how: PartSettings | None, lr: float) -> str:
    if how is None:
        return "frozen"
    words = f"{lr * how.lr_scale:.1e}"
    if how.kinds != ALL:
        words += f" {'+'.join(sorted(how.kinds))}"
    return words + ("" if how.statistics else " statistics frozen")
