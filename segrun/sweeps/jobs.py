"""Several jobs in one command: each in a folder of its own that its config decides, so that the same line again skips
what is done and goes on with what is not. What came of a job is read from its folder, whoever ran it."""

from __future__ import annotations

import contextlib
import json
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

from rich.markup import escape
from rich.table import Table

from segrun.config.compose import in_other_process, to_yaml
from segrun.errors import Interrupted, SegrunError
from segrun.files import ensure_dir, write_text
from segrun.report.tables import percent
from segrun.report.terminal import console, print_line

ERROR, LOG = "error.txt", "log.txt"


@dataclass(frozen=True)
class Job:
    """One job of a sweep: the words that ask for it, its folder, and its state there when the sweep began."""

    words: tuple[str, ...]
    folder: Path
    before: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "before", self.state)

    @property
    def state(self) -> str:
        files = {"result.json": "done", ERROR: "failed", "last.ckpt": "interrupted"}
        return next((state for name, state in files.items() if (self.folder / name).is_file()), "not begun")

    @property
    def result(self) -> dict[str, Any]:
        return json.loads((self.folder / "result.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]

    @property
    def error(self) -> str:
        """Why it failed."""
        return (self.folder / ERROR).read_text(encoding="utf-8").strip()

    def wanted(self, retry: bool) -> bool:
        """Whether it is to be run. retry: failed jobs as well."""
        return self.before in ("interrupted", "not begun") or (retry and self.before == "failed")


def run(words: Sequence[str], folder: Path, values: dict[str, Any], train: Callable[[], Any]) -> None:
    """Run one job. Only an interruption ends the sweep; a failure stays in the folder, with the config that failed."""
    (folder / ERROR).unlink(missing_ok=True)
    with apart(words, folder) if in_other_process() else contextlib.nullcontext():
        console().rule(escape(" ".join(words)) or "defaults", style="dim")
        try:
            train()
        except Exception as error:
            if os.environ.get("SEGRUN_DEBUG") == "1":
                traceback.print_exc()
            text = str(error) if isinstance(error, SegrunError) else f"{type(error).__name__}: {error}"
            ensure_dir(folder)
            if not (folder / "config.yaml").is_file():
                write_text(folder / "config.yaml", to_yaml(values))
            write_text(folder / ERROR, text + "\n")
            console().print(f"failed: {text}", style="red", markup=False)


@contextlib.contextmanager
def apart(words: Sequence[str], folder: Path) -> Iterator[None]:
    """In a process of its own a job writes to its log; the terminal hears that it begins and ends."""
    _end_with_the_sweep()
    multiprocessing.set_start_method(None, force=True)  # type: ignore[arg-type]  # joblib's own starts no others
    terminal, name = sys.stdout, " ".join(words) or "defaults"
    ensure_dir(folder)
    print(f"begun: {name}", file=terminal, flush=True)
    with (
        (folder / LOG).open("a", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        try:
            yield
        except Interrupted:
            if _ended.is_set():
                os._exit(Interrupted.status)  # joblib's worker would wait for more to do, holding the device's memory
            raise
    print(f"{Job((), folder).state}: {name}", file=terminal, flush=True)


_ended = threading.Event()


def _end_with_the_sweep() -> None:
    """Save and end when the process that began this one is gone: nobody else would tell it."""
    if any(thread.name == "sweep" for thread in threading.enumerate()):
        return

    def watch(parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(1)
        _ended.set()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, args=(os.getppid(),), name="sweep", daemon=True).start()


def set_apart(jobs: Sequence[Job]) -> list[str]:
    """Of each job, the words that not all of them share."""
    common = set.intersection(*(set(job.words) for job in jobs)) if len(jobs) > 1 else set()
    return [" ".join(word for word in job.words if word not in common) for job in jobs]


def summary(jobs: Sequence[Job], asked: int) -> int:
    """Print one table over the jobs; returns the exit status. asked: how many were, some perhaps for the same run."""
    columns = ("job", "val mIoU", "test mIoU", "trained", "seconds", "")
    title = f"{len(jobs)} jobs" + (f", for {asked} of which some ask for the same run" if asked > len(jobs) else "")
    table = Table(*columns, title=title, title_justify="left")
    names = dict(zip(jobs, (escape(name) or "defaults" for name in set_apart(jobs)), strict=True))
    for job in jobs:
        if job.state != "done":
            table.add_row(names[job], "", "", "", "", "[red]failed[/]" if job.state == "failed" else job.state)
            continue
        result = job.result
        cost = result["cost"]
        scores = [percent((result[split] or {}).get("miou")) for split in ("val", "test")]
        ended = "done before" if job.before == "done" else "done"
        table.add_row(names[job], *scores, f"{cost['parameters_trained']:,}", f"{cost['seconds']:.0f}", ended)
    console().print(table)
    failed = [job for job in jobs if job.state == "failed"]
    for job in failed:
        console().print(f"failed: {names[job]}: {escape(job.error)}", style="red")
    if failed:
        console().print(f"{len(failed)} of {len(jobs)} jobs failed; the same line with retry=true tries them anew.")
    folder = jobs[0].folder.parent
    console().print(f"run folders: {escape(str(folder))}")
    if sum(job.state == "done" and job.result["test"] is not None for job in jobs) > 1:
        print_line(f"next: segrun compare {shlex.quote(f'runs={folder}')}")
    return 1 if failed else 0


def winner(job: Job, chosen: Mapping[str, Any], objective: str, score: float) -> None:
    """Say what a search chose, and how it is scored on what no trial has seen."""
    words = " ".join(word for word in job.words if word.partition("=")[0] in chosen)
    print_line(f"best on val: {words}, {objective} {percent(score)}")
    print_line(f"its score on the test split: segrun eval checkpoint={job.folder / 'best.ckpt'}")
