"""Launchers that run jobs in processes of their own: the table is the same, and each job's output is in its folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from segrun import cli
from segrun.errors import MissingExtraError
from tests.sweeps.test_jobs import WORDS, jobs, sweep

LAUNCHERS = {"joblib": "joblib", "submitit_local": "submitit", "ray": "ray"}


@pytest.fixture(params=LAUNCHERS)
def launcher(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """hydra/launcher=…; skipped where it is not installed. Nothing that it started is left behind."""
    pytest.importorskip(f"hydra_plugins.hydra_{LAUNCHERS[request.param]}_launcher")
    library = pytest.importorskip(LAUNCHERS[request.param])
    paths = os.pathsep.join(path for path in sys.path if path)
    monkeypatch.setenv("PYTHONPATH", paths)  # where tests are run from a clone
    yield f"hydra/launcher={request.param}"
    if request.param == "ray":
        library.shutdown()
    elif request.param == "joblib":
        library.externals.loky.get_reusable_executor().shutdown(kill_workers=True)


@pytest.mark.slow
def test_jobs_in_processes_of_their_own_end_in_the_same_table(
    launcher: str, elsewhere: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert sweep("strategy=scratch", "backbone.weights=none,mine.pth", launcher) == 1
    printed = " ".join(capfd.readouterr().out.split())
    assert "1 of 2 jobs failed" in printed and "mine.pth: there is no such file" in printed
    done = [path for path in jobs() if (path / "result.json").is_file()]
    assert done and all("epoch" in (path / "log.txt").read_text() for path in done)
    assert "loss" not in printed  # the lines of an epoch stay in the folders
    assert sweep("strategy=scratch", "backbone.weights=none", launcher) == 0
    assert "done before" in capfd.readouterr().out


def alive(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="there is no /proc here")
def test_the_jobs_end_saved_when_the_sweep_is_killed(elsewhere: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    line = [sys.executable, "-m", "segrun", *WORDS, "strategy=scratch", "seed=0,1", "trainer.epochs=500"]
    process = subprocess.Popen([*line, "hydra/launcher=joblib"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while len(list(elsewhere.glob("outputs/multirun/*/last.ckpt"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    children = [c for path in Path(f"/proc/{process.pid}/task").glob("*/children") for c in path.read_text().split()]
    assert len(children) >= 2
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while any(alive(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not list(elsewhere.glob("outputs/multirun/*/result.json"))


def test_joblib_shares_the_threads_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    joblib = pytest.importorskip("joblib")
    import torch

    got = joblib.Parallel(n_jobs=2, backend="loky")(joblib.delayed(torch.get_num_threads)() for _ in range(2))
    assert got == [max(1, joblib.cpu_count() // 2)] * 2
    joblib.externals.loky.get_reusable_executor().shutdown(kill_workers=True)


@pytest.mark.parametrize(
    ("launcher", "extra"),
    [("joblib", "sweep"), ("submitit_slurm", "slurm"), ("submitit_local", "slurm"), ("ray", "ray")],
)
def test_a_launcher_that_is_not_installed_is_named_with_its_extra(
    launcher: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    from hydra_plugins.segrun import sweepers

    def import_extra(module: str, extra: str) -> None:
        raise MissingExtraError(f"{module} is not installed: pip install 'segrun[{extra}]'")

    monkeypatch.setattr(sweepers, "import_extra", import_extra)
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "-m", "seed=0,1", f"hydra/launcher={launcher}"])
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert f"pip install 'segrun[{extra}]'" in printed and len(printed.splitlines()) == 1
    assert not (elsewhere / "outputs").exists()
