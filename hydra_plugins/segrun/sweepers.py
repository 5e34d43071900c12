"""A sweep over every combination. What has ended is not launched again, whichever launcher runs the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from segrun.config.build import check_arguments
from segrun.config.compose import to_dict, without_hydra
from segrun.config.keys import facts
from segrun.errors import Interrupted, RequestError, import_extra
from segrun.files import check_writable

EXTRAS = {"joblib": "sweep", "submitit": "slurm", "ray": "ray"}  # launcher → the extra that installs it


class JobSweeper(Sweeper):
    """What segrun's sweepers share: the configs of the jobs, and a launcher that runs them.

    Attributes:
        task: The `HydraJob` of the command.
    """

    config: Any
    launcher: Any
    task: Any

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra.

        Raises:
            segrun.errors.RequestError: A setting of the sweeper is not allowed.
            segrun.errors.MissingExtraError: The launcher's extra is not installed.
        """
        self.context, self.task, self.config = hydra_context, task_function, config
        settings: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
        del settings["_target_"]
        check_arguments(type(self), settings, "hydra.sweeper")
        module = config.hydra.launcher["_target_"].rpartition(".")[0]
        for word, extra in EXTRAS.items():
            if module.startswith(f"hydra_plugins.hydra_{word}_launcher."):
                import_extra(module, extra)
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.launched = 0

    def parse(self, words: Sequence[str]) -> list[Override]:
        """The overrides; of two for the same key the last one counts."""
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        return list({override.get_key_element(): override for override in parser.parse_overrides(list(words))}.values())

    def combinations(self, overrides: Sequence[Override]) -> list[list[str]]:
        """The overrides of each job.

        Raises:
            segrun.errors.RequestError: An interval is given, which has no list of values.
        """
        for override in overrides:
            if override.is_sweep_override() and not override.is_discrete_sweep():
                raise RequestError(
                    f"{override.input_line}: only a search draws from an interval: hydra/sweeper=optuna."
                )
        # Hydra's own way to combine values; it has no public name
        (combinations,) = BasicSweeper.split_arguments(list(overrides), None)
        return [list(words) for words in combinations]

    def job_config(self, words: Sequence[str]) -> dict[str, Any]:
        """The config of one job, as its command gets it.

        Raises:
            segrun.errors.RequestError: The words ask for another sweep, which nothing would run.
        """
        config = self.context.config_loader.load_sweep_config(self.config, list(words))
        if config.hydra.sweeper != self.config.hydra.sweeper:
            raise RequestError(f"{' '.join(words)}: asks for another sweep. Give search and experiment one value each.")
        return to_dict(without_hydra(config))

    def job(self, words: Sequence[str]) -> Any:
        """The `segrun.sweeps.jobs.Job` that the words ask for, in its present state."""
        from segrun.sweeps.jobs import job_of

        return job_of(self.job_config(words), self.task.command)

    def run_missing(self, jobs: Sequence[Any], overrides: Sequence[Sequence[str]]) -> None:
        """Launch the jobs that must run.

        Args:
            jobs: Of the sweep.
            overrides: Of each job. Several may ask for the same run, such as trainer.workers=0,1.
        """
        missing: dict[Path, Sequence[str]] = {}
        for job, words in zip(jobs, overrides, strict=True):
            if job.must_run(self.config.retry):
                missing.setdefault(job.folder, words)
        for folder in missing:
            check_writable(folder)
        while missing:
            self.launch(list(missing.values()))
            missing = self.skipped(missing)

    def skipped(self, launched: Mapping[Path, Sequence[str]]) -> dict[Path, Sequence[str]]:
        """The jobs that another process ran when they were launched, and did not end; it has let go of them now."""
        from segrun.runs.lock import wait_until_free
        from segrun.sweeps.jobs import Job

        waited = [wait_until_free(folder) for folder in launched if not Job((), folder).has_ended]
        left = {folder: words for folder, words in launched.items() if not Job((), folder).has_ended}
        return left if any(waited) or len(left) < len(launched) else {}

    def launch(self, batch: Sequence[Sequence[str]]) -> None:
        """Run one job for each list of overrides.

        Raises:
            Interrupted: By Ctrl-C, in this process or in that of a job.
        """
        try:
            returns = self.launcher.launch(batch, initial_job_idx=self.launched)
        except (KeyboardInterrupt, Interrupted):
            raise Interrupted("Interrupted; what is saved is kept, and the same command continues.") from None
        self.launched += len(batch)
        self.task.results += [job.return_value for job in returns]


class Grid(JobSweeper):
    """Every combination of the given values.

    Args:
        controls: Strategies that are run with the same data, labels, seeds and budget.
    """

    def __init__(self, controls: str | Sequence[str] | None) -> None:
        self.controls = [controls] if isinstance(controls, str) else list(controls or ())

    def sweep(self, arguments: list[str]) -> None:
        """Called by Hydra with the words of the command line."""
        every = []
        for words in self.combinations(self.parse(arguments)):
            every.append(words)
            every += [control_overrides(words, control) for control in self.controls]
        combinations = list({frozenset(words): words for words in every}.values())
        if self.task.command != "train":
            self.launch(combinations)
            return
        from segrun.sweeps.jobs import print_summary

        jobs = [self.job(words) for words in combinations]
        try:
            self.run_missing(jobs, combinations)
        finally:
            distinct = {job.folder: job for job in reversed(jobs)}
            self.task.results.append(print_summary([*reversed(distinct.values())], len(combinations)))


def control_overrides(words: Sequence[str], control: str) -> list[str]:
    """The overrides of a control: those of the job, without those that its strategy consists of."""

    def is_kept(word: str) -> bool:
        about = facts(word.lstrip("+~").partition("=")[0])
        return not about.of_strategy and not (control == "scratch" and about.initial_weights)

    return [f"strategy={control}", *filter(is_kept, words)]
