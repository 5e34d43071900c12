"""Trackers: what shows a run somewhere else than in its folder. None of them may cost the training."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from segrun.errors import Interrupted, RequestError, SegrunError
from segrun.events import Event
from segrun.report.terminal import print_line

Observer = Callable[[Event], None]
# given the folder of a run, which holds its config.yaml: what is told its events, and may have close(ended)
Tracker = Callable[[Path], Observer]
Ended = Literal["finished", "interrupted", "failed"]  # finished: result.json is written


@contextlib.contextmanager
def tracked(trackers: Mapping[str, Tracker], folder: Path) -> Iterator[list[Guarded]]:
    """Observers of the run in `folder`, closed when the block ends with how it ended.

    Raises:
        RequestError: a tracker that cannot begin. One that fails later is told no more, which is said once.
    """
    observers: list[Guarded] = []
    ended: Ended = "failed"
    try:
        for name, tracker in trackers.items():
            observers.append(Guarded(name, _begun(name, tracker, folder)))
        yield observers
        ended = "finished"
    except (Interrupted, KeyboardInterrupt):
        ended = "interrupted"
        raise
    finally:
        for observer in observers:
            observer.close(ended)


def _begun(name: str, tracker: Tracker, folder: Path) -> Observer:
    try:
        return tracker(folder)
    except SegrunError:
        raise
    except Exception as error:
        raise RequestError(
            f"tracker {name} cannot begin: {_words(error)}\nChange tracker.{name}.…, or leave it out."
        ) from error


class Guarded:
    """An observer whose first failure is said, and which hears no more events then; it is closed all the same."""

    def __init__(self, name: str, observer: Observer) -> None:
        self.name, self.observer = name, observer
        self.lost = False

    def __call__(self, event: Event) -> None:
        if not self.lost:
            self._try(self.observer, event)

    def close(self, ended: Ended) -> None:
        if close := getattr(self.observer, "close", None):
            self._try(close, ended)

    def _try(self, call: Callable[..., None], *told: object) -> None:
        try:
            call(*told)
        except Exception as error:
            if not self.lost:
                said = f"tracker {self.name} is lost: {_words(error)} The run goes on; metrics.jsonl holds its numbers."
                print_line(said, "yellow")
            self.lost = True


def _words(error: Exception) -> str:
    first = (str(error).strip().splitlines() or ["no message"])[0]
    return f"{type(error).__name__}: {first.rstrip('.')}."
