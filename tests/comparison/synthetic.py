"""Run folders as `segrun train` leaves them, of trainings that nobody carried out: their scores have known effects."""

from __future__ import annotations

import copy
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

Counts = NDArray[np.int64]
CLASSES = ("ground", "thing", "edge_1")
SCHEDULES = {"gradual": "one_cycle"}  # a strategy may bring its own


class Study:
    """Test images whose pixels a model gets right with a chance of its own: logits of 1 ± image_sd, which effects move.

    seed_sd: of a run; own_sd: of how a strategy does on each image, beyond what all have in common there.
    """

    def __init__(
        self, images: int = 20, classes: int = 3, seed_sd: float = 0.1, image_sd: float = 0.5, own_sd: float = 0.2,
        seed: int = 0,
    ) -> None:  # fmt: skip
        self.rng = np.random.default_rng(seed)
        self.sizes = self.rng.integers(500, 5000, (images, classes))
        self.base = self.rng.normal(1.0, image_sd, self.sizes.shape)
        self.seed_sd, self.own_sd = seed_sd, own_sd
        if image_sd == own_sd == 0:
            self.sizes[:] = self.sizes[0]

    def runs(self, seeds: int = 3, effect: float = 0.0, first: int = 0) -> dict[str, Counts]:
        """By seed, (images, classes, 3) counts of one strategy. effect: in logits."""
        own = self.rng.normal(0, self.own_sd, self.base.shape)
        return {str(first + n): self.counts(own + effect + self.rng.normal(0, self.seed_sd)) for n in range(seeds)}

    def counts(self, effect: float | NDArray[np.float64] = 0.0) -> Counts:
        """What a class lacks is taken for the next one."""
        hit = np.round(self.sizes / (1 + np.exp(-self.base - effect))).astype(np.int64)
        missed = self.sizes - hit
        return np.stack([hit, np.roll(missed, 1, axis=1), missed], axis=-1)


def config(strategy: str = "finetune", seed: int = 0, labels: int | str = "all", **changed: Any) -> dict[str, Any]:
    """As in a run's config.yaml. changed: values by their dotted keys, `__` for a dot."""
    schedule = SCHEDULES.get(strategy, "poly")
    values: dict[str, Any] = {
        "names": {"strategy": strategy, "freeze": strategy, "schedule": schedule, "backbone": "resnet50",
                  "head": "unet", "dataset": "folder", "rules": "default", "hydra": "quiet"},
        "asked": [f"strategy={strategy}", f"seed={seed}"],
        "strategy": {"_target_": f"segrun.transfer.strategies.finetune.{strategy.title()}", "backbone_lr": 0.1},
        "freeze": {"_target_": f"segrun.transfer.freeze.{strategy.title()}"},
        "schedule": {"_target_": f"segrun.engine.schedules.{schedule.title()}", "warmup": 5},
        "optimizer": {"_target_": "segrun.engine.optimizers.AdamW", "lr": 0.001, "betas": [0.9, 0.999]},
        "trainer": {"epochs": 12, "steps": 100, "batch_size": 4, "accumulate": 1, "device": "auto"},
        "dataset": {"_target_": "segrun.data.sets.folder.Folder", "root": "/data"},
        "split": {"train": 0.6, "val": 0.1, "test": 0.3, "seed": 0, "folds": None, "fold": 0},
        "labels": labels, "seed": seed, "output": "outputs",
    }  # fmt: skip
    for key, value in changed.items():
        *groups, last = key.split("__")
        place = values
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return values


def write(
    folder: Path, counts: Counts, values: Mapping[str, Any], val: float | None = 0.7, classes: Sequence[str] = CLASSES,
    images: Sequence[str] | None = None, old: bool = False, seconds: float = 12.0, test: bool = True,
) -> Path:  # fmt: skip
    """A run that has ended. old: as before result.json held the config; test: no trial of a search."""
    folder.mkdir(parents=True)
    split = "test" if test else "val"
    names = images or [f"{split}/p{place:03}" for place in range(len(counts))]
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "class", "tp", "fp", "fn"))
        for name, image in zip(names, counts.tolist(), strict=True):
            rows.writerows((name, label, *three) for label, three in zip(classes, image, strict=True))
    train = 40 if values["labels"] == "all" else int(values["labels"])
    splits = {"train": [f"train/p{place:03}" for place in range(train)], "val": ["val/p0"], "test": ["test/p0"]}
    splits[split] = list(names)
    result: dict[str, Any] = {
        "val": {"miou": val, "confusion": confusion(counts)},
        "test": {"miou": miou(counts), "confusion": confusion(counts)} if test else None,
        "cost": {"parameters_trained": 1000, "seconds": seconds, "peak_memory_bytes": 2**30,
                 "images_per_second": 400 / seconds, "checkpoint_bytes": 5_000_000},
        "names": values["names"], "seed": values["seed"], "labels": values["labels"],
    }  # fmt: skip
    if not old:
        result |= {"config": values, "images": {split: len(names) for split, names in splits.items()}}
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    text = yaml.dump(copy.deepcopy(dict(values)), Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper))
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    (folder / "split.json").write_text(json.dumps(splits), encoding="utf-8")
    looked = [{"epoch": n, "step": 10 * n, "loss": 1 / n, "val": {"miou": val, "loss": 1.0}} for n in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in looked), encoding="utf-8")
    return folder


def samples(folder: Path, guess: int, count: int = 2) -> None:
    """Image, truth and guess beside each other; a guess is a bright square whose side it gives."""
    (folder / "samples").mkdir()
    for number in range(count):
        panel = np.full((16, 72, 3), 60, np.uint8)
        panel[:8, 24:32] = 255
        panel[:guess, 48 : 48 + guess] = 255
        Image.fromarray(panel).save(folder / "samples" / f"test__p{number:03}.png")


def study(root: Path, strategies: Mapping[str, float], labels: Sequence[int | str] = ("all",), seeds: int = 3,
          images: int = 12) -> Path:  # fmt: skip
    """A folder of runs. strategies: their effects in logits; each doubling of labels adds 0.2."""
    made = Study(images, seed_sd=0.02, own_sd=0.02)
    for strategy, effect in strategies.items():
        for labelled in labels:
            more = 0.0 if labelled == "all" else 0.2 * np.log2(float(labelled))
            for seed, counts in made.runs(seeds, effect + more).items():
                name = f"folder_{strategy}_{labelled}_seed{seed}"
                write(root / name, counts, config(strategy, int(seed), labelled))
    return root


def miou(counts: Counts) -> float:
    tp, fp, fn = counts.sum(0).T
    return float(np.mean(tp / np.maximum(1, tp + fp + fn)))


def confusion(counts: Counts) -> list[list[int]]:
    hit, _, missed = counts.sum(0).T
    return np.asarray(np.diag(hit) + np.roll(np.diag(missed), 1, axis=1)).tolist()  # type: ignore[no-any-return]
