"""Runs a segrun command in a process of its own and says how it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

SECONDS = 120  # per command; the slowest takes two
MAX_MEMORY = 2e9  # bytes

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        status: Exit status; None if it did not end in time.
        output: Standard output and error.
        memory: Largest resident size in bytes.
        left: Whether a process of it was still running.
    """

    status: int | None
    output: str
    memory: int
    left: bool

    def faults(self) -> list[str]:
        """What no input may cause."""
        faults = []
        if self.status is None:
            faults.append("hangs")
        elif self.status not in (0, 1, 2):
            faults.append(f"exit status {self.status}")
        if "not an error that segrun knows" in self.output or "Traceback" in self.output:
            faults.append("unknown error")
        if self.left:
            faults.append("a process is left")
        if self.memory > MAX_MEMORY:
            faults.append(f"{self.memory / 1e6:.0f} MB of memory")
        return faults


def run_command(words: Sequence[str], folder: Path) -> Outcome:
    """Run `segrun <words>` in `folder`, in a fork of this process: torch is already imported."""
    log = folder / "output.txt"
    child = os.fork()
    if child == 0:
        _run_and_exit(words, folder, log)
    status, memory = _wait(child)
    left = _end_group(child)
    return Outcome(status, log.read_text("utf-8", "replace"), memory, left)


def _run_and_exit(words: Sequence[str], folder: Path, log: Path) -> NoReturn:
    os.setsid()  # its processes are found by their group
    os.chdir(folder)
    target = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(target, 1)
    os.dup2(target, 2)
    status = 99
    try:
        import sys

        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        from segrun.cli import main

        main(list(words))
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _wait(child: int) -> tuple[int | None, int]:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    _, _, usage = os.wait4(child, 0)
    return None, usage.ru_maxrss * 1024


def _end_group(group: int) -> bool:
    """Whether a process of the group was still there, a moment after its leader had ended; ends it."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    return True
