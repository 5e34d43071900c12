"""Snapshots: weights that a run returns to, such as its start, the ends of phases, and the memory of regularizers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from segrun.checkpoints.checkpoint import load_tensors, save_tensors, tensor_bytes
from segrun.errors import RequestError, SegrunError
from segrun.files import atomic_write
from segrun.models.parts import Weights
from segrun.schema import check_content

START = "start"  # the snapshot of all weights before the first step


class _StoredWeights(dict[str, Tensor]):
    """The tensors of a snapshot file; one that the file lacks is an error that names both."""

    def __init__(self, path: Path, weights: Weights) -> None:
        super().__init__(weights)
        self.path = path

    def __missing__(self, name: str) -> Tensor:
        raise SegrunError(f"{self.path}: {name}: is missing, and the run cannot continue without it. Start a new run.")


class Snapshots:
    """Tensors by name. Each snapshot is made once, so that a resumed run uses that of the interrupted one.

    Args:
        folder: Where the files are; None: snapshots are only kept in memory.
        writes: Whether this process writes the files; otherwise another one does.
    """

    def __init__(self, folder: Path | None = None, writes: bool = True) -> None:
        self.folder = folder
        self.writes = writes
        self._loaded: dict[str, Weights] = {}

    def get_or_create(self, name: str, make: Callable[[], Weights] | None = None) -> Weights:
        """The snapshot of this name, on the CPU.

        Args:
            name: Name of the snapshot.
            make: Gives the tensors where the snapshot does not exist; they are copied. None: it must exist, because the
                weights have changed since it was made.

        Raises:
            SegrunError: It does not exist and `make` is None, or its file cannot be read.
        """
        if name not in self._loaded:
            weights = self._read(name)
            if weights is None:
                weights = self._create(name, make)
            self._loaded[name] = weights
        return self._loaded[name]

    def remove(self) -> None:
        """Delete the files, which a finished run no longer needs."""
        if self.folder is not None and self.folder.is_dir():
            shutil.rmtree(self.folder)

    def _read(self, name: str) -> Weights | None:
        if self.folder is None:
            return None
        path = self.folder / f"{name}.pt"
        if not path.is_file():
            return None
        try:
            weights = load_tensors(path)
            check_content(weights, Weights, str(path), "")
        except RequestError as error:
            raise SegrunError(
                f"{path}: cannot be read, and the run cannot continue without it. Start a new run."
            ) from error
        return _StoredWeights(path, weights)

    def _create(self, name: str, make: Callable[[], Weights] | None) -> Weights:
        if make is None:
            raise SegrunError(
                f"{self.folder}/{name}.pt is gone, and the run cannot continue without it. Restore it or start over."
            )
        weights = {key: value.detach().cpu().clone() for key, value in make().items()}
        if self.folder is not None and self.writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.folder / f"{name}.pt", tensor_bytes(weights)) as temporary:
                save_tensors(weights, temporary)
        return weights
