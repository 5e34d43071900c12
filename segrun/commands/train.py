"""`segrun train`: from an experiment to a run folder."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from segrun.checkpoints.checkpoint import Checkpoint
from segrun.config.build import to_dataclass
from segrun.config.compose import in_multirun
from segrun.config.recorded import RecordedConfig
from segrun.device import autocast, make_accelerator, memory_layout, reset_peak_memory
from segrun.engine.failures import explained_failures
from segrun.engine.loop import fit
from segrun.engine.recipe import EpochData, TrainRecipe
from segrun.engine.settings import TrainerSettings
from segrun.events import Event
from segrun.experiment.experiment import Experiment
from segrun.experiment.plan import make_plan, plan_training
from segrun.experiment.request import RunSettings, check_processes, find_run, interrupted_state, read_request
from segrun.experiment.tasks import build_balance
from segrun.experiment.train_batches import TrainBatches
from segrun.experiment.training_model import adapted_model
from segrun.files import check_writable, timestamped_path
from segrun.inference.evaluation import Evaluation, evaluate
from segrun.inference.inference import Inference
from segrun.report.metrics_file import MetricsFile
from segrun.report.trackers.trackers import Observer, open_trackers
from segrun.report.training_progress import TrainingProgress
from segrun.runs.finish import finish
from segrun.runs.folder import RunFolder
from segrun.runs.lock import lock
from segrun.sweeps.jobs import job_folder, run_job

if TYPE_CHECKING:  # accelerate takes a second to import
    from accelerate import Accelerator


@dataclass(frozen=True)
class TrainResult:
    """What a training left behind.

    Attributes:
        folder: The run folder.
        val: Scores of the best weights, as in result.json.
        test: The same on the test split; None where it was not scored.
    """

    folder: Path
    val: Mapping[str, Any]
    test: Mapping[str, Any] | None

    @property
    def checkpoint(self) -> Path:
        """The best weights."""
        return self.folder / "best.ckpt"


def run(config: Mapping[str, Any]) -> TrainResult | None:
    """Train, or continue the run `resume`; in a sweep, carry out one job, whose result is read from its folder.

    Raises:
        RequestError: The request is wrong; nothing is written.
    """
    if in_multirun():
        run_as_job(config, "train")
        return None
    request = read_request(config)
    if request.folder is not None:
        with lock(request.folder):
            find_run(str(request.folder))  # again: another process may have ended it since it was read
            return train(request.experiment, request.folder, request.resume)
    folder = timestamped_path(request.settings.output, "train", request.experiment.config.label)
    return train(request.experiment, folder, new=True)


def run_as_job(config: Mapping[str, Any], command: str) -> None:
    """Carry out one job of a sweep in the folder that its config decides.

    Raises:
        RequestError: `resume` is given: the same command continues a sweep.
    """
    settings = to_dataclass(config, RunSettings, "")
    recorded = RecordedConfig(config)
    folder = job_folder(recorded, settings, command)

    def job() -> TrainResult:
        return train(Experiment.from_config(config), folder, interrupted_state(folder))

    run_job(recorded, folder, job)


def train(experiment: Experiment, folder: Path, resume: Checkpoint | None = None, new: bool = False) -> TrainResult:
    """One training.

    Args:
        experiment: What to train.
        folder: The run folder.
        resume: The state to continue from.
        new: Where the folder exists, make another one beside it.

    Raises:
        SegrunError: See segrun.errors. Nothing is written before data, plan and weights have been checked.
        Interrupted: By Ctrl-C or SIGTERM; the state is saved.
    """
    trainer = experiment.trainer
    check_writable(folder)
    accelerator = start_process(trainer)
    check_processes(resume, accelerator.num_processes)
    planned = plan_training(experiment, resume, accelerator.num_processes, accelerator.main_process_first)
    data, tasks = planned.data, planned.tasks
    torch.manual_seed(experiment.seed)
    with accelerator.main_process_first():  # one process downloads the weights
        model, notes = adapted_model(experiment, data.classes, data.channels, planned.auxiliary, resume)
    plan = make_plan(experiment, model)
    if resume is None:
        model.init_bias_from_class_prior(tasks[0].loss.class_prior(data.class_counts.sum(0)))
    for task in tasks:
        task.loss.to(accelerator.device)
    batches = TrainBatches(
        data, planned.auxiliary, experiment.data.sizing, experiment.data.augment, trainer, experiment.seed, accelerator
    )
    data = dataclasses.replace(data, notes=[*data.notes, *batches.cache_notes()])
    run = RunFolder.create(folder, experiment, data, model, accelerator, new, resume is not None)
    if accelerator.is_main_process:
        run.write_start(plan, notes)
    inference = training_inference(experiment, model, accelerator)
    score = partial(
        evaluate, data=data.dataset, accelerator=accelerator, loss=tasks[0].loss, batch_size=trainer.batch_size
    )

    def score_val(weights: nn.Module) -> Evaluation:
        return score(dataclasses.replace(inference, model=weights), names=data.splits["val"])

    recipe = TrainRecipe(
        trainer,
        experiment.optimizer,
        experiment.schedule,
        experiment.seed,
        build_balance(experiment, tasks, accelerator.device),
    )
    epochs = EpochData(batches, trainer.steps_per_epoch(len(data.splits["train"])), score_val)
    state = None if resume is None else resume.training
    trackers_used = experiment.trackers if accelerator.is_main_process else {}
    size = experiment.data.sizing.size or max(data.train_scan.sizes)
    failures = explained_failures(run.path, trainer, size)
    with lock(run.path), failures, open_trackers(trackers_used, run.path) as trackers:
        with event_emitter(run, state, trackers) as emit:
            progress = fit(model, plan, tasks, recipe, epochs, run.checkpoint_sink(), accelerator, emit, state)
        result = finish(run, plan, progress, inference, score, partial(batches.primary, 0), batches.several)
    return TrainResult(run.path, result.summaries["val"], result.summaries.get("test"))


def start_process(settings: TrainerSettings) -> Accelerator:
    """The accelerator; what torch keeps for the whole process is set for this run."""
    accelerator = make_accelerator(settings.device, settings.precision, settings.timeout)
    torch.use_deterministic_algorithms(settings.deterministic)
    torch.backends.cudnn.benchmark = not settings.deterministic
    reset_peak_memory(accelerator.device.type == "cuda")
    return accelerator


def training_inference(experiment: Experiment, model: nn.Module, accelerator: Accelerator) -> Inference:
    """How val and test are scored during the training."""
    trainer, device = experiment.trainer, accelerator.device
    layout = memory_layout(trainer.channels_last, device.type == "cuda")
    return Inference(model, experiment.data.sizing, device, partial(autocast, device, trainer.precision), layout)


@contextlib.contextmanager
def event_emitter(run: RunFolder, state: Mapping[str, Any] | None, trackers: Iterable[Observer]) -> Iterator[Observer]:
    """Passes events to the terminal, metrics.jsonl and the trackers, in the main process only.

    Args:
        run: The folder.
        state: The training state of a resumed run, whose epochs in metrics.jsonl are kept.
        trackers: The opened trackers.
    """
    done = 0 if state is None else state["progress"]["epoch"]
    terminal = TrainingProgress() if run.accelerator.is_main_process else None
    observers: list[Observer] = []
    if terminal is not None:
        observers = [terminal, MetricsFile(run.path / "metrics.jsonl", done), *trackers]

    def emit(event: Event) -> None:
        for observer in observers:
            observer(event)

    try:
        yield emit
    finally:
        if terminal is not None:
            terminal.close()
