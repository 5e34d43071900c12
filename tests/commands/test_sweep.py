"""Multirun: a folder a job, failures that take nothing down, the same line again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segrun import cli
from tests.conftest import QUICK, stopped_after

WORDS = ["train", "-m", *QUICK, "trainer.epochs=1", "dataset.val=2", "dataset.test=2"]


def sweep(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([*WORDS, *words])
    return int(ended.value.code or 0)


def test_every_job_has_its_folder_and_the_same_line_again_skips_it(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("strategy=scratch", "seed=0,1") == 0
    told = capsys.readouterr().out
    assert "2 jobs" in told and told.count("done") >= 2
    folders = sorted(path for path in (elsewhere / "outputs" / "multirun").iterdir() if path.is_dir())
    assert len(folders) == 2 and not any("=" in path.name or "," in path.name for path in folders)
    before = [(folder / "result.json").read_bytes() for folder in folders]
    assert sweep("strategy=scratch", "seed=0,1", "trainer.workers=1") == 0
    assert capsys.readouterr().out.count("done before") == 2
    assert before == [(folder / "result.json").read_bytes() for folder in folders]


def test_a_failed_job_is_named_and_the_rest_is_done(capsys: pytest.CaptureFixture[str], elsewhere: Path) -> None:
    # finetune finds no weights here: there is neither cache nor network
    assert sweep("strategy=finetune,scratch", "trainer.precision=fp32") == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "failed: strategy=finetune: the pretrained weights" in told
    assert "1 of 2 jobs failed" in told
    assert len(list((elsewhere / "outputs" / "multirun").glob("*/result.json"))) == 1


def test_an_interrupted_sweep_goes_on(elsewhere: Path) -> None:
    with stopped_after(3) as done:
        assert sweep("strategy=scratch", "seed=0,1", "trainer.epochs=2") == 130
        jobs = elsewhere / "outputs" / "multirun"
        assert len(list(jobs.glob("*/result.json"))) == 0 and len(list(jobs.glob("*/last.ckpt"))) == 1
        assert sweep("strategy=scratch", "seed=0,1", "trainer.epochs=2") == 0
    assert len(list(jobs.glob("*/result.json"))) == 2
    assert sum(len((path / "metrics.jsonl").read_text().splitlines()) for path in jobs.iterdir() if path.is_dir()) == 4
    assert json.loads(next(jobs.glob("*seed0*/result.json")).read_text())["cost"]["steps"] == 4
    assert len(done) == 8
