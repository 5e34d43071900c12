"""One process at a time trains in a folder; a killed one leaves nothing that blocks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import segrun
from segrun import cli
from segrun.checkpoints.checkpoint import Checkpoint
from segrun.engine import loop
from segrun.errors import Interrupted, RequestError
from segrun.experiment.request import check_processes
from segrun.runs.lock import InUseError, lock, wait_until_free
from segrun.types import ClassMap
from tests.conftest import QUICK, stopped_after

HOLD = """
import os, sys, time
from pathlib import Path
from segrun.runs.lock import lock
with lock(Path("run")):
    child = os.fork()  # as a loader's worker, which outlives a killed process for a while
    if child == 0:
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other_process(elsewhere: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)


def test_a_second_process_is_refused_until_the_first_one_dies(other_process: subprocess.Popen[str]) -> None:
    assert other_process.stdout is not None
    worker = int(other_process.stdout.readline())
    try:
        with pytest.raises(InUseError) as refused, lock(Path("run")):
            pass
        assert str(refused.value).startswith(f"run: process {other_process.pid} on ")
        assert str(refused.value).endswith(" works in this run folder. Wait until it ends, or end it.")
        other_process.send_signal(signal.SIGKILL)
        other_process.wait()
        with lock(Path("run")):
            assert Path("run/.lock").read_text().startswith(f"process {os.getpid()} on ")
        assert not list(Path("run").iterdir())
        assert not wait_until_free(Path("run"))
    finally:
        os.kill(worker, signal.SIGKILL)
        other_process.kill()
        other_process.wait()


def test_a_thread_holds_a_folder_twice_and_another_thread_is_refused(elsewhere: Path) -> None:
    refused: list[Exception] = []

    def other() -> None:
        try:
            with lock(Path("run")):
                pass
        except InUseError as error:
            refused.append(error)

    with lock(Path("run")):
        with lock(Path("run")):
            pass
        assert Path("run/.lock").is_file()  # still held
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(refused) == 1
    other()
    assert len(refused) == 1


@pytest.mark.slow
def test_a_second_resume_of_a_folder_is_refused(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with stopped_after(1), pytest.raises(Interrupted):
        segrun.train([*QUICK, "strategy=scratch"])
    (folder,) = Path("outputs/train").glob("*/*")
    folder.rename("run")
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    worker = int(holder.stdout.readline())
    before = Path("run/last.ckpt").read_bytes()
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main(["train", "resume=run"])
        assert ended.value.code == 2
        assert f"segrun: run: process {holder.pid} on " in capsys.readouterr().err
        assert Path("run/last.ckpt").read_bytes() == before
    finally:
        holder.kill()
        os.kill(worker, signal.SIGKILL)
        holder.wait()
    assert torch.load("run/last.ckpt", weights_only=True)["training"]["processes"] == 1
    assert segrun.train(["resume=run"]).folder == Path("run")
    assert not Path("run/.lock").exists()


@pytest.mark.slow
def test_a_running_training_holds_its_folder_also_where_it_is_new(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []
    step = loop.train_step

    def resumed_meanwhile(*args: Any, **options: Any) -> Any:
        (folder,) = Path("outputs/train").glob("*/*")
        words = [sys.executable, "-c", "from pathlib import Path\nfrom segrun.runs.lock import lock\n"]
        words[-1] += f"with lock(Path({str(folder)!r})): pass"
        refused.append(subprocess.run(words, capture_output=True, text=True).stderr)
        return step(*args, **options)

    monkeypatch.setattr(loop, "train_step", resumed_meanwhile)
    with stopped_after(1), pytest.raises(Interrupted):
        segrun.train([*QUICK, "strategy=scratch"])
    assert len(refused) == 1 and f"process {os.getpid()} on " in refused[0]


def test_another_number_of_processes_is_refused(elsewhere: Path) -> None:
    state = Checkpoint({}, {}, ClassMap((), ()), {}, 1, training={"processes": 2})
    check_processes(state, 2)
    check_processes(None, 2)
    check_processes(replace(state, training={}), 1)  # an older checkpoint
    with pytest.raises(RequestError) as refused:
        check_processes(state, 1)
    assert str(refused.value) == (
        "resume: 2 processes began this run, and now there are 1. Start 2: "
        "torchrun --nproc_per_node=2 -m segrun train resume=…"
    )
