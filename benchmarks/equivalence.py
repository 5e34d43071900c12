"""Whether two source trees train bit for bit alike: python benchmarks/equivalence.py <other tree> [--only NAME …].

Runs twelve small requests on the CPU through the command line of both trees, this one and the other, one process at a
time, and compares what the run folders hold: the tensors of best.ckpt and last.ckpt, metrics.jsonl, scores.csv, the
scores in result.json, and the tables of `segrun compare`. Times, speeds, memory and the sizes of files are left out.
What differs is printed by its name, and the exit status is 1.

    python benchmarks/equivalence.py ../before
    python benchmarks/equivalence.py ../before --only finetune resume --keep /tmp/runs

Both trees run in this Python environment. Nothing is downloaded: the pretrained weights and the images are written
here. Nothing is written into the trees. With --keep the run folders and the logs stay.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

THIS_TREE = Path(__file__).resolve().parents[1]
TIMEOUT = 3600  # seconds for one process
ATTEMPTS = 6  # to interrupt a run in the middle of an epoch
FINISHED_EPOCHS = 3  # of that run, when it is interrupted

QUICK = [
    "head=fcn",
    "head.channels=16",
    "trainer.epochs=3",
    "trainer.batch_size=4",
    "trainer.device=cpu",
    "trainer.precision=fp32",
    "optimizer.lr=0.003",
    "loss.class_weights=median",  # or all that so short runs predict is background
    "schedule.warmup=0",
]
SHAPES = [*QUICK, "dataset.size=64", "dataset.train=16", "dataset.val=4", "dataset.test=4"]
OWN_IMAGES = [*QUICK, "dataset=folder", "dataset.root={images}", "dataset.classes=[background,square]"]
WEIGHTS = "backbone.weights={weights}"
# words of `segrun train` by the name of the request; of several equal keys the last one counts
SINGLE_RUNS = {
    "finetune": [*SHAPES, "strategy=finetune", WEIGHTS, "augment=strong"],
    "scratch": [*SHAPES, "strategy=scratch"],
    "lp_ft": [*SHAPES, "strategy=lp_ft", WEIGHTS, "trainer.epochs=4"],
    "gradual": [*SHAPES, "strategy=gradual", WEIGHTS, "trainer.epochs=7"],
    "l2sp": [*SHAPES, "strategy=l2sp", WEIGHTS],
    "lora": [*SHAPES, "strategy=lora", WEIGHTS],
    "wise_ft": [*SHAPES, "strategy=wise_ft", WEIGHTS, "trainer.epochs=4"],
    "multitask": [*SHAPES, "strategy=multitask", "balance=dwa", WEIGHTS, "trainer.epochs=4"],
    "folder": [*OWN_IMAGES, "labels=10", WEIGHTS],
}
RESUMED_RUN = [*SHAPES, "strategy=wise_ft", WEIGHTS, "trainer.epochs=5", "dataset.train=40"]
# strategy=scratch refuses weights that are named on the command line, so an option of the user's own names them
SWEEP = ["-m", "--config-dir", "{options}", *SHAPES, "backbone=seeded", "strategy=finetune,scratch", "seed=0,1"]
CHOICE = [*SHAPES, "strategy=finetune,l2sp,bitfit", WEIGHTS, "trainer.epochs=2", "budget=24"]

RESULT_KEYS = ("val", "test", "best_epoch", "epochs", "candidates", "drift", "choosing")
MEASURED = ("second", "images/s", "memory", "checkpoint")  # words in the names of what is never the same twice

Contents = dict[str, Any]  # what is compared, by name: tensors, bytes and text


class RunError(Exception):
    """A request that did not come to its end in one of the trees."""


@dataclass(frozen=True)
class Side:
    """One of the two trees.

    Attributes:
        name: What it is called in messages.
        tree: The folder that holds the package `segrun`.
        home: A folder for its caches and its runs.
        files: What stands for `{weights}`, `{images}` and `{options}` in the words of a request.
    """

    name: str
    tree: Path
    home: Path
    files: Mapping[str, Path]

    def environment(self) -> dict[str, str]:
        """The environment of a process that runs this tree, offline and with empty caches."""
        values = {key: value for key, value in os.environ.items() if key != "SEGRUN_DEBUG"}
        return values | {
            "PYTHONPATH": str(self.tree),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "2",
            "OMP_WAIT_POLICY": "PASSIVE",  # threads that wait leave the cores to others
            "SEGRUN_CACHE": str(self.home / "cache"),
            "TORCH_HOME": str(self.home / "hub"),
            "HF_HUB_OFFLINE": "1",
            "PIP_NO_INDEX": "1",
            "COLUMNS": "120",
        }

    @contextlib.contextmanager
    def started(self, words: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Start `python -m segrun` in a folder; its output goes to log.txt there.

        Args:
            words: The command and its arguments.
            folder: The current folder of the process; made where it is missing.

        Yields:
            The process, which is killed at the end of the block if it still runs.
        """
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "segrun", *(word.format_map(self.files) for word in words)]
        with (folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(command, cwd=folder, env=self.environment(), stdout=log, stderr=log)
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait()

    def run(self, words: list[str], folder: Path) -> None:
        """Run a command to its end.

        Raises:
            RunError: It failed, or took longer than `TIMEOUT`.
        """
        with self.started(words, folder) as process:
            status = ended(process)
        if status:
            raise RunError(f"segrun {words[0]}: exit status {status}\n{last_lines(folder / 'log.txt')}")

    def check(self) -> None:
        """Make sure that a process of this side imports the package of its own tree.

        Raises:
            RunError: It imports another one, or none.
        """
        command = [sys.executable, "-c", "import segrun; print(segrun.__file__)"]
        self.home.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(command, cwd=self.home, env=self.environment(), capture_output=True, text=True)
        if done.returncode or not Path(done.stdout.strip()).resolve().is_relative_to(self.tree):
            raise RunError(f"{self.tree}: segrun is not imported from there\n{done.stdout}{done.stderr}")


def ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of a process.

    Returns:
        Its exit status.

    Raises:
        RunError: It took longer than `TIMEOUT`.
    """
    try:
        return process.wait(timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise RunError(f"a process still runs after {TIMEOUT} s") from error


def last_lines(path: Path, count: int = 15) -> str:
    """The end of a log."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"      {line}" for line in lines[-count:])


# what the requests read


def write_files(folder: Path) -> dict[str, Path]:
    """Write what the requests read.

    Returns:
        The files and folders, by the names that stand for them in the requests.
    """
    files = {"weights": folder / "mobilenet_v2.pth", "images": folder / "images_root", "options": folder / "options"}
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(files["weights"])
    write_images(files["images"])
    (files["options"] / "backbone").mkdir(parents=True)
    option = f"defaults:\n  - mobilenet_v2\n  - _self_\nweights: {json.dumps(str(files['weights']))}\n"
    (files["options"] / "backbone" / "seeded.yaml").write_text(option, encoding="utf-8")
    return files


def write_weights(path: Path) -> None:
    """Write "pretrained" weights of mobilenet_v2 as torchvision would publish them.

    They are random, with batch-norm statistics that fit them: without, frozen features would be close to zero.
    """
    torch.manual_seed(0)
    model = mobilenet_v2()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # a plain average
    with torch.no_grad():
        model(torch.randn(16, 3, 64, 64))
    torch.save(model.state_dict(), path)


def write_images(root: Path, count: int = 30, side: int = 64, square: int = 24) -> None:
    """Write a folder data set: noise with a bright square, and masks with 1 on the square."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    random = np.random.default_rng(0)
    for index in range(count):
        image = random.integers(0, 90, (side, side, 3), dtype=np.uint8)
        mask = np.zeros((side, side), np.uint8)
        top, left = random.integers(0, side - square, 2)
        image[top : top + square, left : left + square] += 150
        mask[top : top + square, left : left + square] = 1
        Image.fromarray(image).save(root / "images" / f"picture{index:02}.png")
        Image.fromarray(mask).save(root / "masks" / f"picture{index:02}.png")


# each request runs one side in a folder and returns what to compare, by the name of the run


def single_run(side: Side, folder: Path, words: list[str]) -> dict[str, Contents]:
    """Train once."""
    side.run(["train", *words], folder)
    return run_folders(folder)


def resumed_run(side: Side, folder: Path) -> dict[str, Contents]:
    """Train once without an interruption, and once interrupted in the middle of an epoch and resumed."""
    side.run(["train", *RESUMED_RUN], folder / "whole")
    stopped = interrupted(side, folder)
    side.run(["train", f"resume={stopped}"], folder)
    return {"uninterrupted": run_contents(run_folder(folder / "whole")), "resumed": run_contents(stopped)}


def sweep(side: Side, folder: Path) -> dict[str, Contents]:
    """Train four runs in one command, and compare them by `segrun compare`."""
    side.run(["train", *SWEEP], folder)
    runs = run_folders(folder)
    side.run(["compare"], folder)
    return {**runs, "segrun compare": table_contents(folder)}


def choice(side: Side, folder: Path) -> dict[str, Contents]:
    """Choose among strategies."""
    side.run(["choose", *CHOICE], folder)
    return run_folders(folder)


def interrupted(side: Side, folder: Path) -> Path:
    """Begin a run and interrupt it in the middle of an epoch; again, where the signal came between two epochs.

    Returns:
        The folder of the run.

    Raises:
        RunError: No attempt ended within an epoch.
    """
    for attempt in range(ATTEMPTS):
        home = folder / f"attempt{attempt + 1}"
        with side.started(["train", *RESUMED_RUN], home) as process:
            run = wait_for_epochs(process, home, FINISHED_EPOCHS)
            epoch = metrics(run)[-1]
            time.sleep(epoch["seconds"] / 2)
            process.send_signal(signal.SIGTERM)
            ended(process)
        saved = torch.load(run / "last.ckpt", map_location="cpu", weights_only=True)
        steps_per_epoch = epoch["step"] // epoch["epoch"]
        if not (run / "result.json").exists() and saved["training"]["progress"]["step"] % steps_per_epoch:
            return run
    raise RunError(f"no run was interrupted in the middle of an epoch\n{last_lines(home / 'log.txt')}")


def wait_for_epochs(process: subprocess.Popen[bytes], home: Path, epochs: int) -> Path:
    """Wait until a run has finished so many epochs and has saved its state.

    Returns:
        The folder of the run.

    Raises:
        RunError: The process ended before, or took longer than `TIMEOUT`.
    """
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        for path in home.glob("outputs/train/*/*/metrics.jsonl"):
            state = path.with_name("last.ckpt")
            if len(metrics(path.parent)) >= epochs and state.stat().st_mtime_ns >= path.stat().st_mtime_ns:
                return path.parent
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise RunError(f"no {epochs} epochs were trained\n{last_lines(home / 'log.txt')}")


REQUESTS: dict[str, Callable[[Side, Path], dict[str, Contents]]] = {
    **{name: functools.partial(single_run, words=words) for name, words in SINGLE_RUNS.items()},
    "resume": resumed_run,
    "sweep": sweep,
    "choose": choice,
}


# what runs have written


def run_folder(folder: Path) -> Path:
    """The only run below a folder."""
    (result,) = folder.rglob("result.json")
    return result.parent


def run_folders(folder: Path) -> dict[str, Contents]:
    """What all runs below a folder hold, by what was asked for: the names of folders may differ between the trees.

    Raises:
        RunError: Two runs cannot be told apart.
    """
    found: dict[str, Contents] = {}
    for path in sorted(folder.rglob("result.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        name = f"{result['names']['strategy']}, seed {result['seed']}, {result['cost']['steps']} steps"
        name += "" if result["test"] else ", val only"
        if name in found:
            raise RunError(f"two runs are called {name!r}")
        found[name] = run_contents(path.parent)
    return found


def run_contents(folder: Path) -> Contents:
    """What is compared of a run."""
    found: Contents = {"scores.csv": (folder / "scores.csv").read_bytes()}
    for file in ("best.ckpt", "last.ckpt"):
        state = torch.load(folder / file, map_location="cpu", weights_only=True)
        kept = {"weights": state["weights"], "training": state["training"]}
        found |= {name: value for name, value in leaves(kept, file) if isinstance(value, Tensor)}
    for row in metrics(folder):
        found |= texts(row, f"metrics.jsonl, epoch {row['epoch']}")
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return found | texts({key: result.get(key) for key in RESULT_KEYS}, "result.json")


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def table_contents(folder: Path) -> Contents:
    """What is compared of the tables of `segrun compare`."""
    (table,) = folder.glob("outputs/compare/*/*/table.csv")
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = table.with_suffix(".md").read_text(encoding="utf-8").splitlines()
    return {
        **texts(dict(enumerate(rows, 1)), "table.csv, row"),
        **texts(dict(enumerate(numbers(unmeasured(lines)), 1)), "numbers of table.md, line"),
    }


def numbers(lines: Iterable[str]) -> Iterator[list[str]]:
    """The numbers of each line that has some: sentences may be worded in another way."""
    for line in lines:
        found = re.findall(r"-?\d+(?:\.\d+)?", line)
        if found:
            yield found


def unmeasured(lines: list[str]) -> Iterator[str]:
    """The lines of a Markdown text, its tables without the columns of what is never the same twice."""
    left_out: set[int] = set()
    before = ""
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and not before.startswith("|"):  # the head of a table
            left_out = {index for index, cell in enumerate(cells) if measured(cell)}
        table = line.startswith("|")
        yield " | ".join(cell for index, cell in enumerate(cells) if index not in left_out) if table else line
        before = line


def measured(name: str) -> bool:
    """Whether a key or a column holds a time, a speed, a size of memory or of a file."""
    return any(word in name for word in MEASURED)


def texts(values: Mapping[Any, Any], name: str) -> Contents:
    """The values inside nested ones as JSON, by their paths, without what is measured."""
    return {path: json.dumps(value) for path, value in leaves(values, name) if not measured(path)}


def leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """What nested mappings and lists hold, by path; an empty one counts as a value."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{name} {key}")
    elif isinstance(value, (list, tuple)) and value:
        for place, inner in enumerate(value):
            yield from leaves(inner, f"{name}[{place}]")
    else:
        yield name, value


# the comparison


@dataclass
class Outcome:
    """What the comparison of a request came to.

    Attributes:
        differences: In words, each with the name of what differs.
        tensors: How many pairs of tensors were compared.
        values: How many pairs of other values were compared.
    """

    differences: list[str] = field(default_factory=list)
    tensors: int = 0
    values: int = 0

    def compare(self, title: str, one: Contents, other: Contents, names: tuple[str, str]) -> None:
        """Compare what two runs hold.

        Args:
            title: Which run it is.
            one: What the first holds.
            other: What the second holds.
            names: What the first and the second are called.
        """
        for name in dict.fromkeys((*one, *other)):
            if name not in one or name not in other:
                self.differences.append(f"{title}: {name}: only in {names[name in other]}")
                continue
            self.tensors += isinstance(one[name], Tensor)
            self.values += not isinstance(one[name], Tensor)
            if said := difference(one[name], other[name]):
                self.differences.append(f"{title}: {name}: {said}")

    def compare_runs(self, one: dict[str, Contents], other: dict[str, Contents]) -> None:
        """Compare the runs of a request in both trees, those of one name with each other."""
        names = ("this tree", "the other tree")
        for title in dict.fromkeys((*one, *other)):
            if title in one and title in other:
                self.compare(title, one[title], other[title], names)
            else:
                self.differences.append(f"{title}: only in {names[title in other]}")
        if not (one or other):
            self.differences.append("there is no run")


def difference(one: Any, other: Any) -> str:
    """How two values differ, in words; empty where they are equal."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.dtype != other.dtype or one.shape != other.shape:
            return f"{one.dtype} {tuple(one.shape)} and {other.dtype} {tuple(other.shape)}"
        return "" if torch.equal(one, other) else f"differs by {float((one.double() - other.double()).abs().max()):.3g}"
    if type(one) is not type(other):
        return f"{type(one).__name__} and {type(other).__name__}"
    if one == other:
        return ""
    return f"{len(one)} and {len(other)} bytes that differ" if isinstance(one, bytes) else f"{one} and {other}"


def compared(name: str, sides: tuple[Side, Side]) -> Outcome:
    """Run a request on both sides and compare. A run that fails, or lacks a file, counts as a difference."""
    outcome, found = Outcome(), []
    for side in sides:
        try:
            found.append(REQUESTS[name](side, side.home / name))
        except RunError as error:
            outcome.differences.append(f"{side.name} tree: {error}")
        except (OSError, KeyError, ValueError) as error:  # of files that are not there, or hold something else
            outcome.differences.append(f"{side.name} tree: {type(error).__name__}: {error}")
    if len(found) < len(sides):
        return outcome
    outcome.compare_runs(*found)
    if name == "resume":
        for side, runs in zip(sides, found, strict=True):
            whole, resumed = runs["uninterrupted"], runs["resumed"]
            names = ("the uninterrupted run", "the resumed one")
            outcome.compare(f"{side.name} tree, uninterrupted and resumed", whole, resumed, names)
    return outcome


def compare_all(names: list[str], sides: tuple[Side, Side], keep: bool) -> dict[str, Outcome]:
    """Run the requests one after the other, and say what each came to.

    Args:
        names: Of the requests.
        sides: This tree and the other one.
        keep: Whether the run folders stay.
    """
    outcomes = {}
    for name in names:
        began = time.monotonic()
        outcome = outcomes[name] = compared(name, sides)
        for said in outcome.differences:
            print(f"  {name}: {said}")
        state = "NOT EQUAL" if outcome.differences else "equal"
        print(f"{name}: {state} ({time.monotonic() - began:.0f} s)", flush=True)
        if not keep:
            for side in sides:
                shutil.rmtree(side.home / name, ignore_errors=True)
    return outcomes


def table(outcomes: Mapping[str, Outcome]) -> str:
    """A line for each request."""
    lines = [f"{'request':<12}{'result':<12}{'tensors':>8}{'other values':>14}"]
    for name, outcome in outcomes.items():
        state = "NOT EQUAL" if outcome.differences else "equal"
        lines.append(f"{name:<12}{state:<12}{outcome.tensors:>8}{outcome.values:>14}")
    return "\n".join(lines)


@contextlib.contextmanager
def workplace(keep: Path | None) -> Iterator[Path]:
    """The folder to keep, which must be new or empty, or a temporary one."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="equivalence_") as folder:
            yield Path(folder).resolve()
        return
    keep.mkdir(parents=True, exist_ok=True)
    if any(keep.iterdir()):
        sys.exit(f"{keep}: is not empty; choose another folder")
    yield keep.resolve()


def main() -> None:
    """Read the command line, compare, and exit with 1 where anything differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("other", type=Path, help="the tree to compare this one with: holds the package segrun")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="a new folder in which the runs stay")
    parser.add_argument("--only", nargs="+", choices=list(REQUESTS), metavar="NAME", default=list(REQUESTS),
                        help=f"some of the requests: {', '.join(REQUESTS)}")  # fmt: skip
    args = parser.parse_args()
    with workplace(args.keep) as folder:
        files = write_files(folder / "files")
        trees = {"this": THIS_TREE, "other": args.other.resolve()}
        this, other = (Side(name, tree, folder / name, files) for name, tree in trees.items())
        try:
            this.check()
            other.check()
        except RunError as error:
            sys.exit(str(error))
        outcomes = compare_all(args.only, (this, other), keep=args.keep is not None)
    print(f"\n{table(outcomes)}")
    sys.exit(1 if any(outcome.differences for outcome in outcomes.values()) else 0)


if __name__ == "__main__":
    main()
