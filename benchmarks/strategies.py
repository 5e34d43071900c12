"""Strategies side by side: each at the same budget and at its own best rate.

    python benchmarks/strategies.py
    python benchmarks/strategies.py experiment=nuclei dataset.root=nuclei/ --strategies all --rates 1e-3 3e-3 1e-2

The rate is chosen by val mIoU with seed 0; seeds 0, 1 and 2 at that rate are then scored on test. The last column is
the p-value of a paired test of each strategy against the first one: Wilcoxon's signed ranks of the test images' mean
IoU, itself the mean over the seeds, corrected after Holm over all comparisons. Words like those of the command line
go through to every run. Finished runs are kept in --output and used again.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import wilcoxon

import segrun
from segrun import config
from segrun.engine.files import folder, write_json
from segrun.errors import RequestError

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Runs:
    """Trainings with the same words of the user's; `runs/<config>.json` says in which folder each lies.

    One file a config, so that several of these programs may fill one output folder.
    """

    output: Path
    words: Sequence[str]

    def folder(self, strategy: str, rate: float, seed: int) -> Path:
        """The folder of a run, which is trained unless it was before."""
        asked = [*self.words, f"strategy={strategy}", f"optimizer.lr={rate}", f"seed={seed}", f"output={self.output}"]
        key = config.config_hash(config.plain(config.compose("train", asked)))
        index = folder(self.output / "runs") / f"{key}.json"
        if not index.is_file():
            write_json(index, {"asked": asked, "folder": str(segrun.train(asked).folder)})
        return Path(json.loads(index.read_text(encoding="utf-8"))["folder"])


@dataclass(frozen=True)
class Row:
    """A strategy at its best rate: results of the seeds, IoU of each test image, whether the rate is a grid edge."""

    strategy: str
    rate: float
    results: list[dict[str, Any]]
    images: Mapping[str, float]
    edge: bool


def row(runs: Runs, strategy: str, rates: Sequence[float]) -> Row:
    val = {rate: result(runs.folder(strategy, rate, 0))["val"]["miou"] or 0.0 for rate in rates}
    best = max(val, key=lambda rate: val[rate])
    folders = [runs.folder(strategy, best, seed) for seed in SEEDS]
    each = [image_ious(path / "scores.csv") for path in folders]
    images = {name: statistics.mean(one[name] for one in each) for name in each[0]}
    edge = len(val) > 1 and best in (min(val), max(val))
    return Row(strategy, best, [result(path) for path in folders], images, edge)


def result(path: Path) -> dict[str, Any]:
    return dict(json.loads((path / "result.json").read_text(encoding="utf-8")))


def image_ious(path: Path) -> dict[str, float]:
    """The mean IoU of each image over the classes that are in its truth or prediction."""
    found: dict[str, list[float]] = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            hit, false, missed = (int(line[key]) for key in ("tp", "fp", "fn"))
            if hit + false + missed:
                found[line["image"]].append(hit / (hit + false + missed))
    return {name: statistics.mean(values) for name, values in found.items()}


def p_values(rows: Sequence[Row]) -> dict[str, float]:
    """Of every strategy but the first against the first, after Holm (1979)."""
    base = rows[0].images
    raw = {
        row.strategy: float(wilcoxon([row.images[n] for n in base], list(base.values())).pvalue)
        for row in rows[1:]
        if any(row.images[n] != base[n] for n in base)
    }
    corrected: dict[str, float] = {}
    largest = 0.0
    for place, name in enumerate(sorted(raw, key=lambda one: raw[one])):
        largest = max(largest, min(1.0, raw[name] * (len(raw) - place)))
        corrected[name] = largest
    return corrected


def table(rows: Sequence[Row]) -> str:
    corrected = p_values(rows)
    scored = f"test mIoU, mean ± std of {len(SEEDS)} seeds"
    lines = [f"| strategy | best rate | {scored} | parameters trained | ms a step | p against {rows[0].strategy} |"]
    lines.append("|---" * 6 + "|")
    for one in rows:
        scores = [100 * found["test"]["miou"] for found in one.results]
        cost = one.results[0]["cost"]
        p = f"{corrected[one.strategy]:.3f}" if one.strategy in corrected else "–"
        cells = (
            one.strategy,
            f"{one.rate:g}" + (" (edge)" if one.edge else ""),
            f"{statistics.mean(scores):.1f} ± {statistics.stdev(scores):.1f}",
            f"{cost['parameters_trained']:,}",
            f"{1000 * statistics.median(r['cost']['seconds_per_step'] for r in one.results):.0f}",
            p,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="overrides for every run: trainer.epochs=10")
    parser.add_argument("--strategies", nargs="+", default=["finetune", "scratch", "feature_extraction"])
    parser.add_argument("--rates", nargs="+", type=float, default=[1e-3, 3e-3, 1e-2, 3e-2])
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmarks"))
    args = parser.parse_intermixed_args()
    runs = Runs(folder(args.output.expanduser()), args.words)
    every = sorted(config.options("strategy"), key=lambda name: name != "finetune")
    rows = []
    for strategy in every if args.strategies == ["all"] else args.strategies:
        try:
            rows.append(row(runs, strategy, args.rates))
        except RequestError as error:  # adaptformer on a convolutional network
            print(f"{strategy} is left out: {error}")
        else:
            print(f"\n{table(rows)}\n", flush=True)


if __name__ == "__main__":
    main()
