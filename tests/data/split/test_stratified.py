"""Units of images are divided as a whole."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segrun.data.split.stratified import stratified_split


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 99), st.integers(1, 40), st.integers(0, 5))
def test_every_unit_is_dealt_once_and_whole(seed: int, count: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    cuts = sorted({0, count, *torch.randint(0, count, (count // 2,), generator=generator).tolist()})
    units = [tuple(range(a, b)) for a, b in pairwise(cuts)]
    present = torch.rand(count, classes, generator=generator) > 0.6
    splits = stratified_split(units, present, {"a": 0.5, "b": 0.25, "c": 0.25}, seed)
    assert sorted(index for indices in splits.values() for index in indices) == list(range(count))
    assert all(len({split for split, indices in splits.items() if set(unit) & set(indices)}) == 1 for unit in units)
