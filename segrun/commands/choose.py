"""`segrun choose`: what each rung found, why the winner won, and what finding it has cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rich.markup import escape
from rich.table import Table

from segrun.config.build import to_dataclass
from segrun.engine.settings import TrainerSettings
from segrun.errors import RequestError
from segrun.experiment import assemble
from segrun.experiment.training import limit, surveyed
from segrun.files import write_json
from segrun.report.tables import percent
from segrun.report.terminal import console, print_line
from segrun.sweeps.jobs import Job, set_apart


@dataclass(frozen=True)
class Rung:
    """jobs: the ways' runs of `steps` steps; objective: a score on val."""

    steps: int
    jobs: Sequence[Job]
    objective: str

    @property
    def names(self) -> list[str]:
        return set_apart(self.jobs)

    @cached_property
    def scores(self) -> Mapping[int, float]:
        """By place, highest first, of equal ones the first; those that could not be trained have none."""
        done = {place: job.result["val"][self.objective] for place, job in enumerate(self.jobs) if job.state == "done"}
        there = {place: score for place, score in done.items() if score is not None and not math.isnan(score)}
        return dict(sorted(there.items(), key=lambda item: -item[1]))

    def best(self) -> list[int]:
        """The places of the better half.

        Raises:
            RequestError: no way could be trained.
        """
        if not self.scores:
            failed = [job for job in self.jobs if job.state == "failed"]
            why = failed[0].error if failed else f"none has a {self.objective} on val"
            raise RequestError(f"none of {len(self.jobs)} ways could be trained: {why}")
        return [*self.scores][: math.ceil(len(self.jobs) / 2)]


def total_steps(values: dict[str, Any]) -> int:
    """The optimizer steps that a config's training takes; looks at the data where they depend on it."""
    settings, images = to_dataclass(values["trainer"], TrainerSettings, "trainer"), 0
    if settings.steps is None:
        data = assemble.dataset(values, None)
        limit(data, surveyed(data, values, None), values, assemble.sizing(values))
        images = len(data.splits["train"])
    return sum(settings.steps_per_epoch(images))


def print_rung(rungs: Sequence[Rung]) -> None:
    """What the last rung found; and why its best is chosen, where no other rung follows."""
    rung = rungs[-1]
    scores, names, left = rung.scores, rung.names, rung.best()
    table = Table("way", f"val {rung.objective}", "", title_justify="left")
    table.title = f"rung {len(rungs)}: {len(names)} ways, {rung.steps} steps each"
    for place in [*scores, *(place for place in range(len(names)) if place not in scores)]:
        ended = ("is trained" if len(left) == 1 else "goes on") if place in left else "is left"
        shown = ended if place in scores else f"[red]{rung.jobs[place].state}[/]"
        table.add_row(escape(names[place]), percent(scores.get(place)), shown)
    console().print(table)
    for name, job in zip(names, rung.jobs, strict=True):
        if job.state == "failed":
            print_line(f"failed: {name}: {job.error}")
    if len(left) == 1:
        best, *others = scores
        against = f" against {percent(scores[others[0]])} of {names[others[0]]}" if others else ", the only one trained"
        print_line(
            f"{names[best]} is trained: val {rung.objective} {percent(scores[best])} after {rung.steps} steps{against}."
        )
        print_line("One seed chose it; whether such a difference is real, segrun compare tells.")


def ended(winner: Job, rungs: Sequence[Rung]) -> int:
    """Write into the winner's result.json how it was chosen and what that has cost, and say it; the exit status."""
    if winner.state != "done":
        print_line(f"failed: {winner.error}")
        return 1
    runs = {job.folder: job.result["cost"] for rung in rungs for job in rung.jobs if job.state == "done"}
    spent = {key: round(sum(cost[key] for cost in runs.values()), 2) for key in ("steps", "seconds")}
    found = [
        {"steps": rung.steps, rung.objective: {rung.names[place]: score for place, score in rung.scores.items()}}
        for rung in rungs
    ]
    write_json(winner.folder / "result.json", {**winner.result, "choosing": {**spent, "rungs": found}})
    own = winner.result["cost"]
    print_line(
        f"cost: choosing {spent['steps']:,} steps in {spent['seconds']:.0f} s, training {own['steps']:,} in "
        f"{own['seconds']:.0f} s"
    )
    print_line(f"run folder: {winner.folder}")
    return 0
