"""The terminal: plans before, progress during, tables after."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from segrun.events import EpochDone, Event, PhaseEnded, PhaseStarted, StepDone
from segrun.report.tables import class_table, percent

if TYPE_CHECKING:
    from segrun.checkpoints.checkpoint import Progress as Training
    from segrun.metrics import Scores


@functools.cache
def _console(stream: Any) -> Console:
    return Console(file=stream, width=None if stream.isatty() else 110)


def console() -> Console:
    return _console(sys.stdout)


def print_line(line: str, style: str | None = None) -> None:
    """A line as it is: paths and names hold what Rich would take for markup, or break."""
    console().print(line, style=style, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar over `total` things; call what is yielded with how many are done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(), transient=True, disable=not sys.stdout.isatty()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)


class TrainingReport:
    """A bar for the steps on a terminal; a line an epoch everywhere."""

    def __init__(self) -> None:
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  rate {task.fields[lr]:.1e}  {task.fields[speed]:.1f} images/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console(),
            transient=True,
            disable=not sys.stdout.isatty(),
        )
        self.task = self.bar.add_task("", total=None, epoch=1, loss=float("nan"), lr=0.0, speed=0.0)
        self.bar.start()

    def __call__(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            console().print(
                f"phase {event.index + 1} ({event.phase.name}): {event.parameters:,} parameters learn", highlight=False
            )
        elif isinstance(event, StepDone):
            speed = event.images * (self.bar.tasks[0].speed or 0)
            self.bar.update(
                self.task,
                completed=event.step,
                total=event.steps,
                epoch=event.epoch,
                loss=event.loss,
                lr=event.lr,
                speed=speed,
            )
        elif isinstance(event, EpochDone):
            scores = "" if event.val is None else f"  val mIoU {percent(event.val.miou)}" + (" *" if event.best else "")
            console().print(
                f"epoch {event.epoch:>3}/{event.epochs}  loss {event.loss:.3f}  "
                f"{event.images_per_second:.1f} images/s  {event.seconds:.0f} s{scores}",
                highlight=False,
            )
        elif isinstance(event, PhaseEnded) and event.audited:
            console().print(
                f"freeze audit: {event.audited} frozen tensors are bit for bit as they were", highlight=False
            )

    def close(self) -> None:
        self.bar.stop()


def show_result(
    scores: Scores,
    split: str,
    summaries: Mapping[str, Any],
    cost: Mapping[str, Any],
    drift: Mapping[str, float],
    folder: Path,
    progress: Training,
) -> None:
    """The table a class, what it cost, where everything is, and what to type next."""
    out = console()
    out.print(class_table(scores, f"{split} split, best epoch {progress.best_epoch} (chosen on val)"))
    shown = "  ".join(f"{name} mIoU {percent(found['miou'])}" for name, found in summaries.items())
    out.print(f"{shown}  {split} pixel accuracy {percent(scores.accuracy)}", highlight=False)
    share = cost["parameters_trained"] / cost["parameters_total"]
    out.print(
        f"cost: {cost['parameters_trained']:,} of {cost['parameters_total']:,} parameters trained ({share:.0%}), "
        f"{cost['seconds']:.0f} s, {cost['seconds_per_step']:.2f} s a step, {cost['images_per_second']:.1f} images/s, "
        f"checkpoint {cost['checkpoint_bytes'] / 1e6:.1f} MB"
        + (f", {cost['peak_memory_bytes'] / 2**30:.1f} GiB at most" if cost["peak_memory_bytes"] else ""),
        highlight=False,
        soft_wrap=True,
    )
    moved = "  ".join(f"{part.removeprefix('backbone.')} {share:.1%}" for part, share in drift.items())
    out.print(f"drift from the start: {moved}", highlight=False, markup=False, soft_wrap=True)
    out.print(f"run folder: {folder}", highlight=False, soft_wrap=True, markup=False)
    quoted = f"'{folder}/best.ckpt'" if " " in str(folder) else f"{folder}/best.ckpt"
    out.print(
        f"next: segrun predict checkpoint={quoted} input=<photos> output=<masks>",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
