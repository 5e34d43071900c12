"""Training samples by key.

A sample is a function of (seed, pass, index) and of nothing else: the number of workers and processes, the order of
arrival and a resume do not change it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset as TorchDataset

from segrun.data.augment.augment import Augment
from segrun.data.dataset import Dataset
from segrun.data.loader.batch_sampler import SampleKey
from segrun.data.loader.sample_cache import SampleCache
from segrun.data.loader.seeds import derive_seed
from segrun.data.sizing import Sizing
from segrun.types import Example, Sample

MakeTargets = Callable[[Sample], Mapping[str, torch.Tensor]]  # → targets by task

NO_AUGMENTATION = Augment(scale=(1, 1), stretch=1, hflip=0, vflip=0, rotate90=False, colour=0, blur=0)


class TrainDataset(TorchDataset[Any]):
    """Resized and augmented samples.

    Args:
        data: The data set.
        names: The training images.
        sizing: Brings the images to the size that the network sees.
        augment: None for no augmentation. Windows are drawn even then if the sizing crops.
        seed: Seed of the augmentation.
        make_targets: Makes the targets of a sample.
        cache: Keeps resized samples in memory; None to read them in every pass.
    """

    def __init__(
        self,
        data: Dataset,
        names: Sequence[str],
        sizing: Sizing,
        augment: Augment | None,
        seed: int,
        make_targets: MakeTargets,
        cache: SampleCache | None = None,
    ) -> None:
        self.data, self.names, self.sizing, self.augment, self.seed = data, tuple(names), sizing, augment, seed
        self.make_targets, self.cache = make_targets, cache

    def __getitem__(self, key: SampleKey) -> Example:
        sample = self.sample(key)
        return Example(sample.name, sample.image, self.make_targets(sample))

    def sample(self, key: SampleKey) -> Sample:
        """The augmented sample, without targets.

        Args:
            key: (pass over the data, index of the image)
        """
        pass_index, index = key
        if self.augment is None and self.sizing.fit != "crop":
            return self._resized(index)
        augment = self.augment or NO_AUGMENTATION
        with torch.random.fork_rng(devices=[]):
            # not torch.manual_seed, which also seeds every kind of accelerator and takes half a millisecond for it
            torch.default_generator.manual_seed(derive_seed(self.seed, pass_index, index))
            sample = augment(self._resized(index), self.sizing.size)

            def draw_partner() -> Sample:
                partner = int(torch.randint(len(self.names), ()))
                return augment(self._resized(partner), sample.mask.shape)

            return augment.mixing(sample, draw_partner)

    def _resized(self, index: int) -> Sample:
        """The sample in the size that the network sees, from the cache if it is there."""
        name = self.names[index]
        cached = None if self.cache is None else self.cache.get(index)
        if cached is not None:
            return Sample(name, *cached)
        with torch.random.fork_rng(devices=[]):  # reading may draw numbers, and cached samples are not read
            sample = self.sizing.sample(self.data.sample(name))
        if self.cache is not None:
            self.cache.put(index, sample.image, sample.mask)
        return sample
