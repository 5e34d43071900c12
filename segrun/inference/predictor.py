"""Predicting: one image from Python, or files to files."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segrun.data.dataset import Dataset, Reader
from segrun.data.read.images import image_tensor, read_image
from segrun.data.read.intensity import Intensity
from segrun.errors import DataError, RequestError
from segrun.files import atomic_write, write_text
from segrun.inference.inference import Inference, read_ahead, same_sized
from segrun.types import ClassMap, for_the_eye

Sidecars = Callable[[Path], Mapping[str, str]]


class Predictor:
    """predictor(image) → (H, W) uint8 class indices of the image's own size.

    image: a PIL picture (turned as its EXIF says), or an array (H, W) or (H, W, channels) of uint8, uint16 or floats
    in [0, 1]. classes: their names and colours. read: of files, as the training read its images. intensity: of the
    training's raw values; pictures and arrays hold such, then. sidecars: see `Dataset.sidecars`.
    """

    def __init__(
        self,
        inference: Inference,
        classes: ClassMap,
        read: Reader | None = None,
        intensity: Intensity | None = None,
        sidecars: Sidecars = Dataset.sidecars,
    ) -> None:
        self.inference, self.classes, self.intensity, self.sidecars = inference, classes, intensity, sidecars
        self.inference.model.eval()
        self.channels = int(inference.model.mean.numel())  # type: ignore[operator,union-attr]
        self.read = read or partial(read_image, channels=self.channels)

    def __call__(self, image: Image.Image | NDArray[np.generic]) -> NDArray[np.uint8]:
        return np.asarray(self.probabilities(image).argmax(0), dtype=np.uint8)

    def probabilities(self, image: Image.Image | NDArray[np.generic]) -> NDArray[np.float32]:
        """(C, H, W), summing to 1 over the classes. Raises RequestError for arrays of another form."""
        scores = self.inference.logits(_tensor(image, self.channels, self.intensity)[None])[0]
        return scores.softmax(0).cpu().numpy()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class PredictJob:
    """What to write for one file: its mask, and where asked for an overlay and a confidence map."""

    source: Path
    mask: Path
    overlay: Path | None = None
    confidence: Path | None = None
    overwrite: bool = False

    def outputs(self) -> list[Path]:
        return [path for path in (self.mask, self.overlay, self.confidence) if path is not None]


def predict_files(
    predictor: Predictor, wanted: Sequence[PredictJob], batch_size: int, stop: Callable[[], bool]
) -> Iterator[tuple[PredictJob, str | None]]:
    """Predict file by file; yields each with None, or with why it could not be read. Ends early when told to."""

    def read(job: PredictJob) -> tuple[PredictJob, Tensor | None, str]:
        try:
            return job, predictor.read(job.source), ""
        except DataError as error:
            return job, None, str(error)

    images = read_ahead(wanted, read, workers=2, ahead=2 * batch_size)
    groups = same_sized(
        images,
        lambda item: () if item[1] is None else (*item[1].shape, item[1].dtype),
        batch_size,
        lambda item: item[1] is not None and predictor.inference.large(item[1]),
    )
    for group in groups:
        pictures = [image for _, image, _ in group if image is not None]
        if len(pictures) < len(group):  # unreadable files have a "size" of their own
            yield from ((job, why) for job, _, why in group)
            continue
        try:
            probabilities = predictor.inference.logits(torch.stack(pictures)).softmax(1).cpu()
        except DataError as error:
            yield from ((job, str(error)) for job, _, _ in group)
            continue
        for (job, _, _), image, probability in zip(group, pictures, probabilities, strict=True):
            write(job, image, probability, predictor.classes, predictor.sidecars(job.source))
            yield job, None
        if stop():
            return


def write(job: PredictJob, image: Tensor, probability: Tensor, classes: ClassMap, sidecars: Mapping[str, str]) -> None:
    """image: (channels, H, W); probability: (C, H, W). The mask is written last: where it stands, all is done."""
    for path in job.outputs():
        path.parent.mkdir(parents=True, exist_ok=True)
        for ending, text in sidecars.items():
            write_text(path.with_name(path.name + ending), text)
    sure, label = probability.max(0)
    indices = label.byte().numpy()
    if job.overlay is not None:
        colour = np.array(classes.palette, dtype=np.uint8)[indices]
        mixed = (for_the_eye(image).astype(np.uint16) + colour) // 2
        _save(Image.fromarray(mixed.astype(np.uint8)), job.overlay, job.overwrite)
    if job.confidence is not None:
        _save(Image.fromarray((sure * 255).round().byte().numpy()), job.confidence, job.overwrite)
    mask = Image.fromarray(indices)
    mask.putpalette([value for colour in classes.palette for value in colour])
    _save(mask, job.mask, job.overwrite)


def shares(mask: Path, classes: int) -> list[float]:
    """Each class's share of a written mask's pixels."""
    with Image.open(mask) as image:
        counts = np.bincount(np.asarray(image).ravel(), minlength=classes)[:classes]
    return [float(value) for value in counts / max(1, counts.sum())]


def write_summary(path: Path, wanted: Sequence[PredictJob], classes: ClassMap) -> None:
    """summary.csv: each image that has a mask, and the share of each class."""
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("image", *classes.names))
        for job in wanted:
            if job.mask.is_file():
                rows.writerow((str(job.source), *(f"{v:.6f}" for v in shares(job.mask, len(classes)))))


def _save(image: Image.Image, path: Path, overwrite: bool) -> None:
    if path.is_file() and not overwrite:
        return
    with atomic_write(path) as part:
        image.save(part, format="PNG")


def _tensor(image: Image.Image | NDArray[np.generic], channels: int, intensity: Intensity | None) -> Tensor:
    if isinstance(image, Image.Image):
        from PIL import ImageOps

        image = ImageOps.exif_transpose(image)
        if intensity is None:
            return image_tensor(image, channels=channels)
    array = np.asarray(image)
    if array.ndim == 2 and intensity is not None:
        array = array[..., None]
    if array.ndim == 2:
        array = np.repeat(array[..., None], channels, axis=2)
        if channels == 4:
            array[..., 3] = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}.get(array.dtype, 1)
    if array.ndim != 3 or array.shape[2] != channels or not array.size:
        raise RequestError(f"an image array has the shape (H, W) or (H, W, {channels}), not {array.shape}.")
    if intensity is not None:
        return intensity(array.transpose(2, 0, 1).astype(np.float32))
    if array.dtype == np.uint16:
        array = array.astype(np.float32) / 65535
    if array.dtype != np.uint8:
        array = array.astype(np.float32)
        if array.min() < 0 or array.max() > 1:
            raise RequestError("an image array of floats lies in 0…1; give uint8 for 0…255.")
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))
