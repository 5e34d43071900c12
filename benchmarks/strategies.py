"""Strategies side by side: each at the same budget and at its own best rate.

    python benchmarks/strategies.py
    python benchmarks/strategies.py experiment=nuclei dataset.root=nuclei/ --strategies all --rates 1e-3 3e-3 1e-2

One sweep with seed 0 chooses the rate of each strategy by val; seeds 0, 1 and 2 at that rate are then compared by
`segrun compare`. Words like those of the command line go through to every run (hydra/launcher=joblib). The same line
again goes on where it was.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from segrun.comparison.cells import chosen
from segrun.comparison.runs import found
from segrun.config import options


def segrun(*words: str) -> int:
    return subprocess.run([sys.executable, "-m", "segrun", *words]).returncode


def seeds_at_the_best_rates(folder: Path, sweep: Sequence[str]) -> None:
    """Train what val chose with the other seeds."""
    best, _ = chosen(found([str(folder)]), ["strategy"], ["optimizer.lr"])
    for run in best:
        asked = [f"{key}={run.settings[key]}" for key in ("strategy", "optimizer.lr")]
        segrun(*sweep, *asked, "seed=0,1,2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="overrides for every run: trainer.epochs=10")
    parser.add_argument("--strategies", nargs="+", default=["finetune", "scratch", "feature_extraction"])
    parser.add_argument("--rates", nargs="+", default=["1e-3", "3e-3", "1e-2", "3e-2"])
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmarks"))
    args = parser.parse_intermixed_args()
    strategies = options("strategy") if args.strategies == ["all"] else args.strategies
    sweep = ["train", "-m", *args.words, f"output={args.output}"]
    segrun(*sweep, f"strategy={','.join(strategies)}", f"optimizer.lr={','.join(args.rates)}", "seed=0")
    runs = args.output / "multirun"
    seeds_at_the_best_rates(runs, sweep)
    sys.exit(segrun("compare", f"runs={runs}", "by=strategy", "choose=optimizer.lr", f"output={args.output}"))


if __name__ == "__main__":
    main()
