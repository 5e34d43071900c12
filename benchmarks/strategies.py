"""Strategies side by side, each with the same budget and its own best learning rate.

    python benchmarks/strategies.py
    python benchmarks/strategies.py experiment=nuclei dataset.root=nuclei/ --strategies all --rates 1e-3 3e-3 1e-2

One sweep with seed 0 selects the learning rate of each strategy by val; seeds 0, 1 and 2 with that learning rate are
then compared by `segrun compare`. Words like those of the command line are passed on to each run
(hydra/launcher=joblib). The same command again continues an interrupted one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from segrun.comparison.runs import find_runs
from segrun.comparison.selection import select_by_val
from segrun.config.options import option_names


def segrun(*words: str) -> int:
    """Run a command of segrun; returns its exit status."""
    return subprocess.run([sys.executable, "-m", "segrun", *words]).returncode


def train_selected(folder: Path, sweep: Sequence[str]) -> None:
    """Train what val has selected with all seeds."""
    selected, _ = select_by_val(find_runs([str(folder)]), ["strategy"], ["optimizer.lr"])
    for run in selected:
        overrides = [f"{key}={run.settings[key]}" for key in ("strategy", "optimizer.lr")]
        segrun(*sweep, *overrides, "seed=0,1,2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="overrides for each run, such as trainer.epochs=10")
    parser.add_argument("--strategies", nargs="+", default=["finetune", "scratch", "feature_extraction"])
    parser.add_argument("--rates", nargs="+", default=["1e-3", "3e-3", "1e-2", "3e-2"], help="learning rates")
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmarks"))
    args = parser.parse_intermixed_args()
    strategies = option_names("strategy") if args.strategies == ["all"] else args.strategies
    sweep = ["train", "-m", *args.words, f"output={args.output}"]
    segrun(*sweep, f"strategy={','.join(strategies)}", f"optimizer.lr={','.join(args.rates)}", "seed=0")
    runs = args.output / "multirun"
    train_selected(runs, sweep)
    sys.exit(segrun("compare", f"runs={runs}", "by=strategy", "choose=optimizer.lr", f"output={args.output}"))


if __name__ == "__main__":
    main()
