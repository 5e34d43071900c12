"""Successive halving: all ways on a few steps, the better half of them on more, until one is left and is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hydra_plugins.segrun.choosing import FIXED, UNSEEN, Choosing
from segrun.errors import RequestError

if TYPE_CHECKING:
    from segrun.commands.choose import Rung
    from segrun.sweeps.jobs import Job

BUDGETS = ("trainer.epochs", "trainer.steps", "trainer.batch_size", "trainer.accumulate")
Way = Sequence[str]  # the words that ask for it


class Halving(Choosing):
    """budget: optimizer steps over all rungs; None: in each rung as many as the training takes. params: the ways,
    where the command line has none.

    With n ways and a budget of B steps each way of the k-th rung's |S_k| is trained for B/(|S_k|·⌈log₂ n⌉) steps
    (Jamieson & Talwalkar, AISTATS 2016), and the better ⌈|S_k|/2⌉ go on (Karnin et al., ICML 2013). A rung trains the
    whole plan anew, compressed to its steps: the first steps of a longer plan would say nothing of its later phases.
    """

    def __init__(self, budget: int | None, objective: str, params: Mapping[str, str]) -> None:
        self.budget, self.objective, self.params = budget, objective, dict(params)

    def sweep(self, arguments: list[str]) -> None:
        """Raises segrun.errors.RequestError for what cannot be chosen among, before anything is run."""
        from segrun.commands import choose

        ways = self.ways(arguments)
        first = self.values([*ways[0], UNSEEN])
        total, epochs = choose.total_steps(first), first["trainer"]["epochs"]
        rounds = math.ceil(math.log2(len(ways)))
        least = rounds * len(ways) * epochs
        budget = max(least, rounds * total) if self.budget is None else self.budget
        if budget < least:
            raise RequestError(
                f"budget={budget}: {rounds} rungs, the first of {len(ways)} ways with {epochs} epochs of a step each, "
                f"take {least}. Raise it, or lower trainer.epochs."
            )
        rungs: list[choose.Rung] = []
        while len(ways) > 1:
            rungs.append(self.rung(ways, min(total, budget // (rounds * len(ways))), epochs))
            choose.print_rung(rungs)
            ways = [ways[place] for place in rungs[-1].best()]
        (winner,) = self.trained(ways)
        self.task.results.append(choose.ended(winner, rungs))

    def ways(self, arguments: list[str]) -> list[list[str]]:
        overrides = self.parsed(arguments)
        if not any(one.is_sweep_override() for one in overrides):
            overrides = self.parsed([*(f"{key}={value}" for key, value in self.params.items()), *arguments])
        self.check([one.get_key_element() for one in overrides if one.is_sweep_override()], (*FIXED, *BUDGETS))
        ways = self.combinations(overrides)
        if len(ways) < 2:
            raise RequestError("one way alone, and nothing to choose: give several, as strategy=finetune,l2sp.")
        return ways

    def rung(self, ways: Sequence[Way], steps: int, epochs: int) -> Rung:
        """Every way at `steps` steps in all its epochs, looked at on val at their end."""
        from segrun.commands.choose import Rung

        compressed = (f"trainer.steps={steps}", f"trainer.eval_every={epochs}", "trainer.patience=null", UNSEEN)
        jobs = self.trained([[*way, *compressed] for way in ways])
        return Rung(steps, jobs, self.objective)

    def trained(self, runs: Sequence[Way]) -> list[Job]:
        """The runs' jobs, after those were run that had not been."""
        jobs = [self.job(words) for words in runs]
        self.carry_out(jobs, runs)
        return jobs
