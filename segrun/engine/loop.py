"""The training loop: carries the phases of a plan out and emits events."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.swa_utils import AveragedModel

from segrun.checkpoints.snapshots import START
from segrun.data.loader.seeds import derive_seed
from segrun.device import any_rank_stopping, copy_from_first_process, memory_layout, release_prepared
from segrun.engine.batch_preview import make_batch_preview, measure_lr_multipliers
from segrun.engine.ema import make_ema
from segrun.engine.objective import make_objective
from segrun.engine.optimizers import (
    State,
    balance_group,
    lr_by_part,
    named_state,
    parameter_groups,
    restore_state,
    set_lr_multipliers,
)  # fmt: skip
from segrun.engine.progress import Progress, epoch_done
from segrun.engine.recipe import BatchStream, CheckpointSink, EpochData, TrainRecipe, epoch_segments
from segrun.engine.selection import update_best
from segrun.engine.signals import StopSignal
from segrun.engine.state import restore_balance_and_scaler, training_state
from segrun.engine.step import train_step
from segrun.errors import Interrupted
from segrun.events import Emit, PhaseEnded, PhaseStarted, StepDone
from segrun.models.segmenter import Segmenter
from segrun.tasks.task import Task
from segrun.transfer.apply import FreezeAudit, set_modes, set_trainable
from segrun.transfer.plan import Phase, Plan

if TYPE_CHECKING:  # accelerate takes a second to import
    from accelerate import Accelerator


def fit(
    model: Segmenter,
    plan: Plan,
    tasks: Sequence[Task],
    recipe: TrainRecipe,
    data: EpochData,
    sink: CheckpointSink,
    accelerator: Accelerator,
    emit: Emit,
    resume: Mapping[str, Any] | None = None,
) -> Progress:
    """Carry a plan out. The model ends with the weights of the last step; `sink.save_best` has received the best ones.

    Args:
        model: The model with its initial weights, or with those of the last.ckpt to resume from.
        plan: The phases.
        tasks: The tasks, one of them primary.
        recipe: How the model is trained.
        data: Training batches and evaluation.
        sink: Where states are stored.
        accelerator: Device, precision and processes.
        emit: Receives the events.
        resume: `training` of the last.ckpt. On the same kind of device and with deterministic operations, the result
            is bit for bit that of an uninterrupted run.

    Raises:
        SegrunError: The loss is not finite, or frozen tensors have changed. The state of the last epoch is stored.
        Interrupted: After Ctrl-C or SIGTERM, when the state has been stored.
    """
    settings = recipe.settings
    plan.check(model.parts())
    layout = memory_layout(settings.channels_last, accelerator.device.type == "cuda")
    model.to(accelerator.device, memory_format=layout)  # type: ignore[call-overload]
    progress = Progress(**resume["progress"]) if resume else Progress()
    ema = make_ema(model, settings.ema, resume["average"] if resume else None)
    if resume:
        restore_balance_and_scaler(resume, recipe.balance, accelerator)
    sink.snapshots.get_or_create(START, None if resume else model.state_dict)
    optimizer_state = dict(resume["optimizer"]) if resume else {}
    lr_multipliers = dict(resume["rates"]) if resume else {}
    training = _Training(
        model, plan, tasks, recipe, data, sink, accelerator, emit, progress, ema, optimizer_state, lr_multipliers
    )
    end_epoch = 0
    try:
        for index, phase in enumerate(plan.phases):
            end_epoch += phase.epochs
            if progress.epoch < end_epoch and not progress.ended:
                training.run_phase(index, phase, end_epoch)
    finally:
        training.batches.close()
    return progress


@dataclass
class _Training:
    """The state of a running training.

    Attributes:
        optimizer_state: Optimizer state at the end of the previous phase, by parameter name.
        lr_multipliers: Measured LR multipliers of the current epoch, by parameter name.
    """

    model: Segmenter
    plan: Plan
    tasks: Sequence[Task]
    recipe: TrainRecipe
    data: EpochData
    sink: CheckpointSink
    accelerator: Accelerator
    emit: Emit
    progress: Progress
    ema: AveragedModel | None
    optimizer_state: State
    lr_multipliers: dict[str, float]

    def __post_init__(self) -> None:
        self.settings, self.parts = self.recipe.settings, self.model.parts()
        self.epoch_ends = [sum(self.data.steps[: epoch + 1]) for epoch in range(len(self.data.steps))]  # in steps
        self.segments = epoch_segments(self.plan, self.data.steps)
        self.batches = self.upcoming_batches()
        primary = next(task for task in self.tasks if task.primary)
        self.preview = make_batch_preview(self.upcoming_batches, primary, self.settings, self.accelerator)

    def upcoming_batches(self) -> BatchStream:
        """A new stream that starts with the first batch of the next step."""
        return self.data.batches(self.progress.step * self.settings.accumulate)

    @property
    def evaluated_model(self) -> torch.nn.Module:
        """The model whose weights are evaluated and kept: the moving average, if there is one."""
        return self.ema.module if self.ema else self.model

    def run_phase(self, index: int, phase: Phase, end_epoch: int) -> None:
        """Train up to the end of a phase, whose last epoch has the number `end_epoch`."""
        model, accelerator, balance = self.model, self.accelerator, self.recipe.balance
        self.phase, self.phase_index, self.end_epoch = phase, index, end_epoch
        self.trained = set_trainable(model, self.parts, phase)
        factory, per_tensor = self.recipe.optimizer, phase.lr_multipliers is not None
        groups = parameter_groups(model, self.trained, factory, self.settings.decay_1d, per_tensor)
        self.optimizer = factory([*groups, *balance_group(balance.parameters(), factory)])
        restore_state(self.optimizer, self.optimizer_state)
        has_started = self.progress.step > sum(self.data.steps[: end_epoch - phase.epochs])
        self.objective = make_objective(
            model, self.plan, index, self.tasks, balance, self.sink.snapshots, self.preview, has_started, accelerator
        )
        self.audit = FreezeAudit(model, self.parts, phase)
        compiled = torch.compile(model) if self.settings.compile else model
        self.prepared_model, self.prepared_optimizer = accelerator.prepare(compiled, self.optimizer)
        num_trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        self.emit(PhaseStarted(phase.name, index, num_trained))
        with StopSignal() as stop:
            for epoch in range(self.progress.epoch, end_epoch):
                self.run_epoch(epoch, stop)
                if self.progress.ended:
                    break
        self.emit(PhaseEnded(phase.name, self.audit.check()))
        self.optimizer_state = named_state(self.optimizer)
        release_prepared(accelerator, self.prepared_model)

    def run_epoch(self, epoch: int, stop: StopSignal) -> None:
        """Train up to the end of an epoch (from 0), evaluate it and store the state."""
        progress, phase, steps = self.progress, self.phase, self.data.steps[epoch]
        if phase.lr_multipliers is not None:
            is_epoch_start = progress.step == self.epoch_ends[epoch] - steps
            if is_epoch_start:  # a run that is resumed within an epoch has stored those of its start
                rule = phase.lr_multipliers
                self.lr_multipliers = measure_lr_multipliers(self.model, rule, self.preview, self.accelerator)
            set_lr_multipliers(self.optimizer, self.trained, self.lr_multipliers)
        set_modes(self.model, self.parts, phase)
        while progress.step < self.epoch_ends[epoch]:
            self.run_step(epoch, stop)
        evaluation, is_best = None, False
        if (epoch + 1) % self.settings.eval_every == 0 or epoch + 1 == self.plan.epochs:
            # each process has its own batch-norm statistics; those of the first one are kept
            copy_from_first_process(self.accelerator, self.evaluated_model.buffers())
            with self.saved_if_ended(stop):
                evaluation = self.data.evaluate(self.evaluated_model)
        progress.epoch = epoch + 1
        task_weights = self.recipe.balance.weights() if len(self.tasks) > 1 else {}
        self.recipe.balance.end_epoch({task.name: progress.losses[task.name] / steps for task in self.tasks})
        if evaluation is not None:
            is_best = update_best(progress, evaluation, self.settings, last_phase=phase is self.plan.phases[-1])
        lr = lr_by_part(phase, self.parts, self.recipe.lr(progress.step - 1, self.segments[epoch]), self.lr_multipliers)
        self.emit(epoch_done(progress, phase.name, self.plan.epochs, steps, task_weights, lr, evaluation, is_best))
        progress.finish_epoch()
        if is_best:
            self.sink.save_best(self.evaluated_model, progress)
        is_phase_end = progress.ended or progress.epoch == self.end_epoch
        if phase.keep_weights and is_phase_end:  # before save_last, after which a resume continues with the next phase
            self.sink.snapshots.get_or_create(f"phase{self.phase_index}", self.evaluated_model.state_dict)
        self.save_last()
        if any_rank_stopping(stop.requested, self.accelerator):
            raise Interrupted(f"Interrupted after epoch {progress.epoch} of {self.plan.epochs}; the state is saved.")

    def run_step(self, epoch: int, stop: StopSignal) -> None:
        """One optimizer step."""
        progress, accelerator, seed = self.progress, self.accelerator, self.recipe.seed
        start_time = time.perf_counter()
        with self.saved_if_ended(stop):
            window = [next(self.batches) for _ in range(self.settings.accumulate)]
        lr = self.recipe.lr(progress.step, self.segments[epoch])
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_multiplier"]
        # new random numbers at each step, so that a resumed run draws those of an uninterrupted one
        torch.manual_seed(derive_seed(seed, progress.step, accelerator.process_index))
        result = train_step(
            self.prepared_model, self.prepared_optimizer, self.objective, window, self.settings, accelerator,
            stopping=stop.requested, seed=derive_seed(seed, progress.step),
        )  # fmt: skip
        if self.ema:
            self.ema.update_parameters(self.model)
        images = sum(len(batch) for batch in window) * accelerator.num_processes
        progress.add_step(result.loss, result.losses, images)
        progress.seconds += time.perf_counter() - start_time
        self.emit(StepDone(progress.step, self.epoch_ends[-1], epoch + 1, result.loss, lr, images))
        if result.stopping:
            self.save_and_stop()

    @contextlib.contextmanager
    def saved_if_ended(self, stop: StopSignal) -> Iterator[None]:
        """What is done between two steps: if it fails, the state after the last step is stored.

        A signal ends it at once, except where several processes have to agree on the step after which they stop.
        """
        try:
            with stop.at_once() if self.accelerator.num_processes == 1 else contextlib.nullcontext():
                yield
        except KeyboardInterrupt:
            self.save_and_stop()
        except Exception:
            self.save_last()
            raise

    def save_and_stop(self) -> None:
        """Store the state after a step, if what was frozen is unchanged."""
        self.audit.check()
        self.save_last()
        raise Interrupted(f"Interrupted after step {self.progress.step} of {self.epoch_ends[-1]}; the state is saved.")

    def save_last(self) -> None:
        """Store weights and training state in last.ckpt."""
        progress, balance = self.progress, self.recipe.balance
        state = training_state(progress, self.optimizer, self.ema, balance, self.lr_multipliers, self.accelerator)
        self.sink.save_last(self.model.state_dict(), state)
