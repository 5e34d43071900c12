"""Weights that a run goes back to: its start, the ends of phases, what terms remember."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from segrun.errors import SegrunError
from segrun.files import atomic_write
from segrun.models.parts import Weights

START = "start"


class Snapshots:
    """Tensors by name, each stored once: what is there is read, never made again, so that a resumed run holds on
    to the same weights as the one that was interrupted.

    folder: where the files are; None: in memory alone. writes: False where another process does.
    """

    def __init__(self, folder: Path | None = None, writes: bool = True) -> None:
        self.folder, self.writes = folder, writes
        self._known: dict[str, Weights] = {}

    def get_or_create(self, name: str, make: Callable[[], Weights] | None = None) -> Weights:
        """What is stored under the name, on the CPU; made and stored first if there is nothing.

        Raises:
            SegrunError: there is nothing, and no `make`: it was stored once, and weights have changed since.
        """
        if name not in self._known and not self._read(name):
            if make is None:
                raise SegrunError(
                    f"{self.folder}/{name}.pt is gone: the run cannot go on without the weights it holds on to. "
                    "Put it back beside last.ckpt, or start anew."
                )
            made = {key: value.detach().cpu().clone() for key, value in make().items()}
            self._known[name] = made
            if self.folder is not None and self.writes:
                self.folder.mkdir(parents=True, exist_ok=True)
                with atomic_write(self.folder / f"{name}.pt") as part:
                    torch.save(made, part)
        return self._known[name]

    def remove(self) -> None:
        """Delete the files: a finished run needs them no more."""
        if self.folder is not None and self.folder.is_dir():
            shutil.rmtree(self.folder)

    def _read(self, name: str) -> bool:
        path = None if self.folder is None else self.folder / f"{name}.pt"
        if path is None or not path.is_file():
            return False
        try:
            self._known[name] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise SegrunError(f"{path}: cannot be read; the run cannot go on without it. Start it anew.") from error
        return True
