"""Multirun: a folder per job, failures that do not end the sweep, and the same command again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from segrun import cli
from tests.conftest import QUICK, stopped_after

WORDS = ["train", "-m", *QUICK, "trainer.epochs=1", "dataset.val=2", "dataset.test=2"]


def sweep(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([*WORDS, *words])
    return int(ended.value.code or 0)


def jobs(output: str = "outputs") -> list[Path]:
    return sorted(path for path in Path(output, "multirun").iterdir() if path.is_dir())


def test_every_job_has_its_folder_and_the_same_line_again_skips_it(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("strategy=scratch", "seed=0,1") == 0
    printed = capsys.readouterr().out
    assert "2 jobs" in printed and printed.count("done") >= 2
    assert printed.splitlines()[-1] == "next: segrun compare runs=outputs/multirun"
    folders = jobs()
    assert len(folders) == 2 and not any("=" in path.name or "," in path.name for path in folders)
    before = [(folder / "result.json").read_bytes() for folder in folders]
    assert sweep("strategy=scratch", "seed=0,1", "trainer.workers=1") == 0
    assert capsys.readouterr().out.count("done before") == 2
    assert before == [(folder / "result.json").read_bytes() for folder in folders]


@pytest.mark.slow
def test_a_failed_job_is_listed_until_it_is_run_again(
    capsys: pytest.CaptureFixture[str], elsewhere: Path, pretrained: Path
) -> None:
    line = ("strategy=finetune", "backbone.weights=mine.pth,none")
    assert sweep(*line) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 of 2 jobs failed" in printed
    (folder,) = (path for path in jobs() if (path / "error.txt").is_file())
    assert "mine.pth" in (folder / "error.txt").read_text() and (folder / "config.yaml").is_file()
    pretrained.rename("mine.pth")
    assert sweep(*line) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 of 2 jobs failed" in printed and "mine.pth: there is no such file" in printed and "done before" in printed
    assert sweep(*line, "retry=true") == 0
    assert {path.name for path in folder.iterdir()} >= {"result.json"} and not (folder / "error.txt").exists()


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with stopped_after(3) as done:
        assert sweep("strategy=scratch", "seed=0,1", "trainer.epochs=2") == 130
        printed = capsys.readouterr()
        assert "the same command continues" in printed.err
        assert "interrupted" in printed.out and "not started" in printed.out
        assert len([path for path in jobs() if (path / "last.ckpt").is_file()]) == 1
        assert sweep("strategy=scratch", "seed=0,1", "trainer.epochs=2") == 0
    assert all((path / "result.json").is_file() for path in jobs())
    assert [len((path / "metrics.jsonl").read_text().splitlines()) for path in jobs()] == [2, 2]
    assert json.loads((jobs()[0] / "result.json").read_text())["cost"]["steps"] == 4
    assert len(done) == 8


@pytest.mark.slow
def test_with_trainer_steps_every_label_count_has_the_same_budget(elsewhere: Path) -> None:
    assert sweep("strategy=scratch", "labels=4,8", "trainer.epochs=2", "trainer.steps=4") == 0
    results = [json.loads((path / "result.json").read_text()) for path in jobs()]
    assert sorted(result["labels"] for result in results) == [4, 8]
    assert [result["cost"]["steps"] for result in results] == [4, 4]


def test_combinations_that_ask_for_the_same_run_are_one_job(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("strategy=scratch", "trainer.cache=0,1") == 0
    assert "1 jobs for 2 requests, some for the same run" in capsys.readouterr().out


@pytest.mark.slow
def test_a_sweep_scores_no_test_split_where_it_is_told_so(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("strategy=scratch", "seed=0,1", "test=false") == 0
    folders = [*(elsewhere / "outputs" / "search").iterdir()]
    assert [json.loads((folder / "result.json").read_text())["test"] for folder in folders] == [None, None]
    assert "next: segrun compare" not in capsys.readouterr().out  # what val has scored is not to be compared with runs


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "retry=true"), "a single run is always new"),
        (("train", "-m", "resume=a,b"), "continues one run"),
        (("train", "-m", "optimizer.lr=interval(0,1)"), "only a search draws from an interval"),
        (("train", "-m", "dataset=shapes,folder"), "dataset.root has no value"),
    ],
)
def test_what_a_sweep_cannot_do_is_refused_before_anything_is_run(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(words))
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not (elsewhere / "outputs").exists()


def test_other_commands_run_every_combination_and_tell_what_failed_at_the_end(
    capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["plan", "-m", "strategy=scratch", "freeze=stages,none"])
    printed = capsys.readouterr()
    assert ended.value.code == 2 and "segrun: " in printed.err
    assert "head.mask" in printed.out


@pytest.mark.slow
def test_a_sweep_that_was_killed_ends_with_the_table_of_one_that_was_not(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["strategy=scratch", "trainer.epochs=2", "seed=0,1,2", "labels=4,8", "optimizer.lr=1e-3,1e-2"]
    process = subprocess.Popen([sys.executable, "-m", "segrun", *WORDS, *words], stdout=subprocess.DEVNULL)
    multirun = elsewhere / "outputs" / "multirun"
    deadline = time.monotonic() + 600
    while len(list(multirun.glob("*/result.json"))) < 5 or all(
        (path.parent / "result.json").exists() for path in multirun.glob("*/last.ckpt")
    ):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(list(multirun.glob("*/result.json"))) < 12

    def table(*more: str) -> list[list[str]]:
        """What was asked, the scores and the trained parameters; not how long it took."""
        assert sweep(*words, *more) == 0
        printed = capsys.readouterr().out
        rows = [row.split("│") for row in printed[printed.rindex("12 jobs") :].splitlines() if row.startswith("│")]
        return [[cell.strip() for cell in row[1:5]] for row in rows]

    def scores(output: str) -> dict[str, list[dict[str, Any]]]:
        results = {path.name: json.loads((path / "result.json").read_text()) for path in jobs(output)}
        return {name: [result["val"], result["test"]] for name, result in results.items()}

    again, never_killed = table(), table("output=other")
    assert again == never_killed and len(again) == 12
    assert scores("outputs") == scores("other")
    assert len({val["loss"] for val, _ in scores("other").values()}) == 12  # no two jobs are alike


@pytest.mark.slow
def test_an_unreadable_state_of_a_job_names_the_folder_to_delete(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with stopped_after(1):
        assert sweep("strategy=scratch", "trainer.epochs=2") == 130
    (folder,) = jobs()
    state = bytearray((folder / "last.ckpt").read_bytes())
    state[len(state) // 2] ^= 1
    (folder / "last.ckpt").write_bytes(state)
    cure = f"To train this job from its start, delete {folder}."
    for words in ((), ("retry=true",)):
        assert sweep("strategy=scratch", "trainer.epochs=2", *words) == 1
        assert (folder / "error.txt").read_text().endswith(f"{cure}\n")
    shutil.rmtree(folder)
    assert sweep("strategy=scratch", "trainer.epochs=2") == 0


@pytest.mark.slow
def test_a_damaged_result_is_named_and_the_table_shows_the_others(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("strategy=scratch", "seed=0,1") == 0
    (jobs()[0] / "result.json").write_text("[" * 50_000)
    capsys.readouterr()
    assert sweep("strategy=scratch", "seed=0,1") == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{jobs()[0]}/result.json: cannot be read as JSON" in printed and printed.count("done before") == 1
    assert f"To train this job from its start, delete {jobs()[0]}." in printed
    shutil.rmtree(jobs()[0])
    assert sweep("strategy=scratch", "seed=0,1") == 0


@pytest.mark.slow
def test_two_terminals_with_the_same_sweep_share_its_jobs(elsewhere: Path) -> None:
    words = [*WORDS, "strategy=scratch", "trainer.epochs=3", "seed=0,1,2,3"]
    command = [sys.executable, "-m", "segrun", *words]
    terminals = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [terminal.communicate(timeout=600)[0] for terminal in terminals]
    assert [terminal.returncode for terminal in terminals] == [0, 0]
    assert len(jobs()) == 4
    for folder in jobs():  # each was trained once
        assert [json.loads(row)["epoch"] for row in (folder / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3]
        assert sum(f"run folder: {folder}" in " ".join(text.split()) for text in printed) == 1
        assert not (folder / ".lock").exists()
    assert all(" ".join(text.split()).count("done") >= 4 for text in printed)  # both tables are complete
