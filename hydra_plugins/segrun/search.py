"""A search by Optuna. It chooses on val alone: its trials leave the test split unread."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from hydra_plugins.segrun.choosing import UNSEEN, Choosing
from segrun.config.keys import identity
from segrun.errors import RequestError, import_extra

if TYPE_CHECKING:
    from segrun.sweeps.jobs import Job


class Optuna(Choosing):
    """n_trials: in all; n_jobs: at a time; objective: the score on val that is to be high; params: the space.

    A trial is a function of `seed`, its number and the trials before, and those that were under way are gone on with:
    a search that was killed ends as one that was not. Trials are kept in a database beside their folders.
    """

    def __init__(self, n_trials: int, n_jobs: int, objective: str, seed: int, params: Mapping[str, str]) -> None:
        self.n_trials, self.n_jobs, self.objective, self.seed = n_trials, n_jobs, objective, seed
        self.params = dict(params)

    def sweep(self, arguments: list[str]) -> None:
        """Raises segrun.errors.RequestError for what cannot be searched, before anything is run."""
        self.optuna = import_extra("optuna", "sweep")
        self.optuna.logging.set_verbosity(self.optuna.logging.WARNING)
        overrides = self.parsed([*(f"{key}={value}" for key, value in self.params.items()), *arguments])
        self.refuse(overrides)
        self.space = {one.get_key_element(): self.values_of(one) for one in overrides if one.is_sweep_override()}
        self.fixed = [str(one.input_line) for one in overrides if not one.is_sweep_override()] + [UNSEEN]
        self.jobs: dict[Path, Job] = {}  # by folder, as they stood when first seen
        self.study = self.opened()
        states = self.optuna.trial.TrialState
        waiting = self.study.get_trials(states=[states.RUNNING])  # of a search that was interrupted
        failed = self.study.get_trials(states=[states.FAIL])
        for trial in self.study.get_trials(deepcopy=False):
            self.job_of(trial)
        if self.config.retry:
            still = {str(trial.params): trial for trial in failed if self.job_of(trial).state == "failed"}
            for trial in still.values():
                self.study.enqueue_trial(trial.params, user_attrs={"again": trial.number})
                waiting.append(self.study.ask(self.space))
        try:
            while batch := waiting[: self.n_jobs] or self.asked():
                del waiting[: len(batch)]
                self.run(batch)
        finally:
            self.report()

    def refuse(self, overrides: Sequence[Override]) -> None:
        swept = [one.get_key_element() for one in overrides if one.is_sweep_override()]
        if self.task.command != "train":
            raise RequestError(f"a search is for segrun train, not for segrun {self.task.command}.")
        if self.n_trials < 1 or self.n_jobs < 1:
            raise RequestError(f"hydra.sweeper: n_trials={self.n_trials}, n_jobs={self.n_jobs}: at least 1 each.")
        if not swept:
            raise RequestError("nothing to search: give search=rates, or values: optimizer.lr=interval(1e-4,1e-2).")
        self.check(swept)
        if any(one.key_or_group == "test" and one.value() is not False for one in overrides):
            raise RequestError("test=true: a search does not see the test split; score its winner: segrun eval.")

    def values_of(self, override: Override) -> Any:
        """Optuna's distribution for a key's values."""
        kinds, sweep = self.optuna.distributions, override.value()
        log = "log" in getattr(sweep, "tags", ())
        if isinstance(sweep, IntervalSweep):
            whole = isinstance(sweep.start, int) and isinstance(sweep.end, int)
            return (kinds.IntDistribution if whole else kinds.FloatDistribution)(sweep.start, sweep.end, log=log)
        if isinstance(sweep, RangeSweep) and all(isinstance(value, int) for value in sweep.range()):
            values = sorted(sweep.range())
            return kinds.IntDistribution(values[0], values[-1], step=abs(int(sweep.step)))
        return kinds.CategoricalDistribution(list(override.sweep_string_iterator()))

    def opened(self) -> Any:
        """The study of this line: what is fixed, and the space."""
        from segrun.commands.train import job_folder, label

        values = self.values(self.fixed)
        folder = job_folder(values).parent
        folder.mkdir(parents=True, exist_ok=True)
        asked = [identity(values), {key: str(one) for key, one in self.space.items()}, self.objective, self.seed]
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:10]
        self.path = folder / f"{label(values)}_{digest}.db"
        storage = f"sqlite:///{self.path.absolute()}"
        return self.optuna.create_study(storage=storage, study_name="search", direction="maximize", load_if_exists=True)

    def asked(self) -> list[Any]:
        """The next trials; none where all have ended."""
        trials: list[Any] = []
        while len(trials) < self.n_jobs:
            before = self.study.get_trials(deepcopy=False)
            if sum("again" not in trial.user_attrs for trial in before) >= self.n_trials:
                break
            self.study.sampler = self.optuna.samplers.TPESampler(seed=self.seed + len(before))
            trials.append(self.study.ask(self.space))
        return trials

    def words(self, trial: Any) -> list[str]:
        shown = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in trial.params.items()}
        return [*self.fixed, *(f"{key}={value}" for key, value in shown.items())]

    def job_of(self, trial: Any) -> Job:
        job = self.job(self.words(trial))
        self.jobs.setdefault(job.folder, job)
        return job

    def run(self, trials: Sequence[Any]) -> None:
        """Run the trials' jobs and tell the study what came of them."""
        jobs = [self.job_of(trial) for trial in trials]
        self.carry_out(jobs, [self.words(trial) for trial in trials])
        for job, trial in zip(jobs, trials, strict=True):
            score = job.result["val"][self.objective] if job.state == "done" else None
            failed = self.optuna.trial.TrialState.FAIL if score is None else None
            self.study.tell(trial.number, score, state=failed)

    def report(self) -> None:
        from segrun.sweeps import jobs as sweep

        self.task.results.append(sweep.summary(list(self.jobs.values()), len(self.study.get_trials(deepcopy=False))))
        complete = self.study.get_trials(states=[self.optuna.trial.TrialState.COMPLETE])
        if complete:
            best = max(complete, key=lambda trial: (trial.value, -trial.number))
            sweep.winner(self.job_of(best), best.params, self.objective, best.value)
