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

from segrun import config
from segrun.commands import assemble, networks
from segrun.commands.feed import Feed, check, others
from segrun.commands.run import Run, Scored
from segrun.data.augment import Augment
from segrun.data.checks import before_training
from segrun.data.dataset import Dataset
from segrun.data.findings import Rules
from segrun.data.labelled import labelled
from segrun.data.sizing import Sizing
from segrun.data.splits import SplitSettings, split
from segrun.data.survey import Survey, survey
from segrun.engine.checkpoint import Checkpoint
from segrun.engine.device import accelerator, autocast, forget_peak_memory, memory_layout
from segrun.engine.evaluate import Evaluation, evaluate
from segrun.engine.events import Event
from segrun.engine.files import folder as make_folder
from segrun.engine.files import new_folder
from segrun.engine.inference import Inference
from segrun.engine.loop import fit
from segrun.engine.recipe import Data, Recipe
from segrun.engine.settings import TrainerSettings
from segrun.errors import Interrupted, RequestError, listed
from segrun.report.console import TrainingReport, counting
from segrun.report.metrics_file import MetricsFile
from segrun.report.trackers import Observer, tracked
from segrun.tasks.balance import Balance


def train(values: dict[str, Any], folder: Path, fresh: bool, saved: Checkpoint | None, trust: assemble.Trust) -> Scored:
    """Carry a config out in `folder`, or in a new one beside it where `fresh` is asked for and it is taken; gives the
    folder, and the scores of the best epoch on val and test.

    Raises:
        SegrunError: see segrun.errors; nothing is written before config, data and plan have been checked.
    """
    settings = config.typed(values["trainer"], TrainerSettings, "trainer")
    device = prepare(settings)
    torch.manual_seed(values["seed"])
    with device.main_process_first():  # one process fetches what dataset.download asks for
        data = assemble.dataset(values, trust)
    if data.splits and not data.splits.get("train"):
        raise RequestError(f"the data set has no train images, only those of {listed(data.splits)}.")
    sizing = assemble.sizing(values)
    auxiliary = assemble.auxiliary(values, data.labels, trust)
    tasks = assemble.tasks(values, auxiliary, trust)
    balance: Balance = config.build(values.get("balance"), "balance", trust=trust)
    balance.begin({t.name: t.regression for t in tasks}, {t.name: t.weight for t in tasks}, device.device)
    strategy = assemble.strategy(values, trust)
    augment: Augment = config.build(values.get("augment"), "augment", trust=trust)
    optimizer = config.build(values.get("optimizer"), "optimizer", trust=trust)
    schedule = config.build(values.get("schedule"), "schedule", trust=trust)
    trackers = {
        name: config.build(values["tracker"][name], f"tracker.{name}", trust=trust)
        for name in values.get("tracker") or {}
    }
    with device.main_process_first():  # one process fetches the weights
        model, resume, notes = networks.begun(values, data.classes, data.channels, saved, trust, auxiliary, strategy)
    if settings.save == "delta" and not model.report.came:
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
    primary.loss.weigh(pixels.sum(0))
    if not saved:
        model.expect(primary.loss.shares(pixels.sum(0)))
    for task in tasks:
        task.loss.to(device.device)
    feed = Feed(data, auxiliary, sizing, augment, settings, values["seed"], device)
    feed.try_out()
    data.notes = [*data.notes, *feed.notes(found.of(names).sizes)]
    for each in auxiliary.values():
        each.check(pixels, len(data.classes))
        each.check_names(names)

    if device.is_main_process:
        folder = new_folder(folder) if fresh else make_folder(folder)
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
                    model, plan, tasks, Recipe(settings, optimizer, schedule, values["seed"], balance),
                    Data(feed, settings.steps_per_epoch(len(names)), look), run.store(), device,
                    tell, resume,
                )  # fmt: skip
            except Interrupted as stop:
                raise Interrupted(f"{stop} Go on with: segrun train resume={folder}") from None
        return run.end(plan, progress, inference, score, partial(feed.primary, 0), feed.several)


def surveyed(data: Dataset, values: Mapping[str, Any], saved: Checkpoint | None) -> Survey:
    """What a look at every image and mask saw, but for a test split that is to stay unread. `data` is split then: as it
    was where a run goes on, anew otherwise, and `data.notes` hold what is to be said of it."""
    if saved is None:  # first, since a look may take an hour
        splitting = config.typed(values["split"], SplitSettings, "split")
        rules = config.typed(values["rules"], Rules, "rules")
    apart = not values.get("test", True) and (saved or values["split"]["file"] is None)  # a file may name any image
    unread = frozenset((saved.splits if saved else data.splits).get("test", ()) if apart else ())
    names = [name for name in data.names if name not in unread]
    with counting("looking at every image and mask", len(names)) as tick:
        found = survey(data, names, tick)
    if saved:
        data.use(saved.splits)
    else:
        splits, said = split(data, found.names, splitting, found.pixels > 0, found.digests)
        data.use({key: names for key, names in splits.items() if not (unread and key == "test")})
        data.notes = [*data.notes, *found.notes, *said, *before_training(data, found, rules)]
        data.use(splits)
    return found


def limit(data: Dataset, found: Survey, values: Mapping[str, Any], sizing: Sizing) -> None:
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
    forget_peak_memory(device.device.type == "cuda")
    return device
