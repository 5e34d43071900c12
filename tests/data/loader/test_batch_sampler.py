"""Batches of sample keys: every pass shows each image once, and every batch is full."""

from __future__ import annotations

import itertools

import pytest

from segrun.data.loader.batch_sampler import EndlessBatchSampler, SampleKey


def taken(sampler: EndlessBatchSampler, batches: int) -> list[list[SampleKey]]:
    return list(itertools.islice(sampler, batches))


def test_each_pass_shows_every_image_once() -> None:
    keys = [key for batch in taken(EndlessBatchSampler(10, 4, seed=0), 5) for key in batch]
    assert [pass_index for pass_index, _ in keys] == [0] * 10 + [1] * 10
    first, second = [i for _, i in keys[:10]], [i for _, i in keys[10:]]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second and first != list(range(10))


def test_every_batch_is_full_also_with_fewer_images_than_a_batch_holds() -> None:
    batches = taken(EndlessBatchSampler(3, 8, seed=0), 3)
    assert [len(batch) for batch in batches] == [8, 8, 8]
    keys = [key for batch in batches for key in batch]
    assert len(set(keys)) == 24  # the same image comes again in another pass, with other augmentation
    assert sorted(keys) == [(pass_index, i) for pass_index in range(8) for i in range(3)]


def test_the_order_follows_the_seed() -> None:
    assert taken(EndlessBatchSampler(10, 4, seed=1), 3) == taken(EndlessBatchSampler(10, 4, seed=1), 3)
    assert taken(EndlessBatchSampler(10, 4, seed=1), 3) != taken(EndlessBatchSampler(10, 4, seed=2), 3)


@pytest.mark.parametrize(("batch", "world"), [(4, 2), (5, 2), (7, 3)])
def test_the_shares_of_all_processes_join_to_the_batch_of_one(batch: int, world: int) -> None:
    whole = taken(EndlessBatchSampler(11, batch, seed=3), 6)
    shares = [taken(EndlessBatchSampler(11, batch, 3, rank, world), 6) for rank in range(world)]
    assert [list(itertools.chain(*parts)) for parts in zip(*shares, strict=True)] == whole


def test_a_stream_started_later_continues_as_if_it_had_never_stopped() -> None:
    assert taken(EndlessBatchSampler(7, 3, seed=0, start=4), 6) == taken(EndlessBatchSampler(7, 3, seed=0), 10)[4:]
