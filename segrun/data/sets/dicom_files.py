"""DICOM files: the order of a series' slices, and their values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segrun.errors import DataError, import_extra

CLOSE = 0.1  # mm that positions of two series' slices may differ by


@dataclass(frozen=True)
class Series:
    """paths: in the order of the slices; places: along their normal in mm (numbers of the slices where the files say no
    position); codes: where columns, rows and slices run to, as nibabel's axis codes."""

    paths: tuple[Path, ...]
    places: tuple[float, ...]
    codes: str | None


def in_order(case: tuple[tuple[Path, ...], ...]) -> tuple[Series, ...]:
    """The series of a case.

    Raises:
        DataError: unreadable, without an order, or not at the same places.
    """
    found = tuple(_sorted(paths) for paths in case)
    for other in found[1:]:
        if other.codes != found[0].codes or not np.allclose(other.places, found[0].places, rtol=0, atol=CLOSE):
            raise DataError(
                f"{other.paths[0].parent}: its slices lie elsewhere than those of {found[0].paths[0].parent.name}. "
                "Bring the series to the same grid."
            )
    return found


def _sorted(paths: tuple[Path, ...]) -> Series:
    """By the position along the slices' normal, else by InstanceNumber."""
    tags = ["ImagePositionPatient", "ImageOrientationPatient", "InstanceNumber"]
    heads = [_read(path, specific_tags=tags, stop_before_pixels=True) for path in paths]
    codes: str | None = None
    if all(head.get(tag) for head in heads for tag in tags[:2]):
        directions = np.array([head.ImageOrientationPatient for head in heads], dtype=float)
        if not np.allclose(directions, directions[0], atol=1e-3):
            raise DataError(f"{paths[0].parent}: its slices have different orientations. A folder holds one series.")
        across, down = directions[0].reshape(2, 3)
        normal = np.cross(across, down)
        places = [float(normal @ np.array(head.ImagePositionPatient, dtype=float)) for head in heads]
        to_ras = np.diag([-1.0, -1, 1, 1])  # DICOM's axes run to the left, to the back and up
        to_ras[:3, :3] = to_ras[:3, :3] @ np.stack([across, down, normal], axis=1)
        codes = "".join(import_extra("nibabel", "medical").aff2axcodes(to_ras))
    elif all(head.get("InstanceNumber") is not None for head in heads):
        places = [float(head.InstanceNumber) for head in heads]
    else:
        raise DataError(f"{paths[0].parent}: not all files say ImagePositionPatient or InstanceNumber: no order.")
    order = np.argsort(places)
    sorted_ = [places[place] for place in order]
    if (twice := np.flatnonzero(np.diff(sorted_) < 1e-3)).size:
        one, other = (paths[order[twice[0] + step]].name for step in (0, 1))
        raise DataError(f"{paths[0].parent}: {one} and {other} lie at one place. A folder holds one series.")
    return Series(tuple(paths[place] for place in order), tuple(sorted_), codes)


def values_of(path: Path) -> NDArray[np.float32]:
    """(H, W) after rescaling (of CT, Hounsfield units), bright is high, NaN where the file is padded.

    Raises:
        DataError: unreadable, in colour, of several frames, or compressed without a decoder installed.
    """
    head = _read(path)
    meaning = head.get("PhotometricInterpretation")
    if meaning not in ("MONOCHROME1", "MONOCHROME2") or int(head.get("NumberOfFrames") or 1) != 1:
        what = f"{head.get('NumberOfFrames')} frames" if head.get("NumberOfFrames") else str(meaning)
        raise DataError(f"{path}: holds {what}; a slice is one frame of MONOCHROME1 or MONOCHROME2.")
    try:
        stored = head.pixel_array
    except (RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"{path}: is compressed as {head.file_meta.TransferSyntaxUID.name}, which nothing here decodes. Install a "
            "decoder (pip install 'pylibjpeg[all]'), or decompress the files (gdcmconv --raw)."
        ) from error
    except (AttributeError, ValueError, KeyError) as error:
        raise DataError(f"{path}: its pixels cannot be read ({str(error).splitlines()[0]}).") from error
    padding = stored == head["PixelPaddingValue"].value if "PixelPaddingValue" in head else None
    if meaning == "MONOCHROME1":  # low is bright
        ends = -1 if head.PixelRepresentation else 2**head.BitsStored - 1
        stored = ends - stored.astype(np.int64)
    values = import_extra("pydicom.pixels", "medical").apply_modality_lut(stored, head).astype(np.float32)
    return values if padding is None else np.where(padding, np.float32(np.nan), values)


def _read(path: Path, **options: Any) -> Any:
    pydicom = import_extra("pydicom", "medical")
    try:
        return pydicom.dcmread(path, **options)
    except (pydicom.errors.InvalidDicomError, OSError, EOFError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as DICOM ({str(error).splitlines()[0]}).") from error
