"""One training, from the first look at the data to the scores of the best epoch."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import nn

from segrun.checkpoints.checkpoint import Checkpoint
from segrun.config.build import build, to_dataclass
from segrun.data.augment.augment import Augment
from segrun.data.dataset import Dataset
from segrun.data.scan.checks import before_training
from segrun.data.scan.findings import Rules
from segrun.data.scan.scan import DatasetScan, survey
from segrun.data.sizing import Sizing
from segrun.data.split.label_subset import labelled
from segrun.data.split.splits import SplitSettings, split
from segrun.device import accelerator, autocast, memory_layout, reset_peak_memory
from segrun.engine.loop import fit
from segrun.engine.recipe import EpochData, TrainRecipe
from segrun.engine.settings import TrainerSettings
from segrun.errors import Interrupted, RequestError, join_names
from segrun.events import Event
from segrun.experiment import assemble, networks
from segrun.experiment.train_batches import TrainBatches, check, others
from segrun.files import create_dir, ensure_dir
from segrun.inference.evaluation import Evaluation, evaluate
from segrun.inference.inference import Inference
from segrun.report.metrics_file import MetricsFile
from segrun.report.terminal import TrainingReport, counting
from segrun.report.trackers.trackers import Observer, tracked
from segrun.runs.run import Run, Scored
from segrun.tasks.balance import Balance


def train(values: dict[str, Any], folder: Path, fresh: bool, saved: Checkpoint | None, trust: assemble.Trust) -> Scored:
    """Carry a config out in `folder`, or in a new one beside it where `fresh` is asked for and it is taken; gives the
    folder, and the scores of the best epoch on val and test.

    Raises:
        SegrunError: see segrun.errors; nothing is written before config, data and plan have been checked.
    """
    settings = to_dataclass(values["trainer"], TrainerSettings, "trainer")
    device = prepare(settings)
    torch.manual_seed(values["seed"])
    with device.main_process_first():  # one process fetches what dataset.download asks for
        data = assemble.dataset(values, trust)
    if data.splits and not data.splits.get("train"):
        raise RequestError(f"the data set has no train images, only those of {join_names(data.splits)}.")
    sizing = assemble.sizing(values)
    auxiliary = assemble.auxiliary(values, data.labels, trust)
    tasks = assemble.tasks(values, auxiliary, trust)
    balance: Balance = build(values.get("balance"), "balance", trust=trust)
    balance.begin({t.name: t.regression for t in tasks}, {t.name: t.weight for t in tasks}, device.device)
    strategy = assemble.strategy(values, trust)
    augment: Augment = build(values.get("augment"), "augment", trust=trust)
    optimizer = build(values.get("optimizer"), "optimizer", trust=trust)
    schedule = build(values.get("schedule"), "schedule", trust=trust)
    trackers = {
        name: build(values["tracker"][name], f"tracker.{name}", trust=trust) for name in values.get("tracker") or {}
    }
    with device.main_process_first():  # one process fetches the weights
        model, resume, notes = networks.initial_model(
            values, data.classes, data.channels, saved, trust, auxiliary, strategy
        )
    if settings.save == "delta" and not model.report.matched:
        raise RequestError("trainer.save=delta keeps what differs from pretrained weights, and none were loaded.")
    plan = assemble.plan(values, model, strategy, trust)

    found = surveyed(data, values, saved)
    for name, other in others(auxiliary).items():
        check(name, other, data, sizing, found.sizes, device.num_processes)
        other.dataset.fit(other.dataset.splits["train"])
    if not saved:
        limit(data, found, values, sizing)
    names = data.splits["train"]
    values = {**values, "dataset": {**values["dataset"], **data.fit(names)}}  # stays with the run and its checkpoints
    primary = tasks[0]
    pixels = found.of(names).pixels
    primary.loss.set_class_weights(pixels.sum(0))
    if not saved:
        model.init_bias_from_class_prior(primary.loss.class_prior(pixels.sum(0)))
    for task in tasks:
        task.loss.to(device.device)
    feed = TrainBatches(data, auxiliary, sizing, augment, settings, values["seed"], device)
    feed.dry_run()
    data.notes = [*data.notes, *feed.notes(found.of(names).sizes)]
    for each in auxiliary.values():
        each.check(pixels, len(data.classes))
        each.check_names(names)

    if device.is_main_process:
        folder = create_dir(folder) if fresh else ensure_dir(folder)
    folder = Path(broadcast_object_list([str(folder)])[0])
    run = Run(values, folder, data, model, device, strategy, trust, saved is not None)
    if device.is_main_process:
        run.begin(plan, optimizer.lr, found, notes)
    layout = memory_layout(settings.channels_last, device.device.type == "cuda")
    inference = Inference(model, sizing, device.device, partial(autocast, device.device, settings.precision), layout)
    score = partial(evaluate, data=data, accelerator=device, loss=primary.loss, batch_size=settings.batch_size)

    def look(kept: nn.Module) -> Evaluation:
        return score(dataclasses.replace(inference, model=kept), names=data.splits["val"])

    done = resume["progress"]["epoch"] if resume else 0
    with tracked(trackers if device.is_main_process else {}, folder) as observers:
        with telling(folder, done, observers, device.is_main_process) as tell:
            try:
                progress = fit(
                    model, plan, tasks, TrainRecipe(settings, optimizer, schedule, values["seed"], balance),
                    EpochData(feed, settings.steps_per_epoch(len(names)), look), run.store(), device,
                    tell, resume,
                )  # fmt: skip
            except Interrupted as stop:
                raise Interrupted(f"{stop} Go on with: segrun train resume={folder}") from None
        return run.end(plan, progress, inference, score, partial(feed.primary, 0), feed.several)


def surveyed(data: Dataset, values: Mapping[str, Any], saved: Checkpoint | None) -> DatasetScan:
    """What a look at every image and mask saw, but for a test split that is to stay unread. `data` is split then: as it
    was where a run goes on, anew otherwise, and `data.notes` hold what is to be said of it."""
    if saved is None:  # first, since a look may take an hour
        splitting = to_dataclass(values["split"], SplitSettings, "split")
        rules = to_dataclass(values["rules"], Rules, "rules")
    apart = not values.get("test", True) and (saved or values["split"]["file"] is None)  # a file may name any image
    unread = frozenset((saved.splits if saved else data.splits).get("test", ()) if apart else ())
    names = [name for name in data.names if name not in unread]
    with counting("looking at every image and mask", len(names)) as advance:
        found = survey(data, names, advance)
    if saved:
        data.use(saved.splits)
    else:
        splits, said = split(data, found.names, splitting, found.pixels > 0, found.digests)
        data.use({key: names for key, names in splits.items() if not (unread and key == "test")})
        data.notes = [*data.notes, *found.notes, *said, *before_training(data, found, rules)]
        data.use(splits)
    return found


def limit(data: Dataset, found: DatasetScan, values: Mapping[str, Any], sizing: Sizing) -> None:
    """Leave as many labelled training images as `labels` says; what is left must fit the network."""
    train = data.splits["train"]
    names = labelled(train, found.of(train).pixels, values["labels"], values["seed"])
    sizing.check(found.of(names).sizes)
    data.use({**data.splits, "train": names})


@contextlib.contextmanager
def telling(folder: Path, done: int, trackers: Iterable[Observer], main: bool) -> Iterator[Observer]:
    """What passes events on to the terminal, the run's file and the trackers, in the main process only. done: epochs of
    the run that are kept where it goes on."""
    report = TrainingReport() if main else None
    observers: list[Observer] = [report, MetricsFile(folder / "metrics.jsonl", done), *trackers] if report else []

    def tell(event: Event) -> None:
        for observer in observers:
            observer(event)

    try:
        yield tell
    finally:
        if report:
            report.close()


def prepare(settings: TrainerSettings) -> Accelerator:
    """The accelerator; what torch keeps for the whole process is set for this run."""
    device = accelerator(settings.device, settings.precision)
    if settings.batch_size % device.num_processes:
        raise RequestError(
            f"trainer.batch_size={settings.batch_size}: not a multiple of {device.num_processes} processes."
        )
    torch.use_deterministic_algorithms(settings.deterministic)
    torch.backends.cudnn.benchmark = not settings.deterministic
    reset_peak_memory(device.device.type == "cuda")
    return device
