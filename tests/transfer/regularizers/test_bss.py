"""BSS: value and gradient against a few lines of independent computation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segrun.errors import RequestError
from segrun.models.segmenter import Output
from segrun.transfer.regularizers.bss import BSS
from tests.transfer.regularizers.tiny import IMAGES


@pytest.mark.parametrize("k", [1, 3])
def test_bss_is_the_sum_of_the_smallest_squared_singular_values(k: int) -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(4, 6, 2, 5))
    u, s, vt = np.linalg.svd(maps.mean((2, 3)), full_matrices=False)
    deep = torch.from_numpy(maps).requires_grad_()
    other = torch.ones(4, 2, 4, 10, requires_grad=True)
    value = BSS(k, 0.5).build_penalty(None, {}, {})(IMAGES, Output([other, deep], {}))  # type: ignore[arg-type]
    assert value.item() == pytest.approx(0.5 * np.square(s[-k:]).sum(), rel=1e-5)
    (gradient,) = torch.autograd.grad(value, deep)
    expected = 0.5 * 2 * (u[:, -k:] * s[-k:]) @ vt[-k:] / 10  # each of ten positions has a tenth of the mean
    torch.testing.assert_close(gradient.mean((2, 3)), torch.from_numpy(expected), rtol=1e-4, atol=1e-6)
    assert gradient.amax((2, 3)).equal(gradient.amin((2, 3)))


def test_bss_is_computed_in_single_precision_under_autocast() -> None:
    maps = torch.randn(4, 6, 2, 5).bfloat16()
    penalty = BSS(2, 1.0).build_penalty(None, {}, {})  # type: ignore[arg-type]
    with torch.autocast("cpu", torch.bfloat16):
        value = penalty(IMAGES, Output([maps], {}))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(np.square(np.linalg.svd(maps.float().mean((2, 3)))[1][-2:]).sum(), rel=1e-4)


@pytest.mark.parametrize(("batch", "channels"), [(2, 6), (6, 2), (1, 6)])
def test_bss_needs_more_singular_values_than_it_shrinks(batch: int, channels: int) -> None:
    penalty = BSS(2, 1e-3).build_penalty(None, {}, {})  # type: ignore[arg-type]
    with pytest.raises(
        RequestError, match=rf"regularizer\.bss\.k=2: .*{min(batch, channels)} singular values.*larger batch"
    ):
        penalty(IMAGES, Output([torch.rand(batch, channels, 2, 2)], {}))
    assert penalty(IMAGES, Output([torch.rand(3, 3, 2, 2)], {})).item() > 0
