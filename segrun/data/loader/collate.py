"""From samples to batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from segrun.data.augment.mixing import match_dtypes
from segrun.errors import RequestError, join_names
from segrun.types import Batch, Example


def collate(examples: Sequence[Example]) -> Batch:
    """One batch out of several samples of equal size."""
    targets = {task: torch.stack([example.targets[task] for example in examples]) for task in examples[0].targets}
    images = torch.stack(match_dtypes([example.image for example in examples]))
    return Batch(tuple(example.name for example in examples), images, targets)


def concat_batches(batches: Sequence[Batch]) -> Batch:
    """One batch out of those of several data sets.

    Raises:
        RequestError: Their images differ in size.
    """
    if len(batches) == 1:
        return batches[0]
    sizes = {tuple(batch.images.shape[-2:]) for batch in batches}
    if len(sizes) > 1:
        text = join_names(f"{width}×{height}" for height, width in sorted(sizes))
        raise RequestError(
            f"the data sets' images differ in size ({text}) and cannot share a batch. Make them equal: "
            "sizing=crop (or resize) sizing.size=[height,width]."
        )
    names = tuple(name for batch in batches for name in batch.names)
    targets = {task: torch.cat([batch.targets[task] for batch in batches]) for task in batches[0].targets}
    return Batch(names, torch.cat(match_dtypes([batch.images for batch in batches])), targets)
