"""What ends a command from outside: signals, too little memory, a full disk, lost processes."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import get_worker_info

import segrun
from segrun.data.sets.shapes import Shapes
from segrun.engine import step
from segrun.errors import DataError
from segrun.inference.inference import Inference
from tests.commands.test_train import SCRATCH, command, same, state
from tests.conftest import stopped_after
from tests.test_files import largest_file

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[str]
RESUME = "Continue with: segrun train resume="


@pytest.fixture(autouse=True)
def no_process_is_left() -> Any:
    yield
    assert not multiprocessing.active_children()


def call_first(monkeypatch: pytest.MonkeyPatch, target: str, action: Callable[[], object]) -> None:
    """Let a function do something else before it does its work."""
    module, _, name = target.rpartition(".")
    owner = importlib.import_module(module)
    original = getattr(owner, name)

    def wrapped(*args: Any, **options: Any) -> Any:
        action()
        return original(*args, **options)

    monkeypatch.setattr(owner, name, wrapped)


def run_folder() -> Path:
    return next(Path("outputs/train").glob("*/*"))


# where the signal arrives → whether the training is stored by then
IN_TRAIN = {
    "segrun.data.scan.scan.inspect_sample": False,
    "segrun.experiment.plan.make_plan": False,
    "segrun.commands.train.adapted_model": False,
    "segrun.engine.loop.make_objective": False,
    "segrun.commands.train.evaluate": True,
    "segrun.runs.finish.score_best": True,
    "segrun.runs.finish.draw_plots": True,
}


@pytest.mark.parametrize(("place", "is_stored"), IN_TRAIN.items())
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_training_anywhere(
    place: str, is_stored: bool, number: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    with monkeypatch.context() as patch:
        call_first(patch, place, lambda: os.kill(os.getpid(), number))
        assert command("train", *SCRATCH) == 130
    error = capsys.readouterr().err
    assert error.startswith("segrun: Interrupted") and "Traceback" not in error
    assert (RESUME in error) == is_stored
    if is_stored:
        assert command("train", f"resume={run_folder()}") == 0
        whole = segrun.train([*SCRATCH, "output=whole"]).folder
        same(state(whole), state(run_folder()))


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (("predict", "input=data/images", "output=masks"), "segrun.commands.predict.load_predictor"),
        (("predict", "input=data/images", "output=masks"), "segrun.inference.predict_files.write_prediction"),
        (("predict", "input=data/images", "output=masks"), "segrun.commands.predict.write_summary"),
        (("eval",), "segrun.commands.evaluate.evaluation_data"),
        (("eval",), "segrun.commands.evaluate.evaluate"),
        (("eval",), "segrun.commands.evaluate.save_confusion"),
        (("check", "dataset=shapes"), "segrun.commands.check.run_rules"),
        (("plan", *SCRATCH), "segrun.experiment.plan.make_plan"),
        (("train", "-m", *SCRATCH, "seed=0,1"), "segrun.commands.train.adapted_model"),
        (("choose", *SCRATCH, "optimizer.lr=1e-3,1e-2"), "segrun.commands.train.adapted_model"),
    ],
)
def test_sigterm_ends_every_command(
    words: tuple[str, ...],
    place: str,
    folder_data: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    folder_data(2)
    if words[0] in ("predict", "eval"):
        words = (*words, f"checkpoint={segrun.train(SCRATCH).checkpoint}")
    call_first(monkeypatch, place, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert command(*words) == 130
    assert capsys.readouterr().err.startswith("segrun: Interrupted")
    assert not list(Path().rglob("*.part"))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_help_states_the_exit_status(capsys: Capture) -> None:
    assert command("--help") == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {status}  " in printed for status in (0, 1, 2, 130))


def in_worker(action: Callable[[], object]) -> Callable[..., Any]:
    """`Shapes.image`, which does something else first in the loader's process that reads train-003."""
    original = Shapes.image

    def image(self: Shapes, name: str) -> Any:
        if name == "train-003" and get_worker_info() is not None:
            action()
        return original(self, name)

    return image


def hang() -> None:
    while True:
        time.sleep(60)


def test_a_killed_loader_process_is_named_and_the_run_continues(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Shapes, "image", in_worker(lambda: os.kill(os.getpid(), signal.SIGKILL)))
        assert command("train", *SCRATCH, "trainer.workers=2") == 1
    first, last = capsys.readouterr().err.strip().splitlines()
    assert first.startswith("segrun: a loader process died (") and "trainer.workers=0" in first and RESUME in last
    assert command("train", f"resume={run_folder()}") == 0
    same(state(segrun.train([*SCRATCH, "output=whole"]).folder), state(run_folder()))


def test_a_loader_process_that_hangs_is_reported_and_ended(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(Shapes, "image", in_worker(hang))
    assert command("train", *SCRATCH, "trainer.workers=2", "trainer.timeout=3") == 1
    first, last = capsys.readouterr().err.strip().splitlines()
    assert "a loader process has not responded for trainer.timeout=3 seconds" in first and RESUME in last


def test_sigterm_ends_a_wait_for_a_loader_that_hangs(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Shapes, "image", in_worker(hang))
        call_first(patch, "segrun.engine.loop.make_objective", threading.Timer(3, os.kill, (os.getpid(), 15)).start)
        assert command("train", *SCRATCH, "trainer.workers=2") == 130
    assert RESUME in capsys.readouterr().err
    assert command("train", f"resume={run_folder()}") == 0
    same(state(segrun.train([*SCRATCH, "output=whole"]).folder), state(run_folder()))


def test_an_image_that_a_loader_process_cannot_read_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def damaged() -> None:
        raise DataError("photo.png: is damaged.")

    monkeypatch.setattr(Shapes, "image", in_worker(damaged))
    assert command("train", *SCRATCH, "trainer.workers=2") == 2
    first, last = capsys.readouterr().err.strip().splitlines()
    assert first == "segrun: photo.png: is damaged." and RESUME in last


def test_full_shared_memory_is_named_with_the_cure(elsewhere: Path) -> None:
    mounted = "mount -t tmpfs -o size=64k tmpfs /dev/shm"
    if not shutil.which("unshare") or subprocess.run(["unshare", "-m", "sh", "-c", mounted]).returncode:
        pytest.skip("this system does not let a test mount its own /dev/shm")
    words = " ".join(f"'{word}'" for word in [*SCRATCH, "trainer.workers=2"])
    line = f"{mounted} && {sys.executable} -m segrun train {words}"
    done = subprocess.run(["unshare", "-m", "sh", "-c", line], capture_output=True, text=True, timeout=120)
    first, last = done.stderr.strip().splitlines()
    assert done.returncode == 1 and RESUME in last
    assert first.startswith("segrun: /dev/shm is full:") and "trainer.workers=0" in first and "--shm-size" in first


def test_cuda_out_of_memory_names_the_sizes_and_what_to_lower(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    calls: list[int] = []
    original = step.forward

    def forward(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return original(*args)

    monkeypatch.setattr(step, "forward", forward)
    assert command("train", *SCRATCH) == 1
    first, last = capsys.readouterr().err.strip().splitlines()
    assert first == (
        "segrun: out of memory on the GPU with trainer.batch_size=4 and images of 64×64. Lower trainer.batch_size "
        "(trainer.accumulate makes up for it) or sizing.size, or use trainer.precision=bf16."
    )
    assert last == f"{RESUME}{run_folder()}"


def test_too_little_memory_to_predict_is_one_line(
    folder_data: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    checkpoint = segrun.train([*SCRATCH, "trainer.epochs=1"]).checkpoint

    def logits(self: Inference, images: torch.Tensor) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Inference, "logits", logits)
    for words in (("predict", f"input={folder_data(2)}/images", "output=masks"), ("eval",)):
        assert command(*words, f"checkpoint={checkpoint}") == 1
        expected = "segrun: out of memory on the GPU with batch_size=8. Lower batch_size or tile.\n"
        assert capsys.readouterr().err == expected


def test_a_full_disk_leaves_the_last_checkpoint_and_the_run_continues(capsys: Capture) -> None:
    with stopped_after(1):
        assert command("train", *SCRATCH) == 130
    before = (run_folder() / "last.ckpt").read_bytes()
    capsys.readouterr()
    with largest_file(len(before) - 1000):
        assert command("train", f"resume={run_folder()}") == 1
    first, last = capsys.readouterr().err.strip().splitlines()
    place = re.escape(f"segrun: the limit on file sizes is reached on {run_folder()}, ")
    assert re.match(place + r"29\.\d MB needed for last\.ckpt\. Older files are kept\.$", first)
    assert last == f"{RESUME}{run_folder()}"
    assert (run_folder() / "last.ckpt").read_bytes() == before and not list(run_folder().rglob("*.part"))
    assert command("train", f"resume={run_folder()}") == 0
    same(state(segrun.train([*SCRATCH, "output=whole"]).folder), state(run_folder()))


def test_a_sweep_goes_on_and_lists_the_jobs_for_which_the_disk_was_full(capsys: Capture) -> None:
    words = ("train", "-m", *SCRATCH, "trainer.epochs=1", "seed=0,1")
    with largest_file(12_000_000):
        assert command(*words) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("needed for last.ckpt") == 4  # when it happens, and in the list
    assert "2 of 2 jobs failed" in printed
    assert command(*words, "retry=true") == 0


def test_an_output_that_cannot_be_written_is_found_before_work_begins(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    checkpoint = segrun.train([*SCRATCH, "trainer.epochs=1"]).checkpoint
    (elsewhere / "file").touch()
    (elsewhere / "photos").mkdir()
    shutil.copy(next(checkpoint.parent.rglob("*.png")), elsewhere / "photos")

    def work(*args: Any, **options: Any) -> Any:
        raise AssertionError("work has begun")

    from segrun.commands import check, evaluate, predict, train

    monkeypatch.setattr(predict, "load_predictor", work)
    monkeypatch.setattr(train, "plan_training", work)
    monkeypatch.setattr(check, "scan_all", work)
    monkeypatch.setattr(evaluate, "evaluation_data", work)
    for words in (
        ("train", *SCRATCH),
        ("train", "-m", *SCRATCH, "seed=0,1"),
        ("predict", f"checkpoint={checkpoint}", "input=photos"),
        ("eval", f"checkpoint={checkpoint}"),
        ("check",),
    ):
        assert command(*words, "output=file/x") == 2
        error = capsys.readouterr().err
        assert error.startswith("segrun: file/x") and "cannot be written (Not a directory)" in error


RANKS = """
import os, signal, sys, time
from segrun import cli
from segrun.engine import loop
train_step, done = loop.train_step, []
def step(*args, **options):
    done.append(1)
    if os.environ["RANK"] == "1" and len(done) == 4:
        {fault}
    return train_step(*args, **options)
loop.train_step = step
cli.main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "another process of the training has ended"),
        ("time.sleep(600)", "another process of the training has not responded for trainer.timeout=10 seconds"),
    ],
)
def test_a_lost_process_is_reported_with_the_command_that_continues(fault: str, message: str, elsewhere: Path) -> None:
    (elsewhere / "ranks.py").write_text(RANKS.format(fault=fault))
    words = [sys.executable, "ranks.py", "train", *SCRATCH, "trainer.timeout=10"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    # without a launcher, which would end the first process before it has said anything
    first, second = (
        subprocess.Popen(
            words, stderr=subprocess.PIPE, text=True, env={**os.environ, **where, "RANK": rank, "LOCAL_RANK": rank}
        )
        for rank in "01"
    )
    try:
        _, error = first.communicate(timeout=300)
    finally:
        second.kill()
        second.communicate()
    assert first.returncode == 1
    assert f"segrun: {message}" in error and RESUME in error
    assert (run_folder() / "last.ckpt").is_file()
