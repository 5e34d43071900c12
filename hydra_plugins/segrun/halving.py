"""Successive halving: every configuration for a few steps, the better half for more, until one is left and trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hydra_plugins.segrun.choosing import NO_TEST, ChoosingSweeper, Objective
from segrun.errors import RequestError
from segrun.ranges import PositiveInt

Overrides = Sequence[str]


class Halving(ChoosingSweeper):
    """The sweeper of `segrun choose`.

    With n configurations and a budget of B steps, each configuration of the k-th rung S_k is trained for
    B / (|S_k| · ⌈log₂ n⌉) steps (Jamieson & Talwalkar, AISTATS 2016), and the better ⌈|S_k| / 2⌉ continue (Karnin et
    al., ICML 2013). A rung trains the whole plan again, compressed to its steps: the first steps of a longer plan would
    say nothing of its later phases.

    Args:
        budget: Optimizer steps over all rungs; None: in each rung as many as the training takes.
        objective: See `ChoosingSweeper`.
        params: The configurations, where the command line gives no key several values.
    """

    def __init__(self, budget: PositiveInt | None, objective: Objective, params: Mapping[str, Any]) -> None:
        self.budget, self.objective, self.params = budget, objective, dict(params)

    def sweep(self, arguments: list[str]) -> None:
        """Called by Hydra with the words of the command line.

        Raises:
            segrun.errors.RequestError: The choice cannot be made; nothing is run.
        """
        from segrun.experiment.experiment import Experiment
        from segrun.sweeps.rungs import print_rung, record_choice, total_steps

        remaining = self.configurations(arguments)
        first = Experiment.from_config(self.job_config([*remaining[0], NO_TEST]))
        steps, epochs = total_steps(first), first.trainer.epochs
        rounds = math.ceil(math.log2(len(remaining)))
        budget = self.checked_budget(rounds, len(remaining), steps, epochs)
        rungs: list[Any] = []
        while len(remaining) > 1:
            rungs.append(self.train_rung(remaining, min(steps, budget // (rounds * len(remaining))), epochs))
            print_rung(rungs)
            remaining = [remaining[index] for index in rungs[-1].best()]
        (winner,) = self.train(remaining)
        self.task.results.append(record_choice(winner, rungs))

    def checked_budget(self, rounds: int, configurations: int, steps: int, epochs: int) -> int:
        """Raises segrun.errors.RequestError for a budget of less than one step per epoch."""
        least = rounds * configurations * epochs
        budget = max(least, rounds * steps) if self.budget is None else self.budget
        if budget < least:
            raise RequestError(
                f"budget={budget}: {rounds} rungs, the first with {configurations} configurations and {epochs} epochs "
                f"of one step each, need {least}. Raise it, or lower trainer.epochs."
            )
        return budget

    def configurations(self, arguments: list[str]) -> list[list[str]]:
        """The overrides of each configuration."""
        overrides = self.parse(arguments)
        if not any(override.is_sweep_override() for override in overrides):
            overrides = self.parse([*(f"{key}={value}" for key, value in self.params.items()), *arguments])
        keys = [override.get_key_element() for override in overrides if override.is_sweep_override()]
        self.check_choice(keys, fixed_budget=True)
        configurations = self.combinations(overrides)
        if len(configurations) < 2:
            raise RequestError("there is only one configuration. Give several to choose from: strategy=finetune,l2sp.")
        return configurations

    def train_rung(self, configurations: Sequence[Overrides], steps: int, epochs: int) -> Any:
        """Train every configuration for `steps` steps over all its epochs, scored on val at the end."""
        from segrun.sweeps.rungs import Rung

        compressed = (f"trainer.steps={steps}", f"trainer.eval_every={epochs}", "trainer.patience=null", NO_TEST)
        jobs = self.train([[*words, *compressed] for words in configurations])
        return Rung(steps, jobs, self.objective)

    def train(self, configurations: Sequence[Overrides]) -> list[Any]:
        """The jobs, after those were run that had not been."""
        jobs = [self.job(words) for words in configurations]
        self.run_missing(jobs, configurations)
        return jobs
