"""Scoring: counts an image, summed over the split; ratios once, of the sums."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from segrun.data.dataset import Dataset
from segrun.files import atomic_write
from segrun.inference.inference import Inference, read_ahead, same_sized
from segrun.metrics import Scores, confusion
from segrun.tasks.losses import Loss
from segrun.types import VOID, Sample


@dataclass(frozen=True)
class Evaluation:
    """names: the images in the split's order; counts: (N, C, 3) tp, fp, fn pixels of each image and class."""

    names: tuple[str, ...]
    counts: Tensor
    scores: Scores
    loss: float | None

    def write_csv(self, path: Path) -> None:
        with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(("image", "class", "tp", "fp", "fn"))
            for name, counts in zip(self.names, self.counts.tolist(), strict=True):
                rows.writerows((name, label, *count) for label, count in zip(self.scores.classes, counts, strict=True))


def evaluate(
    inference: Inference,
    data: Dataset,
    names: Sequence[str],
    accelerator: Accelerator,
    loss: Loss | None = None,
    batch_size: int = 8,
    advance: Callable[[int], None] = lambda images: None,
) -> Evaluation:
    """Score `names`, each at its mask's own size. Every image is counted once, however many processes share
    the work and whatever the batch size."""
    was = inference.model.training
    inference.model.eval()
    mine = range(accelerator.process_index, len(names), accelerator.num_processes)
    samples = read_ahead((names[i] for i in mine), data.sample, workers=2, ahead=2 * batch_size)
    found: list[tuple[str, Tensor]] = []
    classes = len(data.classes)
    nothing = torch.full((1, 1, 1), VOID)
    weights = torch.zeros(0) if loss is None else loss.normalizers(nothing).cpu()
    sums = torch.zeros_like(weights)
    for batch in same_sized(samples, _size, batch_size, lambda s: inference.large(s.image)):
        logits = inference.logits(torch.stack([s.image for s in batch]))
        truth = torch.stack([s.mask for s in batch]).to(logits.device)
        if loss is not None:
            sums = sums + loss(logits, truth).cpu()
            weights = weights + loss.normalizers(truth).cpu()
        for sample, guess, mask in zip(batch, logits.argmax(1), truth, strict=True):
            found.append((sample.name, confusion(guess, mask, classes)))
        advance(len(batch))
    inference.model.train(was)
    shares = gather_object([(found, sums, weights)])
    matrices = {name: matrix for share in shares for name, matrix in share[0]}
    total_sums, total_weights = (torch.stack([share[k] for share in shares]).sum(0) for k in (1, 2))
    stacked = torch.stack([matrices[name] for name in names])
    hit = stacked.diagonal(dim1=1, dim2=2)
    counts = torch.stack([hit, stacked.sum(1) - hit, stacked.sum(2) - hit], dim=2)
    mean_loss = None if loss is None else float((total_sums / total_weights.clamp(min=1)).sum())
    return Evaluation(tuple(names), counts, Scores.of(stacked.sum(0), data.classes.names), mean_loss)


def _size(sample: Sample) -> tuple[object, ...]:
    return (*sample.image.shape, sample.image.dtype)
