"""Loading in other processes: they outlive signals, end with the stream, and their failures arrive in one line."""

from __future__ import annotations

import re
import signal
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from segrun.device import end_workers
from segrun.errors import ResourceError, SegrunError

K = TypeVar("K")
T = TypeVar("T")
SHARED_MEMORY_CURE = (
    "Load in the main process, trainer.workers=0, or enlarge /dev/shm (docker run --shm-size=8g, or --ipc=host)."
)


class LoadedStream(Iterator[T]):
    """What `load` makes of each list of keys, in their order, computed ahead by other processes.

    Args:
        load: Called with a list of keys, in a process that was forked from this one.
        keys: The lists; they may be endless.
        workers: Number of processes; 0: this one loads.
        timeout: Seconds that a process may take for one list; 0: any number.
        pin_memory: Whether to load into pinned memory, for a GPU.
        generator: Where the loader draws the seed of its processes from; None: torch's own generator.

    Attributes:
        close: Ends the processes, even those that hang.
    """

    def __init__(
        self,
        load: Callable[[Sequence[K]], T],
        keys: Iterable[Sequence[K]],
        workers: int,
        timeout: float = 0,
        pin_memory: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        loader = DataLoader(
            _Keys(),
            batch_sampler=keys,  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=_Load(load),
            pin_memory=pin_memory,
            timeout=timeout if workers else 0,
            worker_init_fn=_ignore_signals,
            generator=generator,
        )
        self.timeout = timeout
        self._loaded: Iterator[Any] = iter(loader)
        # also when nobody calls it, or a traceback still refers to the loader
        self.close = weakref.finalize(self, end_workers, self._loaded)

    def __next__(self) -> T:
        """
        Raises:
            Exception: What `load` raised.
            ResourceError: A process died, does not respond, or has no room in shared memory.
        """
        try:
            item = next(self._loaded)
        except RuntimeError as error:
            known = worker_error(error, self.timeout)
            if known is None:
                raise
            raise known from error
        if isinstance(item, Exception):
            raise item
        loaded: T = item
        return loaded


@dataclass(frozen=True)
class _Load(Generic[K, T]):
    """Runs `load`. In another process, errors are returned: a loader would turn them into text with a traceback."""

    load: Callable[[Sequence[K]], T]

    def __call__(self, keys: Sequence[K]) -> T | Exception:
        if get_worker_info() is None:
            return self.load(keys)
        try:
            return self.load(keys)
        except Exception as error:
            if not isinstance(error, SegrunError) and type(error).__module__ != "builtins":
                raise  # perhaps it cannot be sent
            error.add_note(traceback.format_exc())  # SEGRUN_DEBUG=1 shows it
            return error


class _Keys(TorchDataset[Any]):
    """Passes the keys on to `load`."""

    def __getitem__(self, key: Any) -> Any:
        return key


def share(tensors: Iterable[torch.Tensor]) -> None:
    """Move tensors to shared memory in a loader's process, and nothing elsewhere.

    The loader would do it later, in a thread whose errors nobody receives: this process would wait for ever.

    Raises:
        ResourceError: It is full.
    """
    if get_worker_info() is None:
        return
    for tensor in tensors:
        try:
            tensor.share_memory_()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise ResourceError(f"/dev/shm is full: {_reason(error)}. {SHARED_MEMORY_CURE}") from error


def worker_error(error: Exception, timeout: float) -> ResourceError | None:
    """What happened to a loader's process, where torch's error tells of one.

    Args:
        error: An error of torch.
        timeout: As for `LoadedStream`.
    """
    text = f"{error} {error.__cause__ or ''}"  # the cause names the signal
    if not text.startswith("DataLoader "):
        return None
    if "timed out" in text:
        return ResourceError(
            f"a loader process has not responded for trainer.timeout={timeout:g} seconds. If a batch may take longer, "
            "raise it; or load in the main process, trainer.workers=0."
        )
    if "Bus error" in text:
        return ResourceError(f"a loader process died: /dev/shm is full. {SHARED_MEMORY_CURE}")
    killed = re.search(r"killed by signal: \w+", text)
    return ResourceError(
        f"a loader process died ({killed[0] if killed else _reason(error)}). Often memory is short: use fewer of them "
        "(trainer.workers=0: none), or a smaller trainer.cache."
    )


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _ignore_signals(worker: int) -> None:
    """Ctrl-C reaches every process of the terminal, but the main one may still need its batch to end the step."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
