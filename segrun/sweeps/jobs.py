"""Jobs of a sweep. A job's folder is a function of its config, so that the same command again skips what has ended and
continues the rest. What became of a job is read from its folder, whichever process ran it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from segrun.comparison.result_files import read_result
from segrun.config.build import to_dataclass
from segrun.config.compose import in_other_process
from segrun.config.recorded import RecordedConfig
from segrun.errors import DataError, Interrupted, RequestError, SegrunError
from segrun.experiment.request import RunSettings
from segrun.files import ensure_dir, write_text
from segrun.names import visible
from segrun.report.formats import percent
from segrun.report.terminal import console, print_line
from segrun.runs.lock import InUseError, lock

ERROR, LOG = "error.txt", "log.txt"


@dataclass(frozen=True)
class Job:
    """One training of a sweep.

    Attributes:
        overrides: The words that ask for it.
        folder: Its run folder.
        initial_state: Its state when the sweep began.
    """

    overrides: tuple[str, ...]
    folder: Path
    initial_state: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "initial_state", self.state)

    @property
    def state(self) -> str:
        """done, failed, interrupted or not started. A job whose result is damaged counts as failed."""
        files = {"result.json": "done", ERROR: "failed", "last.ckpt": "interrupted"}
        state = next((state for name, state in files.items() if (self.folder / name).is_file()), "not started")
        return "failed" if state == "done" and self._damage() else state

    @property
    def result(self) -> dict[str, Any]:
        """The run's result.json.

        Raises:
            DataError: It is damaged.
        """
        return read_result(self.folder, f"To train this job from its start, delete {self.folder}.")

    def _damage(self) -> str:
        """Why result.json cannot be read."""
        try:
            self.result  # noqa: B018
        except DataError as error:
            return str(error)
        return ""

    @property
    def error(self) -> str:
        """Why it failed."""
        if (self.folder / "result.json").is_file():
            return self._damage()
        return (self.folder / ERROR).read_text(encoding="utf-8", errors="replace").strip()

    @property
    def has_ended(self) -> bool:
        """Whether it is done or has failed."""
        return self.state in ("done", "failed")

    def must_run(self, retry: bool) -> bool:
        """Whether the sweep has to run it; with `retry`, failed jobs as well."""
        return self.initial_state in ("interrupted", "not started") or (retry and self.initial_state == "failed")


def job_folder(config: RecordedConfig, settings: RunSettings, command: str) -> Path:
    """The folder of a job. Runs that leave the test split unread, or were chosen by a score on val, are kept apart.

    Args:
        config: Of the job.
        settings: Of the same config.
        command: train or choose.

    Raises:
        RequestError: `resume` is given.
    """
    if settings.resume is not None:
        raise RequestError(f"resume={settings.resume}: continues one run. To continue a sweep, repeat its command.")
    kind = {"train": "multirun", "choose": "choose"}[command] if settings.test else "search"
    return Path(settings.output).expanduser() / kind / config.job_name


def job_of(values: Mapping[str, Any], command: str) -> Job:
    """The job that a config asks for; see `job_folder`."""
    config = RecordedConfig(values)
    return Job(tuple(config.overrides), job_folder(config, to_dataclass(values, RunSettings, ""), command))


def run_job(config: RecordedConfig, folder: Path, train: Callable[[], Any]) -> None:
    """Run one job, unless another process runs it or has ended it in the meantime.

    Only an interruption ends the sweep; a failure is recorded in the folder, with the config.
    """
    try:
        with lock(folder):
            if not (folder / "result.json").is_file():
                _run_locked(config, folder, train)
    except InUseError as error:
        if os.environ.get("WORLD_SIZE", "1") != "1":  # the other processes of this job cannot skip it
            raise
        print_line(f"skipped: {error}")


def _run_locked(config: RecordedConfig, folder: Path, train: Callable[[], Any]) -> None:
    overrides = config.overrides
    (folder / ERROR).unlink(missing_ok=True)
    with _own_log(overrides, folder) if in_other_process() else contextlib.nullcontext():
        console().rule(" ".join(overrides) or "defaults", style="dim")
        try:
            train()
        except Exception as error:
            if os.environ.get("SEGRUN_DEBUG") == "1":
                traceback.print_exc()
            text = str(error) if isinstance(error, SegrunError) else f"{type(error).__name__}: {error}"
            print_line(f"failed: {text}", "red")  # first: a full disk takes nothing more
            ensure_dir(folder)
            if not (folder / "config.yaml").is_file():
                write_text(folder / "config.yaml", config.to_yaml())
            write_text(folder / ERROR, visible(text) + "\n")


@contextlib.contextmanager
def _own_log(overrides: Sequence[str], folder: Path) -> Iterator[None]:
    """In a process of its own a job writes to its log; the terminal shows only that it starts and ends."""
    _stop_with_the_sweep()
    multiprocessing.set_start_method(None, force=True)  # type: ignore[arg-type]  # joblib's own starts no others
    terminal, name = sys.stdout, " ".join(overrides) or "defaults"
    ensure_dir(folder)
    print(visible(f"started: {name}"), file=terminal, flush=True)
    with (
        (folder / LOG).open("a", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        try:
            yield
        except Interrupted:
            if _sweep_ended.is_set():
                os._exit(Interrupted.status)  # joblib's worker would wait for more jobs and keep the device's memory
            raise
    print(visible(f"{Job((), folder).state}: {name}"), file=terminal, flush=True)


_sweep_ended = threading.Event()


def _stop_with_the_sweep() -> None:
    """Save and stop when the process that started this one is gone: nothing else would stop it."""
    if any(thread.name == "sweep" for thread in threading.enumerate()):
        return

    def watch(parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(1)
        _sweep_ended.set()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, args=(os.getppid(),), name="sweep", daemon=True).start()


def distinct_names(jobs: Sequence[Job]) -> list[str]:
    """For each job the overrides that not all jobs share."""
    common = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    return [" ".join(word for word in job.overrides if word not in common) for job in jobs]


def print_summary(jobs: Sequence[Job], requested: int) -> int:
    """Print a table of the jobs.

    Args:
        jobs: One per run folder.
        requested: How many were asked for; some may ask for the same run.

    Returns:
        The exit status.
    """
    title = f"{len(jobs)} jobs" + (f" for {requested} requests, some for the same run" if requested > len(jobs) else "")
    table = Table("job", "val mIoU", "test mIoU", "trained", "seconds", "", title=title, title_justify="left")
    names = [name or "defaults" for name in distinct_names(jobs)]
    for job, name in zip(jobs, names, strict=True):
        table.add_row(name, *_row(job))
    console().print(table)
    failed = [(job, name) for job, name in zip(jobs, names, strict=True) if job.state == "failed"]
    for job, name in failed:
        console().print(f"failed: {name}: {job.error}", style="red")
    if failed:
        print_line(f"{len(failed)} of {len(jobs)} jobs failed; the same command with retry=true runs them again.")
    folder = jobs[0].folder.parent
    print_line(f"run folders: {folder}")
    if sum(job.state == "done" and job.result.get("test") is not None for job in jobs) > 1:
        print_line(f"next: segrun compare {shlex.quote(f'runs={folder}')}")
    return 1 if failed else 0


def _row(job: Job) -> list[str | Text]:
    if job.state != "done":
        return ["", "", "", "", Text("failed", style="red") if job.state == "failed" else job.state]
    result = job.result
    cost = result["cost"]
    scores = [percent((result.get(split) or {}).get("miou")) for split in ("val", "test")]
    state = "done before" if job.initial_state == "done" else "done"
    return [*scores, f"{cost['parameters_trained']:,}", f"{cost['seconds']:.0f}", state]


def print_winner(job: Job, chosen: Mapping[str, Any], objective: str, score: float) -> None:
    """Print what a search chose, and the command that scores it on the test split, which no trial has read."""
    overrides = " ".join(word for word in job.overrides if word.partition("=")[0] in chosen)
    print_line(f"best on val: {overrides}, {objective} {percent(score)}")
    print_line(f"its score on the test split: segrun eval checkpoint={job.folder / 'best.ckpt'}")
