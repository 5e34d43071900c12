"""Files and classes named by others, from check to compare: their names are text everywhere, and stop nothing."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import segrun
from segrun import cli
from segrun.comparison.runs import read_run
from segrun.errors import RequestError
from tests.conftest import QUICK

WORDS = [word for word in QUICK if not word.startswith("dataset.")]
CLASSES = ["=back", "$\\frac{$[/] \x1b[31m"]
SPLIT = ["split.train=0.3", "split.val=0.1", "split.test=0.6"]
NAMES = ["=1+1", "-a\x1b[2J\x07", "ü" * 122, os.fsdecode(b"not\xffutf8"), "[red]a:smile:", "a\u202eb\rc"]
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def data(folder_data: Callable[..., Path]) -> list[str]:
    root = folder_data(12)
    for kind in ("images", "masks"):
        for index, name in enumerate(NAMES):
            (root / kind / f"p{index:02}.png").rename(root / kind / f"{name}.png")
    root = root.rename(root.parent / ("d" * 240))
    (root / "classes.txt").write_text("\n".join(CLASSES), encoding="utf-8")
    return ["dataset=folder", f"dataset.root={root}"]


def command(capfd: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    """What the command prints."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main([*words])
    out, err = capfd.readouterr()
    assert ended.value.code == status, out + err
    assert not CONTROLS.search(out + err)
    return out


@pytest.mark.slow
def test_names_are_shown_escaped_and_read_back_as_they_are(data: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    printed = command(capfd, "check", *data, *SPLIT, "samples=20")
    (folder,) = Path("outputs/check").glob("*/*")
    assert len(os.fsencode(folder.name)) < 200 and folder.name[9:].startswith("ddd")
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert r"-a\u001b[2J\u0007" in page and r"not\udcffutf8" in page and not CONTROLS.search(page)
    json.loads((folder / "findings.json").read_text(encoding="utf-8"))

    words = [*WORDS, *data, *SPLIT, "strategy=scratch", "trainer.epochs=1"]
    for seed in (0, 1):
        printed = command(capfd, "train", *words, f"seed={seed}")
        assert r"$\frac{$[/] \u001b[31m" in printed
    runs = sorted(Path("outputs/train").glob("*/*"))
    names = set(json.loads((runs[0] / "split.json").read_text(encoding="utf-8"))["test"])
    assert names & set(NAMES)
    for run in runs:
        evaluated, _ = read_run(run).read_scores()
        assert set(evaluated.images) == names and set(evaluated.classes) == set(CLASSES)
        rows = list(csv.reader((run / "scores.csv").open(encoding="utf-8", errors="surrogateescape", newline="")))
        assert not [cell for row in rows for cell in row if cell[:1] in "=+-@\t\r" and cell]
        assert list((run / "samples").glob("*.png")) and (run / "plots" / "confusion.png").is_file()
    assert not CONTROLS.search((runs[0] / "plan.txt").read_text(encoding="utf-8"))

    printed = command(capfd, "compare", "runs=outputs/train", "draws=100", "by=strategy")
    assert r"iou_$\frac{$" in next(Path("outputs/compare").glob("*/*/table.csv")).read_text(encoding="utf-8")
    printed = command(
        capfd, "predict", f"checkpoint={runs[0]}", f"input={data[1].partition('=')[2]}/images", "output=m"
    )
    assert "12 masks written to m" in printed and "1 names are too long" in printed


def test_an_error_shows_names_escaped(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["predict", "checkpoint=a\x1b[2J.ckpt", "input=x\rsegrun: all is well\u202e", "output=m"])
    err = capfd.readouterr().err
    assert ended.value.code == 2
    assert err == (
        r"segrun: input=x\u000dsegrun: all is well\u202e: no image there (a file, a folder or a glob)." + "\n"
    )


@pytest.mark.slow
def test_a_run_folder_is_not_written_through_a_link(elsewhere: Path) -> None:
    (elsewhere / "big").mkdir()
    Path("outputs").symlink_to("big")  # the user's own: a folder above the results may be a link
    run = segrun.train([*QUICK, "strategy=scratch", "trainer.epochs=1"]).folder
    assert (elsewhere / "big" / run.relative_to("outputs") / "result.json").is_file()
    (run / "result.json").unlink()  # as if it had not ended
    (elsewhere / "victim").mkdir()
    for link in (run / "samples", run / "log.txt", run / "best.ckpt", run.with_name("link")):
        target = run.absolute() if link.name == "link" else elsewhere / "victim"
        if link.exists():
            link.rename(elsewhere / link.name)
        link.symlink_to(target)
        with pytest.raises(RequestError) as refused:
            segrun.train([f"resume={link if link.name == 'link' else run}"])
        assert str(refused.value) == (
            f"{link}: is a link to {target}, and results are not written through it. Remove the link, or name what it "
            "leads to."
        )
        link.unlink()
    assert not list((elsewhere / "victim").iterdir())


@pytest.mark.parametrize(
    ("output", "reason"),
    [("/".join(["d" * 99] * 38), "its path is longer than 3800 bytes"), ("d" * 300, "File name too long")],
)
def test_a_folder_that_is_too_deep_is_refused_before_the_training(output: str, reason: str) -> None:
    with pytest.raises(RequestError) as refused:
        segrun.train([*QUICK, "strategy=scratch", f"output={output}"])
    assert str(refused.value).startswith(output)
    assert str(refused.value).endswith(f": cannot be written ({reason}). Choose another folder.")
    assert not Path(output[:99]).exists()
