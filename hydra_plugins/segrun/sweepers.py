"""A sweep over every combination. What is done is not launched again, whichever launcher runs the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from segrun.config.compose import to_dict, without_hydra
from segrun.errors import Interrupted, RequestError, import_extra

if TYPE_CHECKING:  # torch is imported by the first job
    from segrun.sweeps.jobs import Job

# beginnings of the words that a strategy is made of; a control has its own
STRATEGY = ("strategy=", "strategy.", "freeze=", "freeze.", "regularizer=", "regularizer.")
WEIGHTS = ("backbone.weights=", "init_from=")
EXTRAS = {"joblib": "sweep", "submitit": "slurm", "ray": "ray"}  # launcher -> the extra that brings it


class Jobs(Sweeper):
    """What sweepers share: the jobs' configs, and a launcher that runs them. task: cli.Task."""

    config: Any
    launcher: Any
    task: Any

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Raises segrun.errors.MissingExtraError where the launcher is one of an extra that is not installed."""
        self.context, self.task, self.config = hydra_context, task_function, config
        module = config.hydra.launcher["_target_"].rpartition(".")[0]
        for word, extra in EXTRAS.items():
            if module.startswith(f"hydra_plugins.hydra_{word}_launcher."):
                import_extra(module, extra)
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.launched = 0

    def parsed(self, words: Sequence[str]) -> list[Override]:
        parsed = OverridesParser.create(config_loader=self.context.config_loader).parse_overrides(list(words))
        return list({override.get_key_element(): override for override in parsed}.values())

    def combinations(self, overrides: Sequence[Override]) -> list[list[str]]:
        """Raises segrun.errors.RequestError for an interval, of which there is no list."""
        for one in overrides:
            if one.is_sweep_override() and not one.is_discrete_sweep():
                raise RequestError(f"{one.input_line}: only a search draws from an interval: hydra/sweeper=optuna.")
        (combinations,) = BasicSweeper.split_arguments(list(overrides), None)
        return [list(words) for words in combinations]

    def values(self, words: Sequence[str]) -> dict[str, Any]:
        """The config of one job, as its command will get it.

        Raises:
            RequestError: words that ask for another sweep, which nobody would run.
        """
        cfg = self.context.config_loader.load_sweep_config(self.config, list(words))
        if cfg.hydra.sweeper != self.config.hydra.sweeper:
            raise RequestError(f"{' '.join(words)}: is a sweep of its own; give search and experiment one value each.")
        return to_dict(without_hydra(cfg))  # type: ignore[no-any-return]

    def job(self, words: Sequence[str]) -> Job:
        """The training that `words` ask for, as it stands."""
        from segrun.commands import train
        from segrun.sweeps import jobs as sweep

        values = self.values(words)
        return sweep.Job(tuple(values["asked"]), train.job_folder(values))

    def carry_out(self, jobs: Sequence[Job], every: Sequence[Sequence[str]]) -> None:
        """Launch those that are wanted. every: their words; some may ask for the same run (workers=0,1)."""
        todo: dict[Path, Sequence[str]] = {}
        for job, words in zip(jobs, every, strict=True):
            if job.wanted(self.config.retry):
                todo.setdefault(job.folder, words)
        if todo:
            self.launch(list(todo.values()))

    def launch(self, batch: Sequence[Sequence[str]]) -> None:
        """Run one job for each list of words.

        Raises:
            Interrupted: by Ctrl-C, of this process or of a job's.
        """
        try:
            returns = self.launcher.launch(batch, initial_job_idx=self.launched)
        except (KeyboardInterrupt, Interrupted):
            raise Interrupted("Interrupted; what is saved is kept, and the same line goes on.") from None
        self.launched += len(batch)
        self.task.results += [job.return_value for job in returns]


class Grid(Jobs):
    """Every combination of the values asked for. controls: strategies that are run beside those."""

    def __init__(self, controls: str | Sequence[str] | None) -> None:
        self.controls = [controls] if isinstance(controls, str) else list(controls or ())

    def sweep(self, arguments: list[str]) -> None:
        overrides = self.parsed(arguments)
        every = [
            words
            for own in self.combinations(overrides)
            for words in (own, *(beside(own, name) for name in self.controls))
        ]
        combinations = list({frozenset(words): words for words in every}.values())
        if self.task.command != "train":
            self.launch(combinations)
            return
        from segrun.sweeps import jobs as sweep

        jobs = [self.job(words) for words in combinations]
        try:
            self.carry_out(jobs, combinations)
        finally:
            apart = {job.folder: job for job in reversed(jobs)}
            self.task.results.append(sweep.summary([*reversed(apart.values())], len(combinations)))


def beside(words: Sequence[str], control: str) -> list[str]:
    """The words of a control: those of the job, without what its strategy is made of."""
    own = (*STRATEGY, *(WEIGHTS if control == "scratch" else ()))
    return [f"strategy={control}", *(word for word in words if not word.lstrip("+~").startswith(own))]
