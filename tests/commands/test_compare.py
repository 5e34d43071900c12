"""`segrun compare` from the command line: its tables, its page, its words."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segrun import cli
from segrun.config.compose import compose
from tests.comparison import synthetic
from tests.comparison.synthetic import CLASSES, Study, samples, study, write

SECTIONS = ["answer", "labels", "score and cost", "classes", "training", "pictures", "ranks", "failed and missing"]


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a test reads tables alone: drawing takes longer than all else."""
    monkeypatch.setattr("segrun.commands.compare.comparison_page", lambda c, title: title)


def compare(*words: str) -> Path:
    """The folder that it writes."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["compare", "draws=200", *words])
    assert ended.value.code == 0
    (folder,) = Path("outputs/compare").glob("*/*")
    return folder


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(["compare", *words])
    output = capsys.readouterr().err
    assert ended.value.code == 2 and output.startswith("segrun: ") and output.count("\n") <= 2
    return output


def test_the_tables_are_written_and_the_page_is_told(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study(elsewhere / "runs", {"finetune": 0.0, "l2sp": 0.5})
    folder = compare("runs=runs")
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "table.csv", "table.md", "table.tex"]
    output = capsys.readouterr().out
    assert output.splitlines()[-1] == str(folder / "index.html") and "l2sp is better than finetune by" in output


@pytest.mark.usefixtures("no_page")
def test_the_csv_holds_what_the_scores_say(elsewhere: Path) -> None:
    study(elsewhere / "runs", {"finetune": 0.0, "l2sp": 0.3, "scratch": -0.3})
    with (compare("runs=runs") / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["strategy"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["finetune", "l2sp", "scratch"]
    means = {}
    for strategy, row in rows.items():
        scores, ious = [], []
        for path in sorted((elsewhere / "runs").glob(f"*{strategy}*/scores.csv")):
            sums = {name: np.zeros(3) for name in CLASSES}
            with path.open(newline="", encoding="utf-8") as file:
                for line in csv.DictReader(file):
                    sums[line["class"]] += [int(line[key]) for key in ("tp", "fp", "fn")]
            ious.append([three[0] / three.sum() for three in sums.values()])
            scores.append(np.mean(ious[-1]))
        means[strategy] = np.mean(scores)
        half = 4.302653 * np.std(scores, ddof=1) / np.sqrt(3)  # Student's t for three seeds
        np.testing.assert_allclose(
            [float(row[key]) for key in ("miou", "low", "high")],
            [means[strategy], means[strategy] - half, means[strategy] + half], rtol=1e-6,
        )  # fmt: skip
        np.testing.assert_allclose([float(row[f"iou_{name}"]) for name in CLASSES], np.mean(ious, axis=0))
        assert (row["runs"], row["failed"], float(row["seconds"])) == ("3", "0", 12)
    for strategy in ("l2sp", "scratch"):
        assert float(rows[strategy]["difference"]) == pytest.approx(means[strategy] - means["finetune"])
        assert float(rows[strategy]["p"]) <= float(rows[strategy]["p_holm"]) <= 1
    assert rows["finetune"]["difference"] == rows["finetune"]["p_holm"] == ""
    assert [rows[each]["rank"] for each in rows] == ["2", "1", "3"]


@pytest.mark.usefixtures("no_page")
def test_markdown_and_latex_are_well_formed_whatever_the_names(elsewhere: Path) -> None:
    names, synthetic_study = ("a|b", "50%_&#", r"x\y{$}~^"), Study(6)
    for strategy in ("finetune", "my_own&more%"):
        for seed, counts in synthetic_study.runs(2).items():
            write(
                elsewhere / "runs" / f"{strategy}{seed}", counts, synthetic.config(strategy, int(seed)), classes=names
            )
    folder = compare("runs=runs")
    lines = (folder / "table.md").read_text(encoding="utf-8").splitlines()
    tables = [i for i, line in enumerate(lines) if line.startswith("|---")]
    assert len(tables) == 3
    for ruler in tables:
        body = [lines[ruler - 1], lines[ruler], *(line for line in lines[ruler + 1 : ruler + 3])]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in body}) == 1 and lines[ruler + 3 :][:1] in ([], [""])
    latex = (folder / "table.tex").read_text(encoding="utf-8")
    for body in re.findall(r"\\begin\{tabular\}\{(lr*)\}\n(.*?)\\end\{tabular\}", latex, re.S):
        rows = [line for line in body[1].splitlines() if not line.endswith("rule")]
        assert len(rows) == 3
        for row in rows:
            assert row.endswith(r" \\") and len(re.findall(r"(?<!\\)&", row)) == len(body[0]) - 1
            bare = re.sub(r"\\[&%$#_{}]|\\text\w+\{\}|\$[<>\-]\$| & | \\\\$", "", row)
            assert not re.search(r"[&%#_{}\\~^$]", bare), bare
    assert r"my\_own\&more\%" in latex and latex.count(r"\begin{tabular}") == 3


def shown(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


def test_the_page_has_every_section_and_its_pictures_are_whole(elsewhere: Path) -> None:
    study(elsewhere / "runs", {"finetune": 0.0, "l2sp": 0.5, "<b>&": 0.1}, labels=(5, 20))
    for run in (elsewhere / "runs").iterdir():
        samples(run, guess=10 if "l2sp" in run.name else 4)
    (elsewhere / "runs" / "folder_l2sp_20_seed1" / "result.json").unlink()
    page = shown(compare("runs=runs"))
    assert [html.unescape(title) for title in re.findall("<h2>(.*?)</h2>", page)] == SECTIONS
    assert "l2sp, 5 labels is better than finetune" in page and "&lt;b&gt;&amp;" in page and "<b>" not in page
    assert "http" not in re.sub('"data:[^"]*"', "", page)  # nothing is fetched
    figures = re.findall(r'<img src="data:image/png;base64,([^"]*)" alt="([^"]*)"', page)
    pictures = {
        html.unescape(name): np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data, name in figures
    }
    assert page.count("<img") == len(figures) and all(min(pixels.shape[:2]) > 9 for pixels in pictures.values())
    assert {"test__p001: image", "truth", "l2sp, 5 labels", "where they differ"} <= pictures.keys()
    apart = (pictures["where they differ"] == 255).all(-1)
    assert apart.sum() == 100 - 16 and apart[:10, :10].sum() == 84  # of squares with sides of 10 and 4


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_a_browser_shows_the_page(elsewhere: Path) -> None:
    study(elsewhere / "runs", {"finetune": 0.0, "l2sp": 0.5}, labels=(5, 20), seeds=2)
    page = compare("runs=runs") / "index.html"
    text = page.read_text(encoding="utf-8").replace(
        "</body>",
        """<script>
        const broken = [...document.images].filter(image => !image.complete || !image.naturalWidth).length
        const wide = document.documentElement.scrollWidth > innerWidth
        document.title = `${document.images.length} pictures, ${broken} broken, too wide: ${wide}`</script></body>""",
    )
    page.write_text(text, encoding="utf-8")
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,900", "--dump-dom"]
    done = subprocess.run([*browser, page.resolve().as_uri()], capture_output=True, text=True, timeout=300)
    pictures = text.count("<img")
    assert f"<title>{pictures} pictures, 0 broken, too wide: false</title>" in done.stdout and pictures > 5


@pytest.mark.usefixtures("no_page")
def test_wrong_requests_end_in_a_line(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study(elsewhere / "runs", {"finetune": 0.0, "l2sp": 0.5}, seeds=1)
    assert "runs=outputs/multirun: no run found. Give a run folder" in refused(capsys)
    assert "runs=nowhere/*: no run found" in refused(capsys, "runs=nowhere/*")
    assert "baseline=scratch: must be one of the compared values: finetune, l2sp." in refused(
        capsys, "runs=runs", "baseline=scratch"
    )
    assert "by=colour: no run has this setting" in refused(capsys, "runs=runs", "by=colour")
    assert "draws=5: must be a whole number of at least 100." in refused(capsys, "runs=runs", "draws=5")
    assert "draws=many: must be a whole number of at least 100." in refused(capsys, "runs=runs", "draws=many")
    assert not Path("outputs").exists()


@pytest.mark.usefixtures("no_page")
def test_runs_that_are_not_comparable_end_in_a_line(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study(elsewhere / "nuclei", {"finetune": 0.0}, seeds=2)
    synthetic_study = Study(9)
    write(
        elsewhere / "camvid", synthetic_study.counts(), synthetic.config(names__dataset="camvid"), images=[*"abcdefghi"]
    )
    write(elsewhere / "search", synthetic_study.counts(), synthetic.config("l2sp"), test=False)
    output = refused(capsys, "runs=nuclei,camvid")
    assert "nuclei/folder_finetune_all_seed0 and camvid were scored on different images" in output
    output = refused(capsys, "runs=nuclei,search")
    assert "search was scored only on val" in output and "nuclei/folder_finetune_all_seed1 on test" in output


@pytest.mark.usefixtures("no_page")
def test_without_runs_those_of_sweeps_are_compared(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study(elsewhere / "outputs" / "multirun", {"finetune": 0.0, "l2sp": 0.5}, seeds=1)
    assert len((compare() / "table.csv").read_text().splitlines()) == 3
    assert "Only one seed, so no interval and no test: finetune, l2sp." in capsys.readouterr().out


def test_half_written_old_and_nan_runs_are_shown_as_what_they_are(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    synthetic_study, runs, val = Study(6), elsewhere / "runs", {"0": None, "1": float("nan")}
    for strategy in ("finetune", "l2sp"):
        for seed, counts in synthetic_study.runs(4).items():
            values = synthetic.config(strategy, int(seed))
            write(runs / f"{strategy}{seed}", counts, values, old=seed == "1", val=val.get(seed, 0.5))
    shutil.copytree(runs / "l2sp0", runs / "l2sp0_again")
    cut = {runs / "finetune2" / "result.json": 40, runs / "finetune3" / "scores.csv": 100}
    for path, kept in cut.items():
        path.write_bytes(path.read_bytes()[:kept])
    result = json.loads((runs / "l2sp3" / "result.json").read_text())
    result["test"]["miou"] = float("nan")
    (runs / "l2sp3" / "result.json").write_text(json.dumps(result))
    with (compare("runs=runs") / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["strategy"]: row for row in csv.DictReader(file)}
    assert [(row["runs"], row["failed"]) for row in rows.values()] == [("2", "2"), ("4", "0")]
    assert all(0 < float(row["miou"]) < 1 for row in rows.values())
    output = capsys.readouterr().out.splitlines()
    assert [line.split(" (")[0] for line in output if line.startswith(("failed", "2 runs"))] == [
        "2 runs of l2sp have the seed 0 and the same settings; the newest is used: runs/l2sp0",
        "failed: finetune: runs/finetune2/result.json: cannot be read as JSON",
        "failed: finetune: runs/finetune3/scores.csv: is incomplete",
    ]  # fmt: skip


@pytest.mark.usefixtures("no_page")
@pytest.mark.parametrize("words", [["runs=x y=(1)"], ["runs=[x y=(1),other*]"], ["runs=x y=(1),other1"]])
def test_folders_and_keys_may_be_listed_as_they_are(words: list[str], elsewhere: Path) -> None:
    words = [words[0].replace("[x y=(1)", '["x y=(1)"'), "by=strategy,labels", "baseline=20"]
    study(elsewhere / "x y=(1)", {"finetune": 0.0}, labels=(5, 20), seeds=2)
    study(elsewhere / "other1", {"finetune": 0.0}, labels=(5, 20), seeds=2)
    assert "difference from 20 (95 % CI)" in (compare(*words) / "table.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_five_thousand_runs_fit_into_a_gibibyte(elsewhere: Path) -> None:
    values, synthetic_study = compose("train"), Study(50)
    for strategy in range(50):
        for labels in range(5, 105, 5):
            for seed, counts in synthetic_study.runs(5, 0.01 * strategy + 0.2 * np.log(labels)).items():
                own = {
                    **values,
                    "names": {**values["names"], "strategy": f"s{strategy}"},
                    "labels": labels,
                    "seed": int(seed),
                }
                own["strategy"] = {**values["strategy"], "backbone_lr": 0.01 * strategy}
                write(elsewhere / "runs" / f"s{strategy}_{labels}_{seed}", counts, own)
    code = "from segrun.cli import main\ntry: main(['compare', 'runs=runs'])\n"
    code += "finally: print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"  # kB, its own alone
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout.splitlines()[-1]) / 2**20
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{time.perf_counter() - begun:.1f} s, {cpu:.1f} s of CPU, {peak:.2f} GiB")
    assert peak < 1
    with next(Path("outputs").glob("compare/*/*/table.csv")).open(newline="", encoding="utf-8") as file:
        assert len([*csv.DictReader(file)]) == 1000
