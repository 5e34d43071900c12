"""Scores at the image's own size: windows, seams, sizing and its restoration, order of reading ahead."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from segrun.data.sizing import Sizing
from segrun.inference.batching import group_by_size, read_ahead
from segrun.inference.inference import Inference, window_starts
from segrun.models.segmenter import Output


class Model(nn.Module):
    """Any function of images as the one task; counts its windows."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.sizes: list[tuple[int, int]] = []

    def forward(self, images: Tensor) -> Output:
        self.sizes.append((images.shape[-2], images.shape[-1]))
        return Output([], {"mask": self.layer(images)})


class Constant(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.full((len(images), 2, *images.shape[-2:]), 3.25)


def inference(layer: nn.Module, sizing: Sizing) -> Inference:
    return Inference(Model(layer), sizing, torch.device("cpu"), contextlib.nullcontext)


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 3000), st.integers(32, 700), st.floats(0, 0.95))
def test_windows_cover_everything_and_overlap_as_asked(length: int, window: int, overlap: float) -> None:
    starts = window_starts(length, window, overlap)
    assert starts[0] == 0
    assert starts[-1] + window >= length
    if window < length:
        assert starts[-1] + window == length
        steps = [b - a for a, b in itertools.pairwise(starts)]
        assert all(0 <= step <= window * (1 - overlap) + 1.5 for step in steps)
        assert max(steps) <= window


def test_a_length_within_one_window_has_one() -> None:
    assert window_starts(64, 64, 0.25) == window_starts(10, 64, 0.25) == [0]
    assert window_starts(65, 64, 0.25) == [0, 1]


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("size", [(97, 131), (33, 200), (64, 64), (32, 65)])
def test_tiled_scores_of_a_pointwise_model_are_those_of_the_whole_image(size: tuple[int, int], overlap: float) -> None:
    layer = nn.Conv2d(3, 4, 1)
    images = torch.rand(2, 3, *size)
    whole = inference(layer, Sizing("keep", None, tile=1024)).logits(images)
    tiled = inference(layer, Sizing("keep", None, tile=32, overlap=overlap))
    torch.testing.assert_close(tiled.logits(images), whole, rtol=1e-5, atol=1e-6)
    assert len(tiled.model.sizes) > 1
    assert all(max(seen) <= 32 for seen in tiled.model.sizes)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_a_constant_stays_constant_across_seams(overlap: float) -> None:
    scores = inference(Constant(), Sizing("keep", None, tile=32, overlap=overlap)).logits(torch.rand(1, 3, 90, 75))
    torch.testing.assert_close(scores, torch.full((1, 2, 90, 75), 3.25))


def test_seams_weigh_the_window_less_whose_edge_is_near() -> None:
    class Place(nn.Module):
        """Scores of a window are the number of windows seen before it."""

        count = 0

        def forward(self, images: Tensor) -> Tensor:
            self.count += 1
            return torch.full((1, 1, *images.shape[-2:]), float(self.count - 1))

    row = inference(Place(), Sizing("keep", None, tile=32, overlap=0.5)).logits(torch.rand(1, 3, 32, 48))[0, 0, 0]
    assert row[0] < 0.05
    assert row[-1] > 0.95
    assert (row.diff() >= -1e-6).all()
    assert row[23] + row[24] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("sizing", "seen"),
    [
        (Sizing("keep", None), (40, 56)),
        (Sizing("resize", (32, 48)), (32, 48)),
        (Sizing("pad", (64, 96)), (64, 96)),
        (Sizing("crop", (32, 32)), (40, 56)),
    ],
)
def test_scores_have_the_images_own_size_whatever_the_network_saw(sizing: Sizing, seen: tuple[int, int]) -> None:
    made = inference(nn.Conv2d(3, 4, 1), sizing)
    assert made.logits(torch.rand(2, 3, 40, 56)).shape == (2, 4, 40, 56)
    assert made.model.sizes == [seen]


def test_padding_is_cut_off_again_at_the_right_and_the_bottom() -> None:
    layer = nn.Conv2d(3, 4, 1)
    images = torch.rand(1, 3, 40, 56)
    scores = inference(layer, Sizing("pad", (64, 96))).logits(images)
    torch.testing.assert_close(scores, layer(images).detach())


def test_stretching_is_undone() -> None:
    images = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    scores = inference(nn.Identity(), Sizing("resize", (32, 32))).logits(images)
    assert scores.shape == images.shape
    torch.testing.assert_close(scores, images, rtol=0, atol=0.03)


def test_reading_ahead_keeps_the_order_and_reads_no_more_than_asked_for() -> None:
    asked: list[int] = []

    def items() -> Iterator[int]:
        for item in range(9):
            asked.append(item)
            yield item

    stream = read_ahead(items(), lambda item: item * item, workers=3, ahead=4)
    assert [next(stream), next(stream)] == [0, 1]
    assert len(asked) <= 6
    assert list(stream) == [4, 9, 16, 25, 36, 49, 64]


def test_a_failing_read_is_raised_at_its_place() -> None:
    stream = read_ahead([1, 0, 2], lambda i: 1 // i, workers=2, ahead=3)
    assert next(stream) == 1
    with pytest.raises(ZeroDivisionError):
        next(stream)


def test_neighbours_of_one_size_go_together_up_to_the_most() -> None:
    assert list(group_by_size("aaabba", lambda letter: letter, 2)) == [["a", "a"], ["a"], ["b", "b"], ["a"]]
    assert list(group_by_size("", lambda letter: letter, 2)) == []
