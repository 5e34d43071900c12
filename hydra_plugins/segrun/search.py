"""A search by Optuna. It chooses on val alone: its trials leave the test split unread."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from hydra_plugins.segrun.choosing import NO_TEST, ChoosingSweeper, Objective
from segrun.config.recorded import RecordedConfig
from segrun.errors import RequestError, import_extra
from segrun.files import refuse_link
from segrun.ranges import NonNegativeInt, PositiveInt


class Optuna(ChoosingSweeper):
    """A trial is a function of `seed`, its number and the trials before it, and interrupted trials are continued: a
    search that was killed ends like one that was not. Trials are kept in a database beside their folders.

    Args:
        n_trials: Number of trials.
        n_jobs: Trials that run at the same time.
        objective: See `ChoosingSweeper`.
        seed: Of the sampler.
        params: The search space: key → values, as on the command line.
    """

    def __init__(
        self,
        n_trials: PositiveInt,
        n_jobs: PositiveInt,
        objective: Objective,
        seed: NonNegativeInt,
        params: Mapping[str, Any],
    ) -> None:
        self.n_trials, self.n_jobs, self.objective, self.seed = n_trials, n_jobs, objective, seed
        self.params = dict(params)

    def sweep(self, arguments: list[str]) -> None:
        """Raises segrun.errors.RequestError for what cannot be searched, before anything is run."""
        from segrun.runs.lock import lock

        self.optuna = import_extra("optuna", "sweep")
        self.optuna.logging.set_verbosity(self.optuna.logging.WARNING)
        overrides = self.parse([*(f"{key}={value}" for key, value in self.params.items()), *arguments])
        self.check(overrides)
        swept = [override for override in overrides if override.is_sweep_override()]
        fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
        self.space = {override.get_key_element(): self.distribution(override) for override in swept}
        self.fixed = [*fixed, NO_TEST]
        self.jobs: dict[Path, Any] = {}  # by folder, in the state in which the sweep found them
        self.study = self.open_study()
        with lock(self.path.parent, f"{self.path.stem}.lock", "search"):  # two would give each other's trials up
            self.search()

    def search(self) -> None:
        """Continue interrupted trials, then run new ones until all have ended."""
        states = self.optuna.trial.TrialState
        waiting = self.study.get_trials(states=[states.RUNNING])  # of an interrupted search
        failed = self.study.get_trials(states=[states.FAIL])
        for trial in self.study.get_trials(deepcopy=False):
            self.job_of(trial)
        if self.config.retry:
            still = {str(trial.params): trial for trial in failed if self.job_of(trial).state == "failed"}
            for trial in still.values():
                self.study.enqueue_trial(trial.params, user_attrs={"again": trial.number})
                waiting.append(self.study.ask(self.space))
        try:
            batch = waiting[: self.n_jobs] or self.next_trials()
            while batch:
                del waiting[: len(batch)]
                self.run_trials(batch)
                batch = waiting[: self.n_jobs] or self.next_trials()
        finally:
            self.report()

    def check(self, overrides: Sequence[Override]) -> None:
        """Raises segrun.errors.RequestError for what cannot be searched."""
        swept = [override.get_key_element() for override in overrides if override.is_sweep_override()]
        if self.task.command != "train":
            raise RequestError(f"a search is for segrun train, not for segrun {self.task.command}.")
        if not swept:
            raise RequestError("nothing to search: give search=rates, or values: optimizer.lr=interval(1e-4,1e-2).")
        self.check_choice(swept)
        if any(override.key_or_group == "test" and override.value() is not False for override in overrides):
            raise RequestError("test=true: a search does not read the test split. Score its winner: segrun eval.")

    def distribution(self, override: Override) -> Any:
        """Optuna's distribution for the values of a key."""
        kinds, sweep = self.optuna.distributions, override.value()
        log = "log" in getattr(sweep, "tags", ())
        if isinstance(sweep, IntervalSweep):
            is_int = isinstance(sweep.start, int) and isinstance(sweep.end, int)
            kind = kinds.IntDistribution if is_int else kinds.FloatDistribution
            return kind(sweep.start, sweep.end, log=log)
        if isinstance(sweep, RangeSweep) and all(isinstance(value, int) for value in sweep.range()):
            values = sorted(sweep.range())
            return kinds.IntDistribution(values[0], values[-1], step=abs(int(sweep.step)))
        return kinds.CategoricalDistribution(list(override.sweep_string_iterator()))

    def open_study(self) -> Any:
        """The study of this command line: what is fixed, and the space."""
        config = RecordedConfig(self.job_config(self.fixed))
        folder = self.job(self.fixed).folder.parent
        folder.mkdir(parents=True, exist_ok=True)
        space = {key: str(distribution) for key, distribution in self.space.items()}
        identity = json.dumps([config.identity(), space, self.objective, self.seed], sort_keys=True, default=str)
        digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
        self.path = folder / f"{config.label}_{digest}.db"
        refuse_link(self.path)
        storage = f"sqlite:///{self.path.absolute()}"
        return self.optuna.create_study(storage=storage, study_name="search", direction="maximize", load_if_exists=True)

    def next_trials(self) -> list[Any]:
        """The next trials; none where all have ended."""
        trials: list[Any] = []
        while len(trials) < self.n_jobs:
            before = self.study.get_trials(deepcopy=False)
            if sum("again" not in trial.user_attrs for trial in before) >= self.n_trials:
                break
            self.study.sampler = self.optuna.samplers.TPESampler(seed=self.seed + len(before))
            trials.append(self.study.ask(self.space))
        return trials

    def overrides(self, trial: Any) -> list[str]:
        """The words of a trial's job."""
        shown = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in trial.params.items()}
        return [*self.fixed, *(f"{key}={value}" for key, value in shown.items())]

    def job_of(self, trial: Any) -> Any:
        """The job of a trial, which the final table shows."""
        job = self.job(self.overrides(trial))
        self.jobs.setdefault(job.folder, job)
        return job

    def run_trials(self, trials: Sequence[Any]) -> None:
        """Run the jobs of the trials and report their scores to the study."""
        jobs = [self.job_of(trial) for trial in trials]
        self.run_missing(jobs, [self.overrides(trial) for trial in trials])
        for job, trial in zip(jobs, trials, strict=True):
            score = job.result["val"].get(self.objective) if job.state == "done" else None
            failed = self.optuna.trial.TrialState.FAIL if score is None else None
            self.study.tell(trial.number, score, state=failed)

    def report(self) -> None:
        """Print the table of trials and the winner."""
        if not self.jobs:  # the first trial was refused
            return
        from segrun.sweeps.jobs import print_summary, print_winner

        trials = len(self.study.get_trials(deepcopy=False))
        self.task.results.append(print_summary(list(self.jobs.values()), trials))
        complete = self.study.get_trials(states=[self.optuna.trial.TrialState.COMPLETE])
        if complete:
            best = max(complete, key=lambda trial: (trial.value, -trial.number))
            print_winner(self.job_of(best), best.params, self.objective, best.value)
