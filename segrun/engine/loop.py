"""The training loop: phases in, events out."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from segrun.data.loading import mixed
from segrun.engine.average import moving_average
from segrun.engine.checkpoint import Progress
from segrun.engine.device import memory_layout
from segrun.engine.evaluate import Evaluation
from segrun.engine.events import Emit, EpochDone, PhaseBegan, PhaseEnded, StepDone
from segrun.engine.optimizers import OptimizerFactory, grouped, named_state, restore_state
from segrun.engine.schedules import Schedule
from segrun.engine.settings import TrainerSettings
from segrun.engine.signals import Stop
from segrun.engine.step import step
from segrun.errors import Interrupted
from segrun.models.segmenter import Segmenter
from segrun.tasks.task import Task
from segrun.transfer.apply import Audit, free, set_modes
from segrun.transfer.plan import Phase, Plan
from segrun.types import Batch


@dataclass(frozen=True)
class Recipe:
    """What is tuned, beside the plan."""

    settings: TrainerSettings
    optimizer: OptimizerFactory
    schedule: Schedule
    seed: int

    def lr(self, step: int, start: int, total: int) -> float:
        """The base rate at a step of the run, for a curve of `total` steps that began at `start`."""
        return self.optimizer.lr * self.schedule(step - start, total)


@dataclass(frozen=True)
class Data:
    """batches(start): the endless stream from batch `start` on; steps: optimizer steps of each epoch;
    evaluate: score val."""

    batches: Callable[[int], Iterator[Batch]]
    steps: Sequence[int]
    evaluate: Callable[[nn.Module], Evaluation]


@dataclass(frozen=True)
class Store:
    """Where states go. last(weights, training) after each epoch; best(weights, progress) after a best one."""

    last: Callable[[Mapping[str, Tensor], Mapping[str, Any]], None]
    best: Callable[[Mapping[str, Tensor], Progress], None]


def fit(
    model: Segmenter,
    plan: Plan,
    tasks: Sequence[Task],
    recipe: Recipe,
    data: Data,
    store: Store,
    accelerator: Accelerator,
    emit: Emit,
    resume: Mapping[str, Any] | None = None,
) -> Progress:
    """Carry the plan out; the model ends with the last step's weights, `store.best` has had the best ones.

    resume: the `training` of a last.ckpt, whose weights the model already holds. The result is bit for bit
    that of an uninterrupted run (same device kind, deterministic operations).

    Raises:
        SegrunError: a loss that is no number, or a failed freeze audit; the last epoch's state is stored.
        Interrupted: after Ctrl-C or SIGTERM, when the state is stored.
    """
    settings = recipe.settings
    parts = model.parts()
    plan.check(parts)
    layout = memory_layout(settings.channels_last, accelerator.device.type == "cuda")
    model.to(accelerator.device, memory_format=layout)  # type: ignore[call-overload]
    progress = Progress(**resume["progress"]) if resume else Progress()
    optimizer_state = dict(resume["optimizer"]) if resume else {}
    average = moving_average(model, settings.ema, resume and resume["average"])
    ends = [sum(data.steps[: epoch + 1]) for epoch in range(len(data.steps))]
    curve = _segments(plan, [0, *ends])
    batches = data.batches(progress.step * settings.accumulate)
    if resume and accelerator.scaler is not None and resume.get("scaler"):
        accelerator.scaler.load_state_dict(resume["scaler"])

    first_epoch = 0
    for index, phase in enumerate(plan.phases):
        last_epoch = first_epoch + phase.epochs
        if progress.epoch >= last_epoch or progress.ended:
            first_epoch = last_epoch
            continue
        learning = free(model, parts, phase)
        optimizer = recipe.optimizer(grouped(model, learning, recipe.optimizer, settings.decay_1d))
        restore_state(optimizer, optimizer_state)
        audit = Audit(model, parts, phase)
        trained = torch.compile(model) if settings.compile else model
        trained, prepared = accelerator.prepare(trained, optimizer)
        emit(PhaseBegan(phase, index, sum(p.numel() for p in model.parameters() if p.requires_grad)))

        def state(optimizer: torch.optim.Optimizer = optimizer) -> dict[str, Any]:
            return {
                "progress": asdict(progress),
                "optimizer": named_state(optimizer),
                "average": average.state_dict() if average else None,
                "scaler": accelerator.scaler.state_dict() if accelerator.scaler else None,
            }

        with Stop() as stop:
            for epoch in range(progress.epoch, last_epoch):
                set_modes(model, parts, phase)
                while progress.step < ends[epoch]:
                    began = time.perf_counter()
                    window = [next(batches) for _ in range(settings.accumulate)]
                    lr = recipe.lr(progress.step, *curve[epoch])
                    for group in optimizer.param_groups:
                        group["lr"] = lr * group["lr_scale"]
                    torch.manual_seed(mixed(recipe.seed, progress.step, accelerator.process_index))
                    loss, stopping = step(trained, prepared, tasks, window, settings, accelerator, stop.asked)
                    if average:
                        average.update_parameters(model)
                    images = sum(map(len, window)) * accelerator.num_processes
                    progress.step += 1
                    progress.loss += loss
                    progress.images += images
                    progress.seconds += time.perf_counter() - began
                    emit(StepDone(progress.step, ends[-1], epoch + 1, loss, lr, images))
                    if stopping:
                        audit.check()
                        store.last(model.state_dict(), state())
                        raise Interrupted(f"Interrupted after step {progress.step} of {ends[-1]}; the state is saved.")

                progress.epoch = epoch + 1
                lr = recipe.lr(progress.step - 1, *curve[epoch])
                kept = average.module if average else model
                looked = None
                better = False
                if progress.epoch % settings.eval_every == 0 or progress.epoch == plan.epochs:
                    if accelerator.num_processes > 1:  # each has its own batch statistics; the first one's are kept
                        for buffer in kept.buffers():
                            torch.distributed.broadcast(buffer, 0)
                    looked = data.evaluate(kept)
                    better = judge(progress, looked, settings, last_phase=phase is plan.phases[-1])
                emit(_epoch_done(progress, plan, phase, lr, data.steps[epoch], looked, better))
                progress.total_seconds += progress.seconds
                progress.loss, progress.seconds, progress.images = 0.0, 0.0, 0
                if better:
                    store.best(kept.state_dict(), progress)
                store.last(model.state_dict(), state())
                if told(stop.asked, accelerator):
                    raise Interrupted(f"Interrupted after epoch {progress.epoch} of {plan.epochs}; the state is saved.")
                if progress.ended:
                    break
        emit(PhaseEnded(phase, audit.check()))
        optimizer_state = named_state(optimizer)
        accelerator.unwrap_model(trained, keep_fp32_wrapper=False)
        accelerator._models.clear()
        accelerator._optimizers.clear()
        first_epoch = last_epoch
    return progress


def told(asked: bool, accelerator: Accelerator) -> bool:
    """Whether any process was told to stop."""
    flag = torch.tensor(float(asked), device=accelerator.device)
    return bool(accelerator.reduce(flag, "sum") if accelerator.num_processes > 1 else flag)


def judge(progress: Progress, looked: Evaluation, settings: TrainerSettings, last_phase: bool) -> bool:
    """Whether this epoch is the best so far; `progress.ended` where patience is at its end."""
    score = monitored(looked, settings.monitor)
    better = progress.best is None or score > progress.best
    if better:
        progress.best, progress.best_epoch = score, progress.epoch
    progress.misses = 0 if better or not last_phase else progress.misses + 1
    progress.ended = settings.patience is not None and progress.misses >= settings.patience
    return better


def monitored(looked: Evaluation, monitor: str) -> float:
    """The score to maximise."""
    if monitor == "loss":
        return -float(looked.loss if looked.loss is not None else math.inf)
    scores = looked.scores
    value = float(scores.dice.nanmean()) if monitor == "mdice" else float(getattr(scores, monitor))
    return value if math.isfinite(value) else -1.0


def _segments(plan: Plan, ends: Sequence[int]) -> list[tuple[int, int]]:
    """For every epoch, the step its learning-rate curve began at and the steps the curve spans."""
    starts: list[int] = []
    epoch = 0
    for phase in plan.phases:
        if phase.schedule == "restart" or not starts:
            starts.append(epoch)
        epoch += phase.epochs
    bounds = [*starts, epoch]
    return [
        (ends[start], ends[end] - ends[start]) for start, end in itertools.pairwise(bounds) for _ in range(start, end)
    ]


def _epoch_done(
    progress: Progress, plan: Plan, phase: Phase, lr: float, steps: int, looked: Evaluation | None, best: bool
) -> EpochDone:
    return EpochDone(
        epoch=progress.epoch,
        epochs=plan.epochs,
        phase=phase.name,
        step=progress.step,
        loss=progress.loss / steps,
        lr={part: lr * how.lr_scale for part, how in phase.learn.items()},
        seconds=progress.seconds,
        images_per_second=progress.images / max(progress.seconds, 1e-9),
        val=looked.scores if looked else None,
        val_loss=looked.loss if looked else None,
        best=best,
    )
