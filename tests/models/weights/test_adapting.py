"""Pretrained tensors for images of other channels and sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segrun.models.weights.adapting import fold_channels, fold_statistics, resampled_positions, resampled_square


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7, 12])
def test_a_folded_kernel_answers_grey_images_as_the_colour_one_does(channels: int) -> None:
    kernel = torch.randn(8, 3, 3, 3, dtype=torch.float64)
    grey = torch.rand(1, 1, 9, 9, dtype=torch.float64)
    folded = fold_channels(kernel, channels)
    assert folded.shape == (8, channels, 3, 3)
    answer = nn.functional.conv2d(grey.expand(1, channels, 9, 9), folded)
    torch.testing.assert_close(answer, nn.functional.conv2d(grey.expand(1, 3, 9, 9), kernel))


def test_one_channel_is_the_sum_over_the_colours_and_six_are_halves() -> None:
    kernel = torch.randn(4, 3, 3, 3)
    torch.testing.assert_close(fold_channels(kernel, 1), kernel.sum(1, keepdim=True))
    torch.testing.assert_close(fold_channels(kernel, 6), torch.cat((kernel, kernel), 1) / 2)


def test_statistics_go_the_way_of_their_channels() -> None:
    assert fold_statistics((1.0, 2.0, 3.0), 1) == (2.0,)
    assert fold_statistics((1.0, 2.0, 3.0), 2) == (2.0, 2.0)
    assert fold_statistics((1.0, 2.0, 3.0), 5) == (1.0, 2.0, 3.0, 1.0, 2.0)


def test_positions_are_resampled_as_an_image_and_class_tokens_kept() -> None:
    row = torch.linspace(0, 1, 14).repeat(14, 1)
    positions = torch.cat((torch.full((1, 1, 1), 9.0), row.reshape(1, 196, 1)), 1)
    assert resampled_positions(positions, (14, 14), 1) is positions
    found = resampled_positions(positions, (7, 28), 1)
    assert found.shape == (1, 1 + 7 * 28, 1) and found[0, 0, 0] == 9
    grid = found[0, 1:, 0].reshape(7, 28)
    torch.testing.assert_close(grid[0], grid[6])
    assert (grid[0].diff() > 0).all()
    assert resampled_square(positions, (1, 50, 1)) is not None
    assert resampled_square(positions, (1, 51, 1)) is None  # no square grid
    assert resampled_square(positions, (1, 50, 2)) is None
