"""The one door: images of any dtype in, normalised inside; features may be given instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from segrun.models.backbones.backbone import Backbone, Level
from segrun.models.heads.head import Head
from segrun.models.segmenter import Segmenter


class Halves(Backbone):
    """Two convolutions, strides 2 and 4; counts how often it runs."""

    mean = (0.5, 0.4, 0.3)
    std = (0.2, 0.25, 0.5)
    levels = (Level(4, 2), Level(8, 4))

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.two = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.stages = {"stem": ["one"], "layer1": ["two"]}
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> list[Tensor]:
        self.seen.append(images)
        one = self.one(images)
        return [one, self.two(one)]


class Deepest(Head):
    levels_used = (1,)

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.output = nn.Conv2d(8, outputs, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.output(features[-1])  # type: ignore[no-any-return]


@pytest.fixture
def model() -> Segmenter:
    return Segmenter(Halves(), {"mask": Deepest(3), "boundary": Deepest(1)})


def test_bytes_and_floats_of_the_same_image_give_the_same_scores(model: Segmenter) -> None:
    image = torch.randint(0, 256, (2, 3, 21, 34), dtype=torch.uint8)
    from_bytes, from_floats = model(image), model(image.float() / 255)
    torch.testing.assert_close(from_bytes.tasks, from_floats.tasks, rtol=1e-5, atol=1e-6)


def test_the_backbone_sees_images_normalised_by_its_own_mean_and_std(model: Segmenter) -> None:
    image = torch.rand(1, 3, 8, 8)
    model(image)
    expected = (image - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.25, 0.5]).view(3, 1, 1)
    torch.testing.assert_close(model.backbone.seen[0], expected)


def test_normalisation_travels_with_the_weights(model: Segmenter) -> None:
    class Other(Halves):
        mean = (0.0, 0.0, 0.0)
        std = (1.0, 1.0, 1.0)

    other = Segmenter(Other(), {"mask": Deepest(3), "boundary": Deepest(1)})
    image = torch.rand(1, 3, 8, 8)
    assert not torch.allclose(model(image).tasks["mask"], other(image).tasks["mask"])
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(image).tasks["mask"], other(image).tasks["mask"])


def test_every_task_has_an_entry_at_the_images_size(model: Segmenter) -> None:
    output = model(torch.rand(2, 3, 21, 34))
    assert {name: tuple(scores.shape) for name, scores in output.tasks.items()} == {
        "mask": (2, 3, 21, 34),
        "boundary": (2, 1, 21, 34),
    }
    assert [f.shape[1] for f in output.features] == [4, 8]


def test_given_features_take_the_place_of_the_backbones(model: Segmenter) -> None:
    image = torch.rand(2, 3, 21, 34)
    whole = model(image)
    again = model(image, features=whole.features)
    assert len(model.backbone.seen) == 1
    assert all(torch.equal(again.tasks[name], whole.tasks[name]) for name in whole.tasks)


def test_parts_are_the_stages_then_one_head_a_task(model: Segmenter) -> None:
    assert tuple(model.parts()) == ("backbone.stem", "backbone.layer1", "head.mask", "head.boundary")


def test_a_fresh_mask_head_begins_at_the_shares_of_the_classes() -> None:
    model = Segmenter(Halves(), {"mask": Deepest(3), "other": Deepest(3)})
    nn.init.zeros_(model.heads["mask"].output.weight)  # type: ignore[union-attr,arg-type]
    other = model.heads["other"].output.bias.clone()  # type: ignore[union-attr,operator]
    model.init_bias_from_class_prior(torch.tensor([0.9, 0.0995, 0.0005]))
    chances = model(torch.rand(1, 3, 8, 8)).tasks["mask"].softmax(1).mean((0, 2, 3))
    wanted = torch.tensor([0.9, 0.0995, 0.01])  # a class that is all but absent begins no lower
    torch.testing.assert_close(chances, wanted / wanted.sum())
    assert torch.equal(model.heads["other"].output.bias, other)  # type: ignore[union-attr,arg-type]


def test_a_mask_head_that_was_loaded_keeps_its_bias() -> None:
    model = Segmenter(Halves(), {"mask": Deepest(3)})
    before = model.heads["mask"].output.bias.clone()  # type: ignore[union-attr,operator]
    model.report = replace(model.report, adapted=("heads.mask.output.bias",))
    model.init_bias_from_class_prior(torch.tensor([0.9, 0.1, 0.0]))
    assert torch.equal(model.heads["mask"].output.bias, before)  # type: ignore[union-attr,arg-type]
