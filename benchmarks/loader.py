"""Images a second of the training data: segrun's loader beside a plain torch DataLoader with the same transforms.

    python benchmarks/loader.py camvid/
    python benchmarks/loader.py camvid/ --workers 4 --augment strong

Ours is what `segrun train experiment=camvid` feeds the network with. Theirs is written the usual way: Pillow decodes
both files, torchvision's v2 transforms change tv_tensors, and the image leaves as normalised floats; `8-bit` leaves the
last step out, as segrun does, whose model normalises on its device. All take turns in one process, pass by pass; the
first pass of each, in which workers start and segrun's memory fills, is not counted. `--cpu` measures the processor's
time instead of the clock's, for machines that do other work (without workers alone).
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from segrun.config.build import build
from segrun.config.compose import compose, to_dict
from segrun.data.augment.augment import Augment
from segrun.data.loader.batches import Stream, TrainingSamples, training_batches
from segrun.data.loader.sample_cache import SampleCache
from segrun.data.sets.pairs import ImageMaskPairs
from segrun.experiment import assemble
from segrun.tasks.auxiliary.targets import Targets


class Usual(TorchDataset[Any]):
    """Files to transformed tv_tensors, as in torchvision's guides."""

    def __init__(self, files: list[tuple[Path, ...]], transform: v2.Transform) -> None:
        self.files, self.transform = files, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        with Image.open(self.files[index][0]) as file:
            image = v2.functional.to_image(file.convert("RGB"))
        with Image.open(self.files[index][1]) as file:
            mask = tv_tensors.Mask(torch.from_numpy(np.array(file)))
        return self.transform(image, mask)


def usual(values: dict[str, Any], floats: bool) -> v2.Transform:
    """The config's augmentation in torchvision's own transforms."""
    asked, (height, width) = values["augment"], values["sizing"]["size"]
    ratio = (width / height / asked["stretch"], width / height * asked["stretch"])
    steps: list[v2.Transform] = [v2.RandomResizedCrop((height, width), tuple(asked["scale"]), ratio, antialias=True)]
    if asked["rotate"]:
        steps.append(v2.RandomRotation(asked["rotate"], fill={tv_tensors.Image: 0, tv_tensors.Mask: 255}))
    steps += [v2.RandomHorizontalFlip(asked["hflip"]), v2.RandomVerticalFlip(asked["vflip"])]
    if asked["blur"]:
        steps.append(v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.5))], asked["blur"]))
    steps.append(v2.ColorJitter(*3 * [asked["colour"]]))
    if floats:
        mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        steps += [v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True)]
        steps += [v2.Normalize(mean, deviation)]
    return v2.Compose(steps)


def again(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def loaders(root: str, augment: str, batch: int, workers: int) -> tuple[dict[str, Iterator[Any]], int]:
    """Endless batches by the name of what makes them, and how many make a pass."""
    values = to_dict(
        compose("train", ["experiment=camvid", f"augment={augment}", f"dataset.root={Path(root).resolve()}"])
    )
    data, sizing = assemble.dataset(values), assemble.sizing(values)
    assert isinstance(data, ImageMaskPairs)
    names = list(data.splits["train"])
    made: Augment = build(values["augment"], "augment")
    budget = int(values["trainer"]["cache"] * 2**30)

    def ours(memory: SampleCache | None) -> Iterator[Any]:
        samples = TrainingSamples(data, names, sizing, made, 0, Targets({}, len(data.classes)), memory)
        return iter(training_batches(samples, Stream(len(names), batch, seed=0), workers, pin=False))

    def theirs(floats: bool) -> Iterator[Any]:
        files = Usual([data.files(name) for name in names], usual(values, floats))
        kept = workers > 0
        return again(
            DataLoader(files, batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=kept)
        )

    found = {"segrun": ours(SampleCache(budget, len(names))), "segrun, trainer.cache=0": ours(None)}
    return {**found, "plain": theirs(True), "plain, 8-bit": theirs(False)}, len(names) // batch


def seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    begin = clock()
    work()
    return clock() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="CamVid in SegNet's layout")
    parser.add_argument("--augment", default="standard", help="an option of conf/augment; mixing and JPEG have no twin")
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--passes", type=int, default=5, help="that are counted")
    parser.add_argument("--cpu", action="store_true")
    asked = parser.parse_args()
    if asked.cpu and asked.workers:
        parser.error("--cpu sees this process alone: leave out --workers")
    clock = time.process_time if asked.cpu else time.perf_counter
    torch.set_num_threads(1)  # as in a worker
    streams, steps = loaders(asked.root, asked.augment, asked.batch, asked.workers)
    times: dict[str, list[float]] = {name: [] for name in streams}
    for _ in range(1 + asked.passes):
        for name, stream in streams.items():
            times[name].append(seconds(lambda: [None for _ in itertools.islice(stream, steps)], clock))  # noqa: B023
    rates = {name: [steps * asked.batch / spent for spent in taken[1:]] for name, taken in times.items()}
    print(f"{asked.workers} workers, batches of {asked.batch}, {steps} a pass, augment={asked.augment}")
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(rates["segrun"], found, strict=True))
        spread = f"{min(found):.0f}–{max(found):.0f}"
        print(f"{name:26}{statistics.median(found):6.0f} images/s ({spread}); segrun is {ratio:.2f} times as fast")


if __name__ == "__main__":
    main()
