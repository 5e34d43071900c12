"""The sample pictures of several runs side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segrun.comparison.scoring import CellResult
from segrun.report.html.page import Picture

NUM_IMAGES = 4  # test images that are shown
LONGEST_SIDE = 220  # pixels


@dataclass(frozen=True)
class SamplePanel:
    """The three pictures of a sample file, each (H, W, 3)."""

    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    prediction: NDArray[np.uint8]


def sample_pictures(results: Sequence[CellResult]) -> Iterator[Picture]:
    """Per test image: the image, the truth, one prediction per cell, and where these predictions differ."""
    folders = {str(result.cell): next(iter(result.cell.runs.values())).folder / "samples" for result in results}
    file_names = sorted({path.name for folder in folders.values() for path in folder.glob("*.png")})
    for file_name in file_names[:NUM_IMAGES]:
        panels = {}
        for cell, folder in folders.items():
            panel = read_panel(folder / file_name)
            if panel is not None:
                panels[cell] = panel
        if panels:
            yield from _pictures_of_image(Path(file_name).stem, panels)


def _pictures_of_image(name: str, panels: Mapping[str, SamplePanel]) -> Iterator[Picture]:
    first = next(iter(panels.values()))
    yield Picture(f"{name}: image", first.image)
    yield Picture("truth", first.truth)
    same_size = {
        cell: panel.prediction for cell, panel in panels.items() if panel.prediction.shape == first.truth.shape
    }
    for cell, prediction in same_size.items():
        yield Picture(cell, prediction)
    is_different = _where_different(list(same_size.values()))
    highlighted = np.where(is_different[..., None], 255, first.image // 3)
    yield Picture("where they differ", highlighted.astype(np.uint8))


def _where_different(predictions: Sequence[NDArray[np.uint8]]) -> NDArray[np.bool_]:
    """(H, W), whether any prediction differs from the first one."""
    is_different = np.zeros(predictions[0].shape[:2], np.bool_)
    for prediction in predictions[1:]:
        is_different |= (prediction != predictions[0]).any(-1)
    return is_different


def read_panel(path: Path) -> SamplePanel | None:
    """Read a sample file and reduce it in size; None if there is none or it cannot be read."""
    try:
        with Image.open(path) as file:
            pixels = np.asarray(file.convert("RGB"))
    except Exception:  # a damaged PNG raises anything: SyntaxError, ValueError, DecompressionBombError
        return None
    height, width = pixels.shape[0], pixels.shape[1] // 3
    if width == 0:  # not the three pictures that segrun writes
        return None
    step = max(1, max(height, width) // LONGEST_SIDE)
    image, truth, prediction = (pixels[::step, start : start + width][:, ::step] for start in (0, width, 2 * width))
    return SamplePanel(image, truth, prediction)
