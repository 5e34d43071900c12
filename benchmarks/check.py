"""Images per second of the scan of `segrun check`: the first time, and with its results in the cache.

    python benchmarks/check.py
    python benchmarks/check.py --images 2000 --cores 2 --suffix .png

The dataset is written to a temporary folder: images of 480×360 with as many textures and edges as photographs have,
JPEG of quality 85 or PNG, and indexed masks of 12 values. Applying the rules is timed separately.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segrun.config.build import to_dataclass
from segrun.config.compose import compose
from segrun.data.scan.checks import run_rules
from segrun.data.scan.scan import available_cores, scan_all
from segrun.data.scan.settings import Rules
from segrun.data.sets.folder import Folder
from segrun.data.sets.shapes import Shapes
from segrun.device import tune_malloc

CLASSES = [f"class {index}" for index in range(11)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1600)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--suffix", choices=[".jpg", ".png"], default=".jpg")
    args = parser.parse_args()
    torch.set_num_threads(1)
    tune_malloc()  # as the command does
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    rules = to_dataclass(compose("check")["rules"], Rules, "rules")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SEGRUN_CACHE"] = f"{folder}/cache"
        write_dataset(Path(folder), args.images, args.suffix)
        os.sync()  # otherwise the disk is still written to while the first scan is timed
        data = Folder(folder, CLASSES, "index", 255, allow_unpaired=False)
        speeds = []
        for label in ("first time", "cached"):
            start = time.perf_counter()
            scan = scan_all(data, data.names)
            speeds.append(args.images / (time.perf_counter() - start))
            print(f"{label:<15} {speeds[-1]:>9,.0f} images per second, {available_cores()} cores")
        start = time.perf_counter()
        findings = run_rules(data, scan, {"train": data.names}, rules)
        print(f"ratio {speeds[1] / speeds[0]:.0f}; {len(findings)} findings in {time.perf_counter() - start:.2f} s")


def write_dataset(folder: Path, images: int, suffix: str) -> None:
    """Write images that are crops of a few scenes with random brightness: no two are alike, and none is flat."""
    scenes = Shapes(512, train=8, val=0, test=0, objects=24, seed=0)
    scene_samples = [(scenes.image(name).permute(1, 2, 0).numpy(), scenes.mask(name).numpy()) for name in scenes.names]
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for index in range(images):
        image, mask = scene_samples[index % len(scene_samples)]
        top, left = rng.integers(0, 512 - 360), rng.integers(0, 512 - 480)
        crop = np.s_[top : top + 360, left : left + 480]
        brightened = np.clip(image[crop] * rng.uniform(0.6, 1.3), 0, 255).astype(np.uint8)
        Image.fromarray(brightened).save(folder / "images" / f"{index:06}{suffix}", quality=85)
        labels = (mask[crop] + 6 * (np.indices((360, 480)).sum(0) // 97 % 2)).astype(np.uint8)
        Image.fromarray(np.where(labels > 10, 255, labels).astype(np.uint8)).save(folder / "masks" / f"{index:06}.png")


if __name__ == "__main__":
    main()
