"""The training loop: phases in, events out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim.swa_utils import AveragedModel

from segrun.checkpoints.checkpoint import Progress
from segrun.checkpoints.snapshots import START
from segrun.data.loader.batches import derive_seed
from segrun.device import memory_layout
from segrun.engine.average import moving_average
from segrun.engine.batch_preview import measured_rates, probe
from segrun.engine.objective import Objective, bind, compared
from segrun.engine.optimizers import grouped, named_state, restore_state, set_rates
from segrun.engine.recipe import CheckpointSink, EpochData, TrainRecipe, curves
from segrun.engine.selection import update_best
from segrun.engine.signals import Stop
from segrun.engine.step import step
from segrun.errors import Interrupted
from segrun.events import Emit, EpochDone, PhaseEnded, PhaseStarted, StepDone
from segrun.models.segmenter import Segmenter
from segrun.tasks.task import Task
from segrun.transfer.apply import FreezeAudit, set_modes, set_trainable
from segrun.transfer.plan import Phase, Plan
from segrun.types import Batch


def fit(
    model: Segmenter,
    plan: Plan,
    tasks: Sequence[Task],
    recipe: TrainRecipe,
    data: EpochData,
    store: CheckpointSink,
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
    settings, balance = recipe.settings, recipe.balance
    plan.check(model.parts())
    layout = memory_layout(settings.channels_last, accelerator.device.type == "cuda")
    model.to(accelerator.device, memory_format=layout)  # type: ignore[call-overload]
    progress = Progress(**resume["progress"]) if resume else Progress()
    average = moving_average(model, settings.ema, resume and resume["average"])
    if resume:
        balance.load_state_dict(resume["balance"])
        if accelerator.scaler is not None and resume.get("scaler"):
            accelerator.scaler.load_state_dict(resume["scaler"])
    store.snapshots.get_or_create(START, None if resume else model.state_dict)
    training = _Training(
        model, plan, tasks, recipe, data, store, accelerator, emit, progress, average,
        dict(resume["optimizer"]) if resume else {}, dict(resume["rates"]) if resume else {},
        lambda: data.batches(progress.step * settings.accumulate),
    )  # fmt: skip
    last_epoch = 0
    try:
        for index, phase in enumerate(plan.phases):
            last_epoch += phase.epochs
            if progress.epoch < last_epoch and not progress.ended:
                training.phase(index, phase, last_epoch)
    finally:
        training.batches = iter(())  # the loader's workers end with the stream, whoever still holds a traceback
    return progress


@dataclass
class _Training:
    """A training under way. optimizer_state, rates: by parameter name, over the change of phases; upcoming: the stream
    from the batch on that the next step begins with."""

    model: Segmenter
    plan: Plan
    tasks: Sequence[Task]
    recipe: TrainRecipe
    data: EpochData
    store: CheckpointSink
    accelerator: Accelerator
    emit: Emit
    progress: Progress
    average: AveragedModel | None
    optimizer_state: dict[str, dict[str, Any]]
    rates: dict[str, float]
    upcoming: Callable[[], Iterator[Batch]]

    def __post_init__(self) -> None:
        self.settings, self.parts = self.recipe.settings, self.model.parts()
        self.ends = [sum(self.data.steps[: epoch + 1]) for epoch in range(len(self.data.steps))]
        self.curves = curves(self.plan, [0, *self.ends])
        self.batches = self.upcoming()
        primary = next(task for task in self.tasks if task.primary)
        self.probe = probe(self.upcoming, primary, self.settings, self.accelerator)

    @property
    def kept(self) -> nn.Module:
        """The weights that are scored and kept."""
        return self.average.module if self.average else self.model

    def phase(self, index: int, phase: Phase, last_epoch: int) -> None:
        model, accelerator, parts = self.model, self.accelerator, self.parts
        self.index, self.last_epoch = index, last_epoch
        self.learning = set_trainable(model, parts, phase)
        self.optimizer = self.recipe.optimizer(
            grouped(model, self.learning, self.recipe.optimizer, self.settings.decay_1d, apart=phase.rates is not None)
            + self._balance_group()
        )
        restore_state(self.optimizer, self.optimizer_state)
        self.objective = self._objective(phase)
        self.audit = FreezeAudit(model, parts, phase)
        wrapped = torch.compile(model) if self.settings.compile else model
        self.trained, self.prepared = accelerator.prepare(wrapped, self.optimizer)
        self.emit(PhaseStarted(phase, index, sum(p.numel() for p in model.parameters() if p.requires_grad)))
        with Stop() as stop:
            for epoch in range(self.progress.epoch, last_epoch):
                self.epoch(epoch, phase, stop)
                if self.progress.ended:
                    break
        self.emit(PhaseEnded(phase, self.audit.check()))
        self.optimizer_state = named_state(self.optimizer)
        accelerator.unwrap_model(self.trained, keep_fp32_wrapper=False)
        accelerator._models.clear()
        accelerator._optimizers.clear()

    def epoch(self, epoch: int, phase: Phase, stop: Stop) -> None:
        progress = self.progress
        if phase.rates is not None:
            if progress.step == self.ends[epoch] - self.data.steps[epoch]:  # within an epoch the stored ones hold
                self.rates = dict(measured_rates(self.model, phase.rates, self.probe, self.accelerator))
            set_rates(self.optimizer, self.learning, self.rates)
        set_modes(self.model, self.parts, phase)
        while progress.step < self.ends[epoch]:
            self.step(epoch, stop)
        progress.epoch = epoch + 1
        balance = self.recipe.balance
        means = {name: value / self.data.steps[epoch] for name, value in progress.losses.items()}
        weights = balance.weights()
        balance.epoch_done({task.name: means[task.name] for task in self.tasks})
        looked, better = None, False
        if progress.epoch % self.settings.eval_every == 0 or progress.epoch == self.plan.epochs:
            if self.accelerator.num_processes > 1:  # each has its own batch statistics; the first one's are kept
                for buffer in self.kept.buffers():
                    torch.distributed.broadcast(buffer, 0)
            looked = self.data.evaluate(self.kept)
            better = update_best(progress, looked, self.settings, last_phase=phase is self.plan.phases[-1])
        self.emit(
            EpochDone(
                epoch=progress.epoch,
                epochs=self.plan.epochs,
                phase=phase.name,
                step=progress.step,
                loss=progress.loss / self.data.steps[epoch],
                losses=means,
                weights=weights if len(self.tasks) > 1 else {},
                lr=self._rates(phase, self.lr(progress.step - 1, epoch)),
                seconds=progress.seconds,
                images_per_second=progress.images / max(progress.seconds, 1e-9),
                val=looked.scores if looked else None,
                val_loss=looked.loss if looked else None,
                best=better,
            )
        )
        progress.total_seconds += progress.seconds
        progress.loss, progress.losses, progress.seconds, progress.images = 0.0, {}, 0.0, 0
        if better:
            self.store.best(self.kept, progress)
        if phase.keep and (progress.ended or progress.epoch == self.last_epoch):  # a resume begins behind the phase
            self.store.snapshots.get_or_create(f"phase{self.index}", self.kept.state_dict)
        self.save()
        if any_rank_stopping(stop.asked, self.accelerator):
            raise Interrupted(f"Interrupted after epoch {progress.epoch} of {self.plan.epochs}; the state is saved.")

    def step(self, epoch: int, stop: Stop) -> None:
        progress, accelerator, seed = self.progress, self.accelerator, self.recipe.seed
        began = time.perf_counter()
        window = [next(self.batches) for _ in range(self.settings.accumulate)]
        lr = self.lr(progress.step, epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]
        torch.manual_seed(derive_seed(seed, progress.step, accelerator.process_index))
        done = step(
            self.trained, self.prepared, self.objective, window, self.settings, accelerator,
            stopping=stop.asked, seed=derive_seed(seed, progress.step),
        )  # fmt: skip
        if self.average:
            self.average.update_parameters(self.model)
        images = sum(map(len, window)) * accelerator.num_processes
        progress.step += 1
        progress.loss += done.loss
        progress.losses = {name: progress.losses.get(name, 0.0) + value for name, value in done.each.items()}
        progress.images += images
        progress.seconds += time.perf_counter() - began
        self.emit(StepDone(progress.step, self.ends[-1], epoch + 1, done.loss, lr, images))
        if done.stopping:
            self.audit.check()
            self.save()
            raise Interrupted(f"Interrupted after step {progress.step} of {self.ends[-1]}; the state is saved.")

    def lr(self, step: int, epoch: int) -> float:
        return self.recipe.lr(step, *self.curves[epoch])

    def _rates(self, phase: Phase, lr: float) -> dict[str, float]:
        """By part; where each tensor has its own, their mean."""
        found = {}
        for part, how in phase.learn.items():
            measured = [self.rates.get(p.name, 1.0) for p in self.parts[part].parameters if p.kind in how.kinds]
            found[part] = lr * how.lr_scale * (fmean(measured) if phase.rates else 1.0)
        return found

    def save(self) -> None:
        scaler = self.accelerator.scaler
        self.store.last(
            self.model.state_dict(),
            {
                "progress": asdict(self.progress),
                "optimizer": named_state(self.optimizer),
                "average": self.average.state_dict() if self.average else None,
                "balance": self.recipe.balance.state_dict(),
                "rates": self.rates,
                "scaler": scaler.state_dict() if scaler else None,
            },
        )

    def _objective(self, phase: Phase) -> Objective:
        phases, balance = self.plan.phases, self.recipe.balance
        first = [0, *self.ends][sum(before.epochs for before in phases[: self.index])]
        bound = {}
        for term in phase.terms:
            begun = self.progress.step > first or any(term in before.terms for before in phases[: self.index])
            bound[term.name] = bind(term, self.model, self.store.snapshots, self.probe, begun, self.accelerator)
        return Objective(self.tasks, balance, bound, compared(self.model, self.tasks, balance, self.probe))

    def _balance_group(self) -> list[dict[str, Any]]:
        learnt = self.recipe.balance.parameters()
        if not learnt:
            return []
        names = [f"balance.{i}" for i in range(len(learnt))]
        return [
            {"params": learnt, "names": names, "lr_scale": 1.0, "weight_decay": 0.0, "lr": self.recipe.optimizer.lr}
        ]


def any_rank_stopping(asked: bool, accelerator: Accelerator) -> bool:
    """Whether any process was told to stop."""
    flag = torch.tensor(float(asked), device=accelerator.device)
    return bool(accelerator.reduce(flag, "sum") if accelerator.num_processes > 1 else flag)
