"""SIGKILL at random moments: however often a command is killed, it ends with what it leaves when nobody kills it."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segrun import cli
from tests.commands.test_train import same, state
from tests.conftest import QUICK

pytestmark = pytest.mark.long

KILLS = 40  # over all cases
ORPHANS = 30  # seconds in which the loader processes of a killed command must have ended
TRAIN = [*QUICK, "trainer.epochs=6", "trainer.steps=18"]
STRATEGIES = {
    "scratch": ["strategy=scratch", "trainer.workers=2", "trainer.ema=0.9"],
    "gradual": ["strategy=finetune", "freeze=gradual"],
    "lp_ft": ["strategy=lp_ft", "freeze.epochs=2"],
    "l2sp": ["strategy=l2sp"],
}
CASES = [*STRATEGIES, "sweep", "predict"]


class Command:
    """A command in a process of its own, which is forked: so the moments of the kills lie in its work."""

    def __init__(self, words: Sequence[str]) -> None:
        self.process = multiprocessing.get_context("fork").Process(target=self._run, args=(list(words),))
        self.process.start()

    def _run(self, words: list[str]) -> None:
        os.setpgrp()
        with Path("log.txt").open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        cli.main(words)

    def is_killed_after(self, seconds: float) -> bool:
        """Kill it, unless it has ended by then; then it must have succeeded."""
        self.process.join(seconds)
        if self.process.exitcode is not None:
            assert self.process.exitcode == 0, Path("log.txt").read_text()[-3000:]
            return False
        self.process.kill()
        self.process.join()
        assert self.process.exitcode == -signal.SIGKILL
        self._wait_for_its_processes()
        return True

    def _wait_for_its_processes(self) -> None:
        deadline = time.monotonic() + ORPHANS
        while time.monotonic() < deadline:
            try:
                os.killpg(self.process.pid or 0, 0)
            except ProcessLookupError:
                return
            time.sleep(0.1)
        raise AssertionError("a process of the killed command is left")


def kill_often(kills: int, words: Callable[[], Sequence[str]], compare: Callable[[], None], seed: str) -> None:
    """Run what `words` gives until it has been killed often enough and has ended.

    Args:
        kills: How often.
        words: The command that starts, or continues what was killed.
        compare: Compares what an ended command left, and removes it.
        seed: Of the moments.
    """
    moments = random.Random(seed)
    start = time.monotonic()
    assert not Command(words()).is_killed_after(600)
    duration = time.monotonic() - start
    compare()
    while kills:
        if Command(words()).is_killed_after(moments.uniform(0, duration)):
            kills -= 1
        else:
            compare()
    if Command(words()).is_killed_after(600):
        raise AssertionError("it hangs")
    compare()


def share_of(case: str) -> int:
    """The kills of a case."""
    index = CASES.index(case)
    return KILLS * (index + 1) // len(CASES) - KILLS * index // len(CASES)


def rows(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what tells the time."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    timed = ("seconds", "images_per_second")
    return [{key: value for key, value in json.loads(line).items() if key not in timed} for line in lines]


def same_run(one: Path, other: Path) -> None:
    same(state(one), state(other))
    same(*(torch.load(folder / "best.ckpt", weights_only=True)["weights"] for folder in (one, other)))
    assert rows(one) == rows(other)
    assert (one / "scores.csv").read_bytes() == (other / "scores.csv").read_bytes()
    results = [json.loads((folder / "result.json").read_text()) for folder in (one, other)]
    for result in results:
        for key in ("cost", "config", "weights"):
            del result[key]
    assert results[0] == results[1]


def no_part_is_left(folder: Path) -> None:
    assert not [*folder.rglob("*.part")]


@pytest.mark.parametrize("case", STRATEGIES)
def test_a_training_that_is_killed_ends_as_one_that_is_not(case: str, elsewhere: Path, pretrained: Path) -> None:
    fresh = ["train", *TRAIN, *STRATEGIES[case]]
    if case != "scratch":
        fresh.append(f"backbone.weights={pretrained}")

    def words() -> list[str]:
        runs = [*Path("killed").glob("train/*/*")]
        if runs and (runs[0] / "result.json").exists():  # killed on its last way out
            compare()
        elif runs and (runs[0] / "last.ckpt").exists():
            return ["train", f"resume={runs[0]}"]
        shutil.rmtree("killed", ignore_errors=True)  # without a last.ckpt there is nothing to continue
        return [*fresh, "output=killed"]

    def compare() -> None:
        (killed,) = Path("killed").glob("train/*/*")
        if not Path("whole").exists():
            Path("killed").rename("whole")
            return
        (whole,) = Path("whole").glob("train/*/*")
        same_run(whole, killed)
        no_part_is_left(Path("killed"))
        shutil.rmtree("killed")

    kill_often(share_of(case), words, compare, case)


def test_a_sweep_that_is_killed_ends_as_one_that_is_not(elsewhere: Path) -> None:
    fresh = ["train", "-m", *TRAIN, "strategy=scratch", "seed=0,1,2", "output=killed"]

    def compare() -> None:
        if not Path("whole").exists():
            Path("killed").rename("whole")
            return
        folders = [sorted(Path(output, "multirun").iterdir()) for output in ("whole", "killed")]
        assert len(folders[0]) == 3
        for one, other in zip(*folders, strict=True):
            assert one.name == other.name
            same_run(one, other)
        no_part_is_left(Path("killed"))
        shutil.rmtree("killed")

    kill_often(share_of("sweep"), lambda: fresh, compare, "sweep")


def test_a_prediction_that_is_killed_ends_as_one_that_is_not(elsewhere: Path) -> None:
    import segrun

    checkpoint = segrun.train([*QUICK, "strategy=scratch", "trainer.epochs=1"]).checkpoint
    Path("photos").mkdir()
    noise = np.random.default_rng(0)
    for index in range(60):
        pixels = noise.integers(0, 255, (192, 256, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"photos/{index:02}.png")
    outputs = ["overlay=true", "confidence=true", "output=killed"]

    def compare() -> None:
        if not Path("whole").exists():
            Path("killed").rename("whole")
            return
        files = [sorted(path.relative_to(out) for path in Path(out).rglob("*")) for out in ("whole", "killed")]
        assert files[0] == files[1]
        assert len(Path("killed/summary.csv").read_text().splitlines()) == 61
        for name in files[0]:
            assert Path("whole", name).is_dir() or Path("whole", name).read_bytes() == Path("killed", name).read_bytes()
        no_part_is_left(Path("killed"))
        shutil.rmtree("killed")

    words = ["predict", f"checkpoint={checkpoint}", "input=photos", "device=cpu", *outputs]
    kill_often(share_of("predict"), lambda: words, compare, "predict")
