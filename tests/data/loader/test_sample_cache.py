"""Decoded samples are kept up to the budget, shared by the loader's processes, and never change a sample."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from segrun.data.dataset import Dataset
from segrun.data.loader.batch_sampler import EndlessBatchSampler
from segrun.data.loader.sample_cache import SampleCache
from segrun.data.loader.train_dataset import TrainDataset
from segrun.data.loader.train_loader import make_train_loader
from segrun.data.sizing import Sizing
from segrun.errors import RequestError
from segrun.tasks.auxiliary.targets import Targets
from segrun.types import ClassMap

SIZE = 16 * 20 * 4  # bytes of an RGB image of 16 by 20 with its mask


class Counted(Dataset):
    """Counts how often each image is read, in memory that other processes share."""

    def __init__(self, count: int, floats: bool = False) -> None:
        self.classes = ClassMap.of(("a", "b"))
        self.names, self.floats = tuple(map(str, range(count))), floats
        self.reads = torch.zeros(count, dtype=torch.int64).share_memory_()

    def image(self, name: str) -> Tensor:
        self.reads[int(name)] += 1
        image = torch.full((3, 16, 20), int(name), dtype=torch.uint8)
        return image.float() / 255 if self.floats else image

    def mask(self, name: str) -> Tensor:
        return (torch.arange(320).view(16, 20) % 2).byte()


def samples(data: Dataset, cache: SampleCache | None, sizing: Sizing | None = None) -> TrainDataset:
    return TrainDataset(data, data.names, sizing or Sizing("keep", None), None, 0, Targets({}, 2), cache)


@pytest.mark.parametrize("floats", [False, True])
def test_what_is_kept_is_what_was_read_and_is_not_read_again(floats: bool) -> None:
    data = Counted(4, floats)
    cache = SampleCache(100_000, 4)
    shown = samples(data, cache)
    for _, index in itertools.product(range(3), range(4)):
        result = shown.sample((0, index))
        assert result.name == str(index)
        assert torch.equal(result.mask, data.mask("0"))
        expected = index / 255 if floats else index
        assert result.image.dtype == (torch.float32 if floats else torch.uint8)
        assert torch.allclose(result.image.float(), torch.full((3, 16, 20), float(expected)))
    assert data.reads.tolist() == [1, 1, 1, 1] and cache.stored == 4


def test_the_budget_is_kept_and_what_does_not_fit_is_read_again() -> None:
    data = Counted(5)
    cache = SampleCache(3 * SIZE + SIZE // 2, 5)
    shown = samples(data, cache)
    for _, index in itertools.product(range(3), range(5)):
        assert int(shown.sample((0, index)).image[0, 0, 0]) == index
    assert data.reads.tolist() == [1, 1, 1, 3, 3]
    assert cache.stored == 3 and cache.used == 3 * SIZE <= cache.budget


def test_fitted_samples_are_what_is_kept() -> None:
    data = Counted(2)
    cache = SampleCache(100_000, 2)
    shown = samples(data, cache, Sizing("resize", (8, 10)))
    plain = samples(data, None, Sizing("resize", (8, 10)))
    for _ in range(2):
        assert torch.equal(shown.sample((0, 1)).image, plain.sample((0, 1)).image)
        assert torch.equal(shown.sample((0, 1)).mask, plain.sample((0, 1)).mask)
    assert cache.used == 8 * 10 * 4


def passes(data: Dataset, cache: SampleCache) -> Iterator[object]:
    return iter(make_train_loader(samples(data, cache), EndlessBatchSampler(6, 3, seed=0), workers=2, pin_memory=False))


def test_what_one_worker_has_read_no_other_reads_again() -> None:
    data = Counted(6)
    cache = SampleCache(100_000, 6)
    for _ in range(2):  # the second loader's workers find all that the first one's have kept
        list(itertools.islice(passes(data, cache), 10))
        if torch.multiprocessing.get_start_method() != "fork":
            pytest.skip("only forked workers share the memory")
    # in the first pass two workers may read the same image of two passes at once
    assert cache.stored == 6 and int(data.reads.sum()) <= 9


def test_a_cache_that_was_pickled_is_an_empty_one_of_the_same_budget() -> None:
    cache = SampleCache(5_000, 3)
    cache.put(1, torch.ones(3, 4, 4, dtype=torch.uint8), torch.ones(4, 4, dtype=torch.uint8))
    other = pickle.loads(pickle.dumps(cache))
    assert other.get(1) is None and (other.stored, other.budget) == (0, 5_000)
    other.put(1, torch.ones(3, 4, 4, dtype=torch.uint8), torch.zeros(4, 4, dtype=torch.uint8))
    assert other.stored == 1 and int(other.get(1)[1].sum()) == 0 and int(cache.get(1)[1].sum()) == 16


def test_values_of_other_types_are_not_kept() -> None:
    cache = SampleCache(5_000, 1)
    cache.put(0, torch.ones(3, 4, 4, dtype=torch.float64), torch.ones(4, 4, dtype=torch.uint8))
    assert cache.get(0) is None and cache.used == 0


def test_more_than_the_system_grants_is_refused() -> None:
    with pytest.raises(RequestError, match=r"trainer\.cache: the system does not grant \d+ bytes"):
        SampleCache(2**62, 1)
