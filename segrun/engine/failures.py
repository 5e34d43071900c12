"""What ends a training from outside: signals, too little memory, a full disk, lost processes.

Each is one line, followed by the command that continues the run.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from segrun.data.loader.processes import worker_error
from segrun.engine.settings import TrainerSettings
from segrun.errors import DataError, Interrupted, ResourceError

NO_MEMORY = re.compile(r"out of memory|can't allocate memory|_ALLOC_FAILED", re.IGNORECASE)
# what gloo, NCCL and torch's store say when a process is gone, and when it does not respond
LOST = re.compile(r"connection (closed|reset|refused|was)|broken pipe|remote process exited|socket", re.IGNORECASE)
SILENT = re.compile(r"timed? ?out|timeout", re.IGNORECASE)


@contextlib.contextmanager
def explained_failures(folder: Path, settings: TrainerSettings, size: Sequence[int]) -> Iterator[None]:
    """Inside, failures from outside become one line and the command that continues the run.

    Args:
        folder: The run folder.
        settings: The trainer's settings.
        size: Height and width of the largest training images, as the network sees them.

    Raises:
        Interrupted: By Ctrl-C or SIGTERM.
        ResourceError: Memory, disk space or a process is missing.
    """
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as stop:
        raise Interrupted(f"{str(stop) or 'Interrupted.'} {_continuation(folder)}".strip()) from None
    except (DataError, ResourceError) as error:
        raise type(error)(f"{error}\n{_continuation(folder)}".strip()) from error
    except Exception as error:
        batch = f"trainer.batch_size={settings.batch_size} and images of {size[1]}×{size[0]}"
        lower = "trainer.batch_size (trainer.accumulate makes up for it) or sizing.size, or use trainer.precision=bf16"
        known = (
            out_of_memory(error, f"with {batch}. Lower {lower}.")
            or lost_process(error, settings.timeout)
            or worker_error(error, settings.timeout)
        )
        if known is None:
            raise
        raise ResourceError(f"{known}\n{_continuation(folder)}".strip()) from error


def _continuation(folder: Path) -> str:
    """The command that continues a run; none where nothing is stored, or nothing is left to do."""
    if not (folder / "last.ckpt").is_file() or (folder / "result.json").is_file():
        return ""
    return f"Continue with: segrun train {shlex.quote(f'resume={folder}')}"


@contextlib.contextmanager
def explained_memory(batch_size: int) -> Iterator[None]:
    """Inside, where a command only predicts, too little memory becomes one line.

    Args:
        batch_size: The command's setting.

    Raises:
        ResourceError: There is too little memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        known = out_of_memory(error, f"with batch_size={batch_size}. Lower batch_size or tile.")
        if known is None:
            raise
        raise known from error


def out_of_memory(error: Exception, request: str) -> ResourceError | None:
    """The error in one line, if it says that memory is short.

    Args:
        error: Any error.
        request: What took the memory, and what to lower.
    """
    is_short = isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and NO_MEMORY.search(str(error)))
    if not is_short:
        return None
    on_gpu = isinstance(error, torch.OutOfMemoryError) or "cu" in str(error).lower()
    return ResourceError(f"out of memory{' on the GPU' if on_gpu else ''} {request}")


def lost_process(error: Exception, timeout: float) -> ResourceError | None:
    """The error in one line, if another process of the training is gone or does not respond.

    Args:
        error: Any error.
        timeout: Seconds after which a process counts as hanging.
    """
    if not torch.distributed.is_initialized() or not isinstance(error, RuntimeError):
        return None
    text = str(error)
    if SILENT.search(text) and not text.startswith("DataLoader "):
        return ResourceError(
            f"another process of the training has not responded for trainer.timeout={timeout:g} seconds."
        )
    if LOST.search(text):
        return ResourceError("another process of the training has ended; its own message says why, if it left one.")
    return None
