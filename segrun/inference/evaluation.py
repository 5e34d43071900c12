"""Evaluation: pixel counts per image and class, summed over the split, with ratios taken once of the sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from segrun.csv_tables import write_table
from segrun.data.dataset import Dataset
from segrun.device import gather_objects
from segrun.inference.batching import group_by_size, read_ahead
from segrun.inference.inference import Inference
from segrun.metrics import Scores, confusion
from segrun.tasks.losses.loss import Loss
from segrun.types import VOID, Sample

if TYPE_CHECKING:  # accelerate takes a second to import
    from accelerate import Accelerator

READERS = 2  # threads that read images ahead


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`.

    Attributes:
        names: The N images, in the order of the split.
        counts: (N, C, 3) true positive, false positive and false negative pixels of each image and class.
        scores: Scores of all images together.
        loss: Mean loss, if one was given.
    """

    names: tuple[str, ...]
    counts: Tensor
    scores: Scores
    loss: float | None

    def write_csv(self, path: Path) -> None:
        """Write the counts, with one row per image and class."""
        rows = (
            (name, class_name, *class_counts)
            for name, counts in zip(self.names, self.counts.tolist(), strict=True)
            for class_name, class_counts in zip(self.scores.classes, counts, strict=True)
        )
        write_table(path, ("image", "class", "tp", "fp", "fn"), rows)


@dataclass
class _Sums:
    """What one process has counted.

    Attributes:
        matrices: (C, C) confusion matrix of each image, by name.
        loss_sums: (K,) sums of the K components of the loss.
        normalizers: (K,) numbers by which they are divided.
    """

    matrices: dict[str, Tensor]
    loss_sums: Tensor
    normalizers: Tensor


def evaluate(
    inference: Inference,
    data: Dataset,
    names: Sequence[str],
    accelerator: Accelerator,
    loss: Loss | None = None,
    batch_size: int = 8,
    advance: Callable[[int], None] = lambda images: None,
) -> Evaluation:
    """Score images, each at the size of its mask.

    Each image is counted once, whatever the batch size and the number of processes.

    Args:
        inference: The model. It is in eval mode during the evaluation.
        data: Holds the images.
        names: Names of the images.
        accelerator: The images are divided among its processes.
        loss: If given, its mean over the images is computed too.
        batch_size: Images of equal size per batch.
        advance: Called with the number of images after each batch.
    """
    was_training = inference.model.training
    inference.model.eval()
    own_names = names[accelerator.process_index :: accelerator.num_processes]
    samples = read_ahead(own_names, data.sample, workers=READERS, ahead=2 * batch_size)
    sums = _count(inference, samples, len(data.classes), loss, batch_size, advance)
    inference.model.train(was_training)
    return _combined(gather_objects(sums), names, data.classes.names, has_loss=loss is not None)


def _count(
    inference: Inference,
    samples: Iterable[Sample],
    classes: int,
    loss: Loss | None,
    batch_size: int,
    advance: Callable[[int], None],
) -> _Sums:
    sums = _Sums({}, torch.zeros(0), torch.zeros(0))
    if loss is not None:  # a process without images has zeros as well
        sums.normalizers = loss.normalizers(torch.full((1, 1, 1), VOID)).cpu()
        sums.loss_sums = torch.zeros_like(sums.normalizers)
    for batch in group_by_size(samples, _size, batch_size, lambda sample: inference.is_large(sample.image)):
        logits = inference.logits(torch.stack([sample.image for sample in batch]))
        masks = torch.stack([sample.mask for sample in batch]).to(logits.device)
        if loss is not None:
            sums.loss_sums = sums.loss_sums + loss(logits, masks).cpu()
            sums.normalizers = sums.normalizers + loss.normalizers(masks).cpu()
        for sample, prediction, mask in zip(batch, logits.argmax(1), masks, strict=True):
            sums.matrices[sample.name] = confusion(prediction, mask, classes)
        advance(len(batch))
    return sums


def _combined(sums: Sequence[_Sums], names: Sequence[str], classes: Sequence[str], has_loss: bool) -> Evaluation:
    """The evaluation from the sums of all processes."""
    by_name: dict[str, Tensor] = {}
    for process_sums in sums:
        by_name.update(process_sums.matrices)
    matrices = torch.stack([by_name[name] for name in names])
    true_positives = matrices.diagonal(dim1=1, dim2=2)
    false_positives = matrices.sum(1) - true_positives
    false_negatives = matrices.sum(2) - true_positives
    counts = torch.stack([true_positives, false_positives, false_negatives], dim=2)
    mean_loss = None
    if has_loss:
        loss_sums = torch.stack([process_sums.loss_sums for process_sums in sums]).sum(0)
        normalizers = torch.stack([process_sums.normalizers for process_sums in sums]).sum(0)
        mean_loss = float((loss_sums / normalizers.clamp(min=1)).sum())
    return Evaluation(tuple(names), counts, Scores.of(matrices.sum(0), classes), mean_loss)


def _size(sample: Sample) -> tuple[object, ...]:
    return (*sample.image.shape, sample.image.dtype)
