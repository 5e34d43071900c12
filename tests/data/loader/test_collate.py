"""Samples become batches."""

from __future__ import annotations

import torch

from segrun.data.augment.mixing import to_float
from segrun.data.loader.collate import collate
from segrun.data.loader.train_dataset import TrainDataset
from segrun.data.sets.shapes import Shapes
from segrun.data.sizing import Sizing
from segrun.tasks.auxiliary.targets import Targets
from segrun.types import Example


def test_a_batch_keeps_names_images_and_masks_together() -> None:
    shapes = Shapes(32, train=5, val=1, test=1, objects=3, seed=0)
    names = shapes.splits["train"]
    data = TrainDataset(shapes, names, Sizing("keep", None), None, 0, Targets({}, 6))
    batch = collate([data[0, 4], data[0, 1]])
    assert len(batch) == 2 and batch.names == ("train-004", "train-001")
    assert torch.equal(batch.images[1], data[0, 1].image)
    assert torch.equal(batch.targets["mask"][0], data[0, 4].targets["mask"])


def test_8_bit_and_16_bit_images_meet_as_floats() -> None:
    targets = {"mask": torch.zeros(2, 2, dtype=torch.uint8)}
    eight = Example("a", torch.full((3, 2, 2), 51, dtype=torch.uint8), targets)
    sixteen = Example("b", torch.full((3, 2, 2), 0.5), targets)
    batch = collate([eight, sixteen])
    assert torch.allclose(batch.images[:, 0, 0, 0], torch.tensor([0.2, 0.5]))
    assert torch.equal(to_float(eight.image), batch.images[0])
