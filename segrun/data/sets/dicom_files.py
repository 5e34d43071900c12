"""DICOM files (the standard's part 3): the order of a series' slices, and their values."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segrun.errors import DataError, MissingExtraError, UnreadableError, import_extra, join_names

MAX_POSITION_DIFFERENCE = 0.1  # mm between slices of two series that share a grid
MIN_SLICE_DISTANCE = 1e-3  # mm, or slice numbers; two slices that are closer lie at the same position
SUFFIXES = (".dcm", ".ima", ".dicom")
GEOMETRY_TAGS = ("ImagePositionPatient", "ImageOrientationPatient")
ORDER_TAGS = [*GEOMETRY_TAGS, "InstanceNumber", "PixelSpacing", "Rows", "Columns"]


@dataclass(frozen=True)
class Series:
    """The slices of a series in their order.

    Attributes:
        paths: The files.
        positions: Along the normal of the slices in mm; the slices' numbers if the files state no position.
        codes: Where columns, rows and slices run to, as nibabel's axis codes; None if the files do not state it.
        affine: (4, 4), from (column, row, slice) to mm to the right, to the front and up; None if the files do not
            state it, or the slices are not equally far apart.
        shape: Columns, rows, slices.
    """

    paths: tuple[Path, ...]
    positions: tuple[float, ...]
    codes: str | None
    affine: NDArray[np.float64] | None
    shape: tuple[int, int, int]


def slice_name(path: Path) -> str:
    """The name of a slice's file without a suffix of DICOM's. Other suffixes are a part of the name, which may be a
    unique identifier such as 1.2.840."""
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def is_dicom(path: Path) -> bool:
    """Whether a file has a suffix of DICOM's, or begins as the standard says. A DICOMDIR is a directory of others."""
    if path.suffix.lower() in SUFFIXES:
        return True
    if path.name.upper() == "DICOMDIR":
        return False
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
    return False


def order_series(case: tuple[tuple[Path, ...], ...]) -> tuple[Series, ...]:
    """The series of a case, each in the order of its slices.

    Args:
        case: The files of each series.

    Raises:
        DataError: A file cannot be read, the slices of a series have no order, or the series do not share a grid.
    """
    first, *others = (_order_slices(paths) for paths in case)
    for other in others:
        same_positions = np.allclose(other.positions, first.positions, rtol=0, atol=MAX_POSITION_DIFFERENCE)
        if other.codes != first.codes or not same_positions:
            raise DataError(
                f"{other.paths[0].parent}: its slices lie elsewhere than those of {first.paths[0].parent.name}. "
                "Resample the series to the same grid."
            )
    return first, *others


def _order_slices(paths: tuple[Path, ...]) -> Series:
    """By the position along the slices' normal, otherwise by InstanceNumber."""
    headers = [_read_file(path, specific_tags=ORDER_TAGS, stop_before_pixels=True) for path in paths]
    to_ras: NDArray[np.float64] | None = None
    with _read_errors(paths[0].parent):
        if all(header.get(tag) for header in headers for tag in GEOMETRY_TAGS):
            positions, to_ras = _positions_along_normal(headers, paths)
        elif all(header.get("InstanceNumber") is not None for header in headers):
            positions = [float(header.InstanceNumber) for header in headers]
        else:
            without = [path.name for path, h in zip(paths, headers, strict=True) if h.get("InstanceNumber") is None]
            raise DataError(
                f"{paths[0].parent}: the order of the slices is unknown: no InstanceNumber in {join_names(without)}, "
                "and not all files state ImagePositionPatient. If a header is damaged, export the series again."
            )
        order = np.argsort(positions)
        ordered_positions = tuple(positions[index] for index in order)
        ordered_paths = tuple(paths[index] for index in order)
        too_close = np.flatnonzero(np.diff(ordered_positions) < MIN_SLICE_DISTANCE)
        if too_close.size:
            index = too_close[0]
            both = f"{ordered_paths[index].name} and {ordered_paths[index + 1].name}"
            raise DataError(f"{paths[0].parent}: {both} have the same position. A folder must hold one series.")
        first = headers[order[0]]
        shape = (int(first.get("Columns") or 0), int(first.get("Rows") or 0), len(paths))
        if to_ras is None:
            return Series(ordered_paths, ordered_positions, None, None, shape)
        codes = "".join(import_extra("nibabel", "medical").aff2axcodes(to_ras))
        return Series(ordered_paths, ordered_positions, codes, _affine(first, to_ras, ordered_positions), shape)


def _positions_along_normal(headers: list[Any], paths: tuple[Path, ...]) -> tuple[list[float], NDArray[np.float64]]:
    """The positions of slices in mm; (4, 4): the directions of columns, rows and slices."""
    for header, path in zip(headers, paths, strict=True):
        with _read_errors(path):
            numbers = np.array([*header.ImagePositionPatient, *header.ImageOrientationPatient], dtype=float)
            if len(numbers) != 9 or not np.isfinite(numbers).all():
                raise UnreadableError(f"{path}: cannot be read as DICOM (its position or orientation is damaged).")
    directions = np.array([header.ImageOrientationPatient for header in headers], dtype=float)
    if not np.allclose(directions, directions[0], atol=1e-3):
        raise DataError(f"{paths[0].parent}: its slices have different orientations. A folder must hold one series.")
    row_direction, column_direction = directions[0].reshape(2, 3)
    normal = np.cross(row_direction, column_direction)
    positions = [float(normal @ np.array(header.ImagePositionPatient, dtype=float)) for header in headers]
    to_ras = np.diag([-1.0, -1, 1, 1])  # DICOM's axes run to the left, to the back and up
    to_ras[:3, :3] = to_ras[:3, :3] @ np.stack([row_direction, column_direction, normal], axis=1)
    return positions, to_ras


def _affine(first: Any, to_ras: NDArray[np.float64], positions: tuple[float, ...]) -> NDArray[np.float64] | None:
    """See `Series`. first: the header of the first slice."""
    distances = np.diff(positions)
    spacing = first.get("PixelSpacing")  # between rows, between columns
    if not spacing or not distances.size or not np.allclose(distances, distances[0], atol=MAX_POSITION_DIFFERENCE):
        return None
    affine = to_ras @ np.diag([float(spacing[1]), float(spacing[0]), float(distances.mean()), 1.0])
    affine[:3, 3] = np.diag([-1.0, -1, 1]) @ np.array(first.ImagePositionPatient, dtype=float)
    return affine if abs(np.linalg.det(affine)) > 0 else None


def read_slice(path: Path) -> NDArray[np.float32]:
    """The rescaled values of a slice: Hounsfield units for CT, high values are bright.

    Returns:
        (H, W), NaN where the file is padded.

    Raises:
        DataError: The file cannot be read, is in colour, holds several frames, or is compressed and no decoder for it
            is installed.
    """
    header = _read_file(path)
    with _read_errors(path):
        photometric = header.get("PhotometricInterpretation")
        if photometric not in ("MONOCHROME1", "MONOCHROME2") or int(header.get("NumberOfFrames") or 1) != 1:
            content = f"{header.get('NumberOfFrames')} frames" if header.get("NumberOfFrames") else str(photometric)
            raise DataError(f"{path}: holds {content}. A slice must be one frame of MONOCHROME1 or MONOCHROME2.")
        stored = _stored_pixels(header, path)
        is_padding = _is_padding(stored, header)
        if photometric == "MONOCHROME1":  # low values are bright
            sum_of_ends = -1 if header.PixelRepresentation else 2**header.BitsStored - 1
            stored = sum_of_ends - stored.astype(np.int64)
        values = import_extra("pydicom.pixels", "medical").apply_modality_lut(stored, header).astype(np.float32)
        return np.where(is_padding, np.float32(np.nan), values) if is_padding.any() else values


def _is_padding(stored: NDArray[Any], header: Any) -> NDArray[np.bool_]:
    """(H, W): whether a stored value is PixelPaddingValue, or between it and PixelPaddingRangeLimit.

    The bits of both count: many files declare −2000 of signed pixels as unsigned, which reads 63536.
    """
    tags = [tag for tag in ("PixelPaddingValue", "PixelPaddingRangeLimit") if header.get(tag) not in (None, "", b"")]
    if "PixelPaddingValue" not in tags:
        return np.zeros(stored.shape, bool)
    unsigned = np.dtype(f"u{stored.dtype.itemsize}")
    ends = []
    for tag in tags:
        value = header[tag].value
        number = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
        ends.append(np.array(number % 2 ** (8 * unsigned.itemsize), unsigned).view(stored.dtype))
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)))


def _stored_pixels(header: Any, path: Path) -> NDArray[Any]:
    try:
        return np.asarray(header.pixel_array)
    except (RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"{path}: is compressed as {header.file_meta.TransferSyntaxUID.name}, and no decoder for it is installed. "
            "Install one (pip install 'pylibjpeg[all]'), or decompress the files (gdcmconv --raw)."
        ) from error
    except (AttributeError, ValueError, KeyError) as error:
        raise UnreadableError(f"{path}: its pixels cannot be read ({str(error).splitlines()[0]}).") from error


def _read_file(path: Path, **options: Any) -> Any:
    pydicom = import_extra("pydicom", "medical")
    with _read_errors(path):
        header = pydicom.dcmread(path, **options)
        for tag in options.get("specific_tags", ()):
            header.get(tag)  # converts it, so that an error names this file
        return header


@contextlib.contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """All that pydicom raises for a damaged file as UnreadableError: it converts values when they are asked for."""
    try:
        yield
    except (DataError, MissingExtraError):
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnreadableError(f"{path}: cannot be read as DICOM ({reason}).") from error
