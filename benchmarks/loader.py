"""Images per second of the training data: segrun's loader beside a plain torch DataLoader with the same transforms.

    python benchmarks/loader.py camvid/
    python benchmarks/loader.py camvid/ --workers 4 --augment strong

Ours is what `segrun train experiment=camvid` feeds the network with. Theirs is written the usual way: Pillow decodes
both files, torchvision's v2 transforms change tv_tensors, and the image leaves as normalised floats; `8-bit` leaves out
the last step, as segrun does, whose model normalises on its device. All take turns in one process, pass by pass; the
first pass of each, in which workers start and segrun's cache fills, is not counted. `--cpu` measures the processor's
time instead of the clock's, for machines that do other work (without workers only).
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

from segrun.config.compose import compose
from segrun.data.loader.batch_sampler import EndlessBatchSampler
from segrun.data.loader.sample_cache import SampleCache
from segrun.data.loader.train_dataset import TrainDataset
from segrun.data.loader.train_loader import make_train_loader
from segrun.data.sets.pairs import ImageMaskPairs
from segrun.experiment.experiment import Experiment
from segrun.experiment.prepare import open_dataset
from segrun.tasks.auxiliary.targets import Targets


class PlainDataset(TorchDataset[Any]):
    """Files to transformed tv_tensors, as in torchvision's guides."""

    def __init__(self, files: list[tuple[Path, ...]], transform: v2.Transform) -> None:
        self.files = files
        self.transform = transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        image_path, mask_path = self.files[index]
        with Image.open(image_path) as file:
            image = v2.functional.to_image(file.convert("RGB"))
        with Image.open(mask_path) as file:
            mask = tv_tensors.Mask(torch.from_numpy(np.array(file)))
        return self.transform(image, mask)


def plain_transform(config: dict[str, Any], floats: bool) -> v2.Transform:
    """The config's augmentation in torchvision's own transforms."""
    augment, (height, width) = config["augment"], config["sizing"]["size"]
    ratio = (width / height / augment["stretch"], width / height * augment["stretch"])
    steps: list[v2.Transform] = [v2.RandomResizedCrop((height, width), tuple(augment["scale"]), ratio, antialias=True)]
    if augment["rotate"]:
        steps.append(v2.RandomRotation(augment["rotate"], fill={tv_tensors.Image: 0, tv_tensors.Mask: 255}))
    steps += [v2.RandomHorizontalFlip(augment["hflip"]), v2.RandomVerticalFlip(augment["vflip"])]
    if augment["blur"]:
        steps.append(v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.5))], augment["blur"]))
    steps.append(v2.ColorJitter(*3 * [augment["colour"]]))
    if floats:
        mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        steps += [v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True)]
        steps += [v2.Normalize(mean, deviation)]
    return v2.Compose(steps)


def endless(loader: DataLoader[Any]) -> Iterator[Any]:
    """Pass after pass."""
    while True:
        yield from loader


def make_loaders(root: str, augment: str, batch_size: int, workers: int) -> tuple[dict[str, Iterator[Any]], int]:
    """Endless streams of batches by name, and the number of batches per pass."""
    config = compose("train", ["experiment=camvid", f"augment={augment}", f"dataset.root={Path(root).resolve()}"])
    settings = Experiment.from_config(config).data
    dataset = open_dataset(settings)
    if not isinstance(dataset, ImageMaskPairs):
        raise SystemExit("experiment=camvid must have pairs of files")
    names = list(dataset.splits["train"])
    files = [dataset.files(name) for name in names]
    budget = int(config["trainer"]["cache"] * 2**30)

    def ours(cache: SampleCache | None) -> Iterator[Any]:
        targets = Targets({}, len(dataset.classes))
        samples = TrainDataset(dataset, names, settings.sizing, settings.augment, 0, targets, cache)
        sampler = EndlessBatchSampler(len(names), batch_size, seed=0)
        return iter(make_train_loader(samples, sampler, workers, pin_memory=False))

    def plain(floats: bool) -> Iterator[Any]:
        samples = PlainDataset(files, plain_transform(config, floats))
        loader = DataLoader(
            samples, batch_size, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
        )
        return endless(loader)

    streams = {
        "segrun": ours(SampleCache(budget, len(names))),
        "segrun, trainer.cache=0": ours(None),
        "plain": plain(True),
        "plain, 8-bit": plain(False),
    }
    return streams, len(names) // batch_size


def measure(
    streams: dict[str, Iterator[Any]], steps: int, passes: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds per pass of each stream, without the first pass."""
    times: dict[str, list[float]] = {name: [] for name in streams}
    for pass_number in range(1 + passes):
        for name, stream in streams.items():
            start = clock()
            for _ in itertools.islice(stream, steps):
                pass
            if pass_number > 0:
                times[name].append(clock() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="CamVid in SegNet's layout")
    parser.add_argument("--augment", default="standard", help="an option of conf/augment without mixing and JPEG")
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--passes", type=int, default=5, help="passes that are counted")
    parser.add_argument("--cpu", action="store_true", help="measure the processor's time")
    args = parser.parse_args()
    if args.cpu and args.workers:
        parser.error("--cpu sees this process only: leave out --workers")
    clock = time.process_time if args.cpu else time.perf_counter
    torch.set_num_threads(1)  # as in a worker
    streams, steps = make_loaders(args.root, args.augment, args.batch, args.workers)
    times = measure(streams, steps, args.passes, clock)
    speeds = {name: [steps * args.batch / seconds for seconds in taken] for name, taken in times.items()}
    print(f"{args.workers} workers, batches of {args.batch}, {steps} per pass, augment={args.augment}")
    for name, values in speeds.items():
        ratio = statistics.median(a / b for a, b in zip(speeds["segrun"], values, strict=True))
        spread = f"{min(values):.0f}–{max(values):.0f}"
        print(f"{name:26}{statistics.median(values):6.0f} images/s ({spread}); segrun is {ratio:.2f} times as fast")


if __name__ == "__main__":
    main()
