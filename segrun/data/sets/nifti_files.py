"""NIfTI files (nifti.nimh.nih.gov), read slice by slice in one orientation.

An orientation is three of nibabel's axis codes: where columns, rows and slices run to (R right, A to the front, S up;
L, P, I to the opposite sides).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segrun.errors import DataError, MissingExtraError, UnreadableError, import_extra

MAX_DISTANCE = 0.1  # voxels between the corners of a label and those of its image
MAX_RATIO = 1032  # bytes that a byte of a .gz file can stand for
CACHED_CASES = 4  # images and labels of two cases that a process keeps in memory, decompressed


class Volume:
    """A file whose header has been read. Values are read slice by slice.

    Args:
        path: The file.

    Attributes:
        shape: Of the file: three axes, and a fourth one for channels if there are several.
        channels: Number of channels.
        grid: Shape and orientation in words.
        affine: (4, 4), from voxel indices to mm to the right, to the front and up.

    Raises:
        DataError: It is not a NIfTI file, or neither 3-D nor 4-D with real values and an orientation.
    """

    def __init__(self, path: Path) -> None:
        nibabel = import_extra("nibabel", "medical")
        self.path = path
        with _read_errors(path):
            image = nibabel.load(path)
            self.values, self.shape, dtype = image.dataobj, image.shape, image.get_data_dtype()
            self.affine: NDArray[np.float64] = np.asarray(image.affine, np.float64)
            is_usable = len(self.shape) in (3, 4) and min(self.shape) > 0 and dtype.kind in "uif"
            has_axes = np.isfinite(self.affine).all() and abs(np.linalg.det(self.affine)) > 0
            axcodes = nibabel.aff2axcodes(self.affine) if has_axes else (None, None, None)
            self.orientation = nibabel.io_orientation(self.affine) if None not in axcodes else None
            stated = math.prod(self.shape) * dtype.itemsize
            held = path.stat().st_size * (MAX_RATIO if path.suffix == ".gz" else 1)
        self.channels = self.shape[3] if len(self.shape) == 4 else 1
        sizes = "×".join(str(size) for size in self.shape[:3])
        self.grid = f"{sizes} in {''.join(code or '?' for code in axcodes)} orientation"
        if not is_usable or None in axcodes:
            raise DataError(
                f"{path}: has the shape {self.shape} of {dtype}, {self.grid}. A volume needs three axes (and a fourth "
                "one for channels), real values and an affine."
            )
        if stated > held:
            raise UnreadableError(f"{path}: cannot be read as NIfTI (its header states more values than it holds).")

    def decompress(self) -> Volume:
        """Read all values of a .gz file into memory. Returns itself."""
        if self.path.suffix == ".gz":
            with _read_errors(self.path):
                self.values = np.asanyarray(self.values)
        return self

    def slice_count(self, codes: str) -> int:
        """Number of slices in an orientation."""
        return int(self.shape[_slice_axis(self._transform(codes))])

    def distance(self, other: Volume, codes: str) -> float:
        """How far the corners of another volume lie from this one's, in voxels of this one.

        Both are turned to an orientation first, which is exact: axes are only flipped and swapped. Infinite where the
        volumes differ in their number of voxels then.
        """
        return other.distance_to(*self._turned(codes), codes)

    def distance_to(self, shape: tuple[int, ...], affine: NDArray[np.float64], codes: str) -> float:
        """The same to a grid in this orientation. affine: from voxel indices to mm."""
        own_shape, own_affine = self._turned(codes)
        if own_shape != shape:
            return math.inf
        corners = np.array([[*corner, 1] for corner in itertools.product(*((-0.5, size - 0.5) for size in shape))]).T
        return float(np.abs(np.linalg.solve(affine, own_affine @ corners) - corners)[:3].max())

    def read_slice(self, codes: str, index: int) -> NDArray[Any]:
        """One slice.

        Args:
            codes: The orientation.
            index: Of the slice, from 0, in this orientation.

        Returns:
            (channels, rows, columns)

        Raises:
            DataError: The values cannot be read.
        """
        transform = self._transform(codes)
        axis = _slice_axis(transform)
        is_flipped = transform[axis, 1] < 0
        position = self.shape[axis] - 1 - index if is_flipped else index
        selection = [slice(None)] * 3
        selection[axis] = slice(position, position + 1)
        with _read_errors(self.path):
            slab = np.asanyarray(self.values[tuple(selection)])
        oriented = import_extra("nibabel.orientations", "medical").apply_orientation(slab, transform)
        plane = oriented[:, :, 0].T  # (rows, columns), or (channels, rows, columns)
        return np.asarray(plane.reshape(-1, *plane.shape[-2:]))

    def read_label_slice(self, codes: str, index: int) -> NDArray[np.int64]:
        """(rows, columns) of class values; see `read_slice`.

        Raises:
            DataError: There are several channels, or values that are not whole numbers.
        """
        values = self.read_slice(codes, index)
        with np.errstate(invalid="ignore"):
            whole = values.astype(np.int64)
        if len(values) != 1 or not np.array_equal(values, whole):
            raise DataError(f"{self.path}: slice {index} must hold one whole number per voxel. Save class indices.")
        return np.asarray(whole[0])

    def _turned(self, codes: str) -> tuple[tuple[int, ...], NDArray[np.float64]]:
        """Shape and affine of the volume in an orientation."""
        transform = self._transform(codes)
        shape = tuple(self.shape[axis] for axis in np.argsort(transform[:, 0]))
        back = import_extra("nibabel.orientations", "medical").inv_ornt_aff(transform, self.shape[:3])
        return shape, self.affine @ back

    def _transform(self, codes: str) -> NDArray[np.float64]:
        """(3, 2): for each axis of the file, the axis of `codes` that it becomes, and 1 or -1 (flipped)."""
        orientations = import_extra("nibabel.orientations", "medical")
        target = orientations.axcodes2ornt(tuple(codes))
        return np.asarray(orientations.ornt_transform(self.orientation, target))


def elsewhere(distance: float) -> str:
    """The end of a sentence on a label that lies apart from its image, in voxels."""
    return (
        f"{distance:.3g} voxels elsewhere in space ({MAX_DISTANCE} are allowed). Resample it to the image; if only its "
        "header is wrong, give it the image's affine."
    )


def _slice_axis(transform: NDArray[np.float64]) -> int:
    """The axis of the file that becomes the third one."""
    return int(np.flatnonzero(transform[:, 0] == 2)[0])


def open_volumes(paths: tuple[Path, ...]) -> tuple[Volume, ...]:
    """The volumes of some files. A .nii is read slice by slice, a .nii.gz as a whole and then cached."""
    with _lock:  # otherwise threads that need the same file would all decompress it
        times = tuple(path.stat().st_mtime_ns if path.is_file() else 0 for path in paths)
        return _open_volumes(paths, times)


_lock = threading.Lock()


@functools.lru_cache(maxsize=CACHED_CASES)
def _open_volumes(paths: tuple[Path, ...], times: tuple[int, ...]) -> tuple[Volume, ...]:
    """times: of the files' last changes, so that a changed file is read again."""
    return tuple(Volume(path).decompress() for path in paths)


@contextlib.contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """All that nibabel raises for a damaged file as DataError."""
    try:
        yield
    except (DataError, MissingExtraError):
        raise
    except Exception as error:  # nibabel and numpy raise almost any error for bytes that are not a volume
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnreadableError(f"{path}: cannot be read as NIfTI ({reason}).") from error
