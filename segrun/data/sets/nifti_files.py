"""NIfTI files (nifti.nimh.nih.gov), read slice by slice in one orientation."""

from __future__ import annotations

import contextlib
import functools
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segrun.errors import DataError, import_extra

KEPT = 4  # decompressed files, or files of one case, that a process holds: images and labels of two cases


class Volume:
    """A file whose header has been read, and whose values are read where they are asked for.

    Raises:
        DataError: no NIfTI file, or neither 3-D nor 4-D with real values and an orientation.
    """

    def __init__(self, path: Path) -> None:
        nibabel = import_extra("nibabel", "medical")
        self.path = path
        with _readable(path):
            image = nibabel.load(path)
        self.values, self.shape, kind = image.dataobj, image.shape, image.get_data_dtype()
        self.channels = self.shape[3] if len(self.shape) == 4 else 1
        axcodes = nibabel.aff2axcodes(image.affine)
        self.grid = (
            f"{'×'.join(str(n) for n in self.shape[:3])} in {''.join(code or '?' for code in axcodes)} orientation"
        )
        if len(self.shape) not in (3, 4) or kind.kind not in "uif" or None in axcodes:
            raise DataError(
                f"{path}: has the shape {self.shape} of {kind}, {self.grid}. A volume has three axes (a fourth is for "
                "channels), real values and an affine."
            )
        self.orientation = nibabel.io_orientation(image.affine)

    def decompress(self) -> Volume:
        """Takes all values of a .gz into memory."""
        if self.path.suffix == ".gz":
            with _readable(self.path):
                self.values = np.asanyarray(self.values)
        return self

    def depth(self, codes: str) -> int:
        return int(self.shape[self._axis(self._turn(codes))])

    def plane(self, codes: str, number: int) -> NDArray[Any]:
        """(channels, rows, columns): the slice of this number, where columns, rows and slices run to `codes` (R right,
        A to the front, S up; L, P, I against them)."""
        turn = self._turn(codes)
        axis = self._axis(turn)
        at = number if turn[axis, 1] > 0 else self.shape[axis] - 1 - number
        cut = [slice(None)] * 3
        cut[axis] = slice(at, at + 1)
        with _readable(self.path):
            slab = np.asanyarray(self.values[tuple(cut)])
        turned = import_extra("nibabel.orientations", "medical").apply_orientation(slab, turn)[:, :, 0].T
        return np.asarray(turned.reshape(-1, *turned.shape[-2:]))

    def labels(self, codes: str, number: int) -> NDArray[np.int64]:
        """(rows, columns) of class values. Raises DataError where they are several or no whole numbers."""
        values = self.plane(codes, number)
        with np.errstate(invalid="ignore"):
            whole = values.astype(np.int64)
        if len(values) != 1 or not np.array_equal(values, whole):
            raise DataError(f"{self.path}: slice {number} is to hold one whole number a voxel. Save class indices.")
        return np.asarray(whole[0])

    def _turn(self, codes: str) -> NDArray[np.float64]:
        """(3, 2): for each axis of the file, the one of `codes` that it becomes, and ±1."""
        orientations = import_extra("nibabel.orientations", "medical")
        return np.asarray(orientations.ornt_transform(self.orientation, orientations.axcodes2ornt(tuple(codes))))

    @staticmethod
    def _axis(turn: NDArray[np.float64]) -> int:
        return int(np.flatnonzero(turn[:, 0] == 2)[0])


def opened(paths: tuple[Path, ...]) -> tuple[Volume, ...]:
    """The volumes of these files: a .nii is read where it is sliced, a .nii.gz whole and kept for a while."""
    with _one_at_a_time:  # threads that want the same file would each decompress it
        return _opened(paths, tuple(path.stat().st_mtime_ns if path.is_file() else 0 for path in paths))


_one_at_a_time = threading.Lock()


@functools.lru_cache(maxsize=KEPT)
def _opened(paths: tuple[Path, ...], times: tuple[int, ...]) -> tuple[Volume, ...]:
    return tuple(Volume(path).decompress() for path in paths)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    nibabel = import_extra("nibabel", "medical")
    wrong = (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError)
    try:
        yield
    except (*wrong, OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as NIfTI ({str(error).splitlines()[0]}).") from error
