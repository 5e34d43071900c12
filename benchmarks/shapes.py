"""The README's table: is transfer worth it on data set shapes? Each strategy at the same budget, each at its
own best rate.

    python benchmarks/shapes.py
    python benchmarks/shapes.py trainer.epochs=10 labels=16 --rates 3e-4 1e-3 3e-3

The rate is chosen by val mIoU with seed 0; seeds 0, 1 and 2 at that rate are then scored on test. Words like
those of the command line go through to every run. Finished runs are kept in --output and used again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import segrun
from segrun import config
from segrun.engine.files import folder, write_json

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Runs:
    """Trainings with the same words of the user's; `shapes.json` says which config lies in which folder."""

    output: Path
    words: Sequence[str]

    def result(self, strategy: str, rate: float, seed: int) -> dict[str, Any]:
        """result.json of a run, which is trained unless it was before."""
        asked = ["dataset=shapes", f"strategy={strategy}", *self.words]
        asked += [f"optimizer.lr={rate}", f"seed={seed}", f"output={self.output}"]
        key = config.config_hash(config.plain(config.compose("train", asked)))
        index = self.output / "shapes.json"
        known = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else {}
        path = Path(known.get(key, {}).get("folder", self.output)) / "result.json"
        if not path.is_file():
            path = segrun.train(asked).folder / "result.json"
            write_json(index, {**known, key: {"asked": asked, "folder": str(path.parent)}})
        return dict(json.loads(path.read_text(encoding="utf-8")))


def row(runs: Runs, strategy: str, rates: Sequence[float]) -> tuple[str, str | None]:
    """A line of the table, and a warning where a rate outside the grid might have been better still."""
    val = {rate: runs.result(strategy, rate, seed=0)["val"]["miou"] or 0.0 for rate in rates}
    best = max(val, key=lambda rate: val[rate])
    results = [runs.result(strategy, best, seed) for seed in SEEDS]
    scores = [100 * result["test"]["miou"] for result in results]
    costs = [result["cost"] for result in results]
    cells = [
        strategy,
        f"{best:g}",
        f"{statistics.mean(scores):.1f} ± {statistics.stdev(scores):.1f}",
        f"{costs[0]['parameters_trained']:,}",
        f"{statistics.mean(cost['seconds'] for cost in costs):.0f}",
    ]
    edge = len(val) > 1 and best in (min(val), max(val))
    warning = f"{strategy}: its best rate, {best:g}, is at the edge of the grid" if edge else None
    return f"| {' | '.join(cells)} |", warning


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="overrides for every run: trainer.epochs=10")
    parser.add_argument("--strategies", nargs="+", default=["scratch", "feature_extraction", "finetune"])
    parser.add_argument("--rates", nargs="+", type=float, default=[3e-4, 1e-3, 3e-3])
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmarks"))
    args = parser.parse_intermixed_args()
    runs = Runs(folder(args.output.expanduser()), args.words)
    lines = [row(runs, strategy, args.rates) for strategy in args.strategies]
    scored = f"test mIoU, mean ± std of {len(SEEDS)} seeds"
    print(f"\n| strategy | best rate | {scored} | parameters trained | seconds of training |")
    print("|---|---|---|---|---|")
    print("\n".join(line for line, _ in lines))
    for warning in filter(None, (warning for _, warning in lines)):
        print(f"\n{warning}")


if __name__ == "__main__":
    main()
