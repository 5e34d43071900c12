"""Successive halving: what each rung found, why the winner won, and what finding it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.table import Table
from rich.text import Text

from segrun.errors import RequestError
from segrun.experiment.experiment import Experiment
from segrun.experiment.prepare import prepare
from segrun.files import write_json
from segrun.report.formats import percent
from segrun.report.terminal import console, print_line
from segrun.sweeps.jobs import Job, distinct_names


@dataclass(frozen=True)
class Rung:
    """Configurations that were trained for the same number of steps.

    Attributes:
        steps: Optimizer steps of each.
        jobs: Their runs.
        objective: A score on val.
    """

    steps: int
    jobs: Sequence[Job]
    objective: str

    @property
    def names(self) -> list[str]:
        return distinct_names(self.jobs)

    @cached_property
    def scores(self) -> Mapping[int, float]:
        """By index, the highest first; of equal scores the first job. Failed jobs have none."""
        scores: dict[int, float] = {}
        for index, job in enumerate(self.jobs):
            score = job.result["val"].get(self.objective) if job.state == "done" else None
            if score is not None and not math.isnan(score):
                scores[index] = score
        return dict(sorted(scores.items(), key=lambda item: -item[1]))

    def best(self) -> list[int]:
        """The indices of the better half.

        Raises:
            RequestError: No configuration could be trained.
        """
        if not self.scores:
            failed = [job for job in self.jobs if job.state == "failed"]
            reason = failed[0].error if failed else f"none has a {self.objective} on val"
            raise RequestError(f"none of {len(self.jobs)} configurations could be trained: {reason}")
        return [*self.scores][: math.ceil(len(self.jobs) / 2)]


def total_steps(experiment: Experiment) -> int:
    """The optimizer steps of a training; reads the data where they depend on it."""
    trainer, images = experiment.trainer, 0
    if trainer.steps is None:
        images = len(prepare(experiment.data).splits["train"])
    return sum(trainer.steps_per_epoch(images))


def print_rung(rungs: Sequence[Rung]) -> None:
    """Print what the last rung found, and why its best is chosen where no other rung follows."""
    rung = rungs[-1]
    scores, names, remaining = rung.scores, rung.names, rung.best()
    table = Table("configuration", f"val {rung.objective}", "", title_justify="left")
    table.title = f"rung {len(rungs)}: {len(names)} configurations, {rung.steps} steps each"
    unscored = [index for index in range(len(names)) if index not in scores]
    for index in [*scores, *unscored]:
        kept = "is trained" if len(remaining) == 1 else "continues"
        fate = kept if index in remaining else "dropped"
        state = fate if index in scores else Text(rung.jobs[index].state, style="red")
        table.add_row(names[index], percent(scores.get(index)), state)
    console().print(table)
    for name, job in zip(names, rung.jobs, strict=True):
        if job.state == "failed":
            print_line(f"failed: {name}: {job.error}")
    if len(remaining) == 1:
        best, *others = scores
        rival = f"against {percent(scores[others[0]])} of {names[others[0]]}" if others else "and no other was trained"
        score = f"{rung.objective} {percent(scores[best])}"
        print_line(f"{names[best]} is trained: val {score} after {rung.steps} steps, {rival}.")
        print_line("One seed decided; segrun compare shows whether such a difference is real.")


def record_choice(winner: Job, rungs: Sequence[Rung]) -> int:
    """Write into the winner's result.json how it was chosen and what that cost, and print it.

    Returns:
        The exit status.
    """
    if winner.state != "done":
        reason = winner.error if winner.state == "failed" else "repeat the command to continue it"
        print_line(f"{winner.state}: {reason}")
        return 1
    costs = {job.folder: job.result["cost"] for rung in rungs for job in rung.jobs if job.state == "done"}
    spent = {key: round(sum(cost.get(key, 0) for cost in costs.values()), 2) for key in ("steps", "seconds")}
    history = [
        {"steps": rung.steps, rung.objective: {rung.names[index]: score for index, score in rung.scores.items()}}
        for rung in rungs
    ]
    write_json(winner.folder / "result.json", {**winner.result, "choosing": {**spent, "rungs": history}})
    own = winner.result["cost"]
    choosing = f"choosing {spent['steps']:,} steps in {spent['seconds']:.0f} s"
    print_line(f"cost: {choosing}, training {own.get('steps', 0):,} in {own['seconds']:.0f} s")
    print_line(f"run folder: {winner.folder}")
    return 0
