"""Prediction from image files to mask files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segrun.csv_tables import write_table
from segrun.data.read.images import open_image
from segrun.errors import DataError, RequestError, ResourceError, SegrunError, UnreadableError
from segrun.files import atomic_write, write_text
from segrun.inference.batching import group_by_size, read_ahead
from segrun.inference.predict_jobs import PredictJob
from segrun.inference.predictor import Predictor
from segrun.types import ClassMap, to_display_rgb

READERS = 2  # threads that read images ahead


class _ReadImage(NamedTuple):
    job: PredictJob
    image: Tensor | None  # (channels, H, W); None where it could not be read
    problem: str

    def size(self) -> tuple[object, ...]:
        return () if self.image is None else (*self.image.shape, self.image.dtype)


def predict_files(
    predictor: Predictor, jobs: Sequence[PredictJob], batch_size: int, stop: Callable[[], bool]
) -> Iterator[tuple[PredictJob, str | None]]:
    """Predict image files and write the results.

    Args:
        predictor: The model.
        jobs: The files.
        batch_size: Images of equal size per batch.
        stop: Asked after each batch whether to end early.

    Yields:
        Each job in order, with None, or with the reason why its image could not be predicted.
    """

    def read(job: PredictJob) -> _ReadImage:
        try:
            return _ReadImage(job, predictor.read(job.source), "")
        except Exception as error:
            return _ReadImage(job, None, _problem_of(job, error))

    def is_large(item: _ReadImage) -> bool:
        return item.image is not None and predictor.inference.is_large(item.image)

    items = read_ahead(jobs, read, workers=READERS, ahead=2 * batch_size)
    for group in group_by_size(items, _ReadImage.size, batch_size, is_large):
        images = [item.image for item in group if item.image is not None]
        if not images:  # files that could not be read have a size of their own, so they are among themselves
            yield from ((item.job, item.problem) for item in group)
            continue
        try:
            probabilities = predictor.inference.logits(torch.stack(images)).softmax(1).cpu()
        except DataError as error:  # too large to be padded, for example
            yield from ((item.job, str(error)) for item in group)
            continue
        for item, image, probability in zip(group, images, probabilities, strict=True):
            problem = None
            try:
                sidecars = predictor.sidecars(item.job.source)
                write_prediction(item.job, image, probability, predictor.classes, sidecars)
            except Exception as error:
                problem = _problem_of(item.job, error)
            yield item.job, problem
        if stop():
            return


def _problem_of(job: PredictJob, error: Exception) -> str:
    """The message of an error that concerns one image, so that the others are predicted all the same.

    Raises:
        RequestError, ResourceError: Every other image would meet it, too.
    """
    if isinstance(error, ResourceError) or (isinstance(error, RequestError) and not isinstance(error, DataError)):
        raise error
    text = str(error) if isinstance(error, SegrunError) else f"{type(error).__name__}: {error}"
    return text if str(job.source) in text else f"{job.source}: {text}"


def write_prediction(
    job: PredictJob, image: Tensor, probabilities: Tensor, classes: ClassMap, sidecars: Mapping[str, str]
) -> None:
    """Write the files of one image. The mask is written last: where it exists, the others do too.

    Args:
        job: What to write.
        image: (channels, H, W).
        probabilities: (C, H, W).
        classes: The C classes.
        sidecars: Text to write beside each file, by the suffix that is added to its name.
    """
    for path in job.outputs():
        path.parent.mkdir(parents=True, exist_ok=True)
        for suffix, text in sidecars.items():
            write_text(path.with_name(path.name + suffix), text)
    confidence, predicted = probabilities.max(0)
    indices = predicted.byte().numpy()
    if job.overlay is not None:
        colours = np.array(classes.palette, dtype=np.uint8)[indices]
        blended = (to_display_rgb(image).astype(np.uint16) + colours) // 2
        _write_png(Image.fromarray(blended.astype(np.uint8)), job.overlay, job.overwrite)
    if job.confidence is not None:
        _write_png(Image.fromarray((confidence * 255).round().byte().numpy()), job.confidence, job.overwrite)
    mask = Image.fromarray(indices)
    mask.putpalette([value for colour in classes.palette for value in colour])
    _write_png(mask, job.mask, job.overwrite)


def write_summary(path: Path, jobs: Sequence[PredictJob], classes: ClassMap) -> list[str]:
    """Write summary.csv: one row per image that has a mask, with the fraction of its pixels per class.

    Returns:
        Which files of earlier runs are no masks.
    """
    rows, problems = [], []
    for job in jobs:
        if job.mask.is_file():
            try:
                fractions = _class_fractions(job.mask, len(classes))
            except (UnreadableError, ValueError) as error:
                reason = error.__cause__ or error
                problems.append(f"{job.mask}: is not a mask ({reason}). Remove it, or replace it: overwrite=true.")
            else:
                rows.append((str(job.source), *(f"{fraction:.6f}" for fraction in fractions)))
    write_table(path, ("image", *classes.names), rows)
    return problems


def _class_fractions(mask: Path, classes: int) -> list[float]:
    counts = np.bincount(np.asarray(open_image(mask)).ravel(), minlength=classes)[:classes]
    return [float(fraction) for fraction in counts / max(1, counts.sum())]


def _write_png(image: Image.Image, path: Path, overwrite: bool) -> None:
    if path.is_file() and not overwrite:
        return
    with atomic_write(path) as temporary:
        image.save(temporary, format="PNG")
