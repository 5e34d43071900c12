"""What all trackers have in common. No tracker may cost the training."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from segrun.errors import Interrupted, RequestError, SegrunError
from segrun.events import Event
from segrun.report.terminal import print_line

Observer = Callable[[Event], None]
# Called with the run folder, which holds config.yaml, when a run starts. The observer that it returns receives the
# events of the run. If it has a method close(status), it is called with a RunStatus at the end.
Tracker = Callable[[Path], Observer]
RunStatus = Literal["finished", "interrupted", "failed"]  # finished: result.json is written


@contextlib.contextmanager
def open_trackers(trackers: Mapping[str, Tracker], folder: Path) -> Iterator[list[GuardedObserver]]:
    """Start trackers for a run, and close them when the block ends, with the status of the run.

    A tracker that fails later is reported once and then receives no more events.

    Args:
        trackers: By the name of their option.
        folder: The run folder.

    Raises:
        RequestError: A tracker cannot start.
    """
    observers: list[GuardedObserver] = []
    status: RunStatus = "failed"
    try:
        for name, tracker in trackers.items():
            observers.append(GuardedObserver(name, _start(name, tracker, folder)))
        yield observers
        status = "finished"
    except (Interrupted, KeyboardInterrupt):
        status = "interrupted"
        raise
    finally:
        for observer in observers:
            observer.close(status)


def _start(name: str, tracker: Tracker, folder: Path) -> Observer:
    try:
        return tracker(folder)
    except SegrunError:
        raise
    except Exception as error:
        raise RequestError(
            f"tracker {name} cannot start: {_first_line(error)}\nChange tracker.{name}.…, or leave out this tracker."
        ) from error


class GuardedObserver:
    """Passes events on to an observer until it fails. Its first failure is printed; it is closed in any case."""

    def __init__(self, name: str, observer: Observer) -> None:
        self.name, self.observer = name, observer
        self.has_failed = False

    def __call__(self, event: Event) -> None:
        if not self.has_failed:
            self._call(self.observer, event)

    def close(self, status: RunStatus) -> None:
        """Close the observer, if it can be closed."""
        close = getattr(self.observer, "close", None)
        if close is not None:
            self._call(close, status)

    def _call(self, function: Callable[..., None], argument: object) -> None:
        try:
            function(argument)
        except Exception as error:
            if not self.has_failed:
                print_line(
                    f"tracker {self.name} failed: {_first_line(error)} The run continues without it; its numbers are "
                    "in metrics.jsonl.",
                    style="yellow",
                )
            self.has_failed = True


def _first_line(error: Exception) -> str:
    """The type of an error and the first line of its message."""
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0].rstrip('.')}."
