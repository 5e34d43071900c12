"""`segrun check`: a hundred ways to spoil a data set, each found and named."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segrun import cli
from segrun.commands import check
from segrun.commands.check import CheckResult
from segrun.config.compose import compose
from segrun.data.dataset import Dataset
from segrun.data.loader.batch_sampler import EndlessBatchSampler
from segrun.data.scan import scan
from segrun.data.scan.record import ImageRecord
from segrun.errors import RequestError
from tests.data.scan.test_checks import drawn

REAL = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGRUN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pairs, split by folders."""
    root = tmp_path_factory.mktemp("clean")
    for split, count in (("train", 12), ("val", 8)):
        for what in ("images", "masks"):
            (root / split / what).mkdir(parents=True)
        for index in range(count):
            image, mask = drawn(1000 * count + index)
            Image.fromarray(image.transpose(1, 2, 0)).save(root / split / "images" / f"p{index:02}.png")
            Image.fromarray(mask).save(root / split / "masks" / f"p{index:02}.png")
    return root


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    words = ["dataset=folder", "dataset.root=.", "dataset.classes=[ground,one,two]", "dataset.masks=index", "samples=0"]
    return compose("check", words)


def checked(config: dict[str, Any], root: Path, samples: int = 0) -> CheckResult:
    return check.run({**config, "dataset": {**config["dataset"], "root": str(root)}, "samples": samples})


def truncated(root: Path, rng: np.random.Generator, what: str) -> tuple[str, set[str], str]:
    path = root / "train" / what / f"p{rng.integers(12):02}.png"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * rng.uniform(0.1, 0.7))])
    return "unreadable", {f"train/{path.stem}"}, f"{path.name}: cannot be read"


def off_size(root: Path, rng: np.random.Generator) -> tuple[str, set[str], str]:
    path = root / "val" / "masks" / f"p{rng.integers(8):02}.png"
    Image.fromarray(np.zeros((int(rng.integers(1, 96)), 112), np.uint8)).save(path)
    return "size", {f"val/{path.stem}"}, "the image is 112×96, its mask 112×"


def off_value(root: Path, rng: np.random.Generator) -> tuple[str, set[str], str]:
    path = root / "train" / "masks" / f"p{rng.integers(12):02}.png"
    mask, value = np.array(Image.open(path)), rng.integers(3, 255)
    mask[rng.integers(96), rng.integers(112)] = value
    Image.fromarray(mask).save(path)
    return "value", {f"train/{path.stem}"}, f"{path.name}: values outside the 3 classes: {value} (1 pixels)"


def masks_swapped(root: Path, rng: np.random.Generator) -> tuple[str, set[str], str]:
    one, other = (root / "train" / "masks" / f"p{index:02}.png" for index in rng.choice(12, 2, replace=False))
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    return "mismatched", {f"train/{one.stem}", f"train/{other.stem}"}, "do not lie on the image's"


def swapped(root: Path, rng: np.random.Generator) -> tuple[str, set[str], str]:
    name = f"p{rng.integers(12):02}.png"
    image, mask = root / "train" / "images" / name, root / "train" / "masks" / name
    kept = image.read_bytes()
    image.write_bytes(mask.read_bytes())
    mask.write_bytes(kept)
    return "swapped", {f"train/{image.stem}"}, "Were the two files swapped?"


def renamed(root: Path, rng: np.random.Generator) -> tuple[str, set[str], str]:
    path = root / "val" / ("images", "masks")[rng.integers(2)] / f"p{rng.integers(8):02}.png"
    path.rename(path.with_name(f"{path.stem}_copy.png"))
    return "pairs", set(), f"{path.stem}_copy"


def duplicated(root: Path, rng: np.random.Generator) -> tuple[str, set[str], str]:
    one, other = f"p{rng.integers(12):02}", f"p{rng.integers(8):02}"
    for what in ("images", "masks"):
        shutil.copy(root / "train" / what / f"{one}.png", root / "val" / what / f"{other}.png")
    return "copies_between", {f"train/{one}", f"val/{other}"}, f"train/{one} = val/{other}"


def compressed(root: Path, rng: np.random.Generator) -> tuple[str, set[str], str]:
    path = root / "train" / "masks" / f"p{rng.integers(12):02}.png"
    Image.open(path).save(path.with_suffix(".jpg"), quality=int(rng.integers(60, 101)))
    path.unlink()
    return "jpeg_masks", {f"train/{path.stem}"}, "JPEG-compressed"


def reencoded(root: Path, rng: np.random.Generator) -> tuple[str, set[str], str]:
    one, other = f"p{rng.integers(12):02}", f"p{rng.integers(8):02}"
    image = Image.open(root / "train" / "images" / f"{one}.png").resize((224, 192), Image.Resampling.BICUBIC)
    (root / "val" / "images" / f"{other}.png").unlink()
    image.save(root / "val" / "images" / f"{other}.jpg", quality=int(rng.integers(60, 96)))
    mask = Image.open(root / "train" / "masks" / f"{one}.png").resize((224, 192), Image.Resampling.NEAREST)
    mask.save(root / "val" / "masks" / f"{other}.png")
    return "near_between", {f"train/{one}", f"val/{other}"}, f"train/{one} ~ val/{other}"


KINDS: dict[str, Callable[[Path, np.random.Generator], tuple[str, set[str], str]]] = {
    "image truncated": lambda root, rng: truncated(root, rng, "images"),
    "mask truncated": lambda root, rng: truncated(root, rng, "masks"),
    **{
        f.__name__: f for f in (off_size, off_value, masks_swapped, swapped, renamed, duplicated, compressed, reencoded)
    },
}

# of the random numbers; with others, a mask may lie on the edges of another image by chance
STREAMS = {"masks_swapped": 7, "swapped": 9}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", KINDS)
def test_each_of_a_hundred_mutations_is_found_and_named(
    kind: str, seed: int, clean: Path, config: dict[str, Any], tmp_path: Path
) -> None:
    root = shutil.copytree(clean, tmp_path / "data")
    rule, names, text = KINDS[kind](root, np.random.default_rng((STREAMS.get(kind, len(kind)), seed)))
    result = checked(config, root)
    findings = {finding.rule: finding for finding in result.findings}
    assert set(findings[rule].names) == names and text in "\n".join(f.text for f in result.findings if f.rule == rule)
    assert result.status == int("error" in {finding.severity for finding in result.findings})
    assert result.status == (kind not in ("masks_swapped", "reencoded")) or kind == "compressed"
    innocent = {name for finding in result.findings for name in finding.names} - names
    assert not innocent


def test_a_clean_data_set_ends_well(clean: Path, config: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    result = checked(config, clean)
    assert (result.status, result.findings) == (0, ())
    shown = capsys.readouterr().out
    assert "classes (12 train, 8 val)" in shown and "20 images; errors: 0, warnings: 0." in shown
    assert shown.rstrip().endswith(str(result.folder / "index.html"))


def test_a_second_run_reads_nothing(clean: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    first = checked(config, clean)
    monkeypatch.setattr(scan, "inspect_sample", None)
    assert checked(config, clean).findings == first.findings


def test_the_page_holds_everything_and_escapes_names(clean: Path, config: dict[str, Any], tmp_path: Path) -> None:
    root = shutil.copytree(clean, tmp_path / "data")
    for what in ("images", "masks"):
        (root / "train" / what / "p03.png").rename(root / "train" / what / "<script>&.png")
        shutil.copy(root / "train" / what / "p04.png", root / "val" / what / "p05.png")
    truncated(root, np.random.default_rng(0), "images")
    result = checked(config, root, samples=12)
    page = (result.folder / "index.html").read_text(encoding="utf-8")
    assert '<html lang="en">' in page and "<script" not in page and "&lt;script&gt;&amp;" in page
    assert page.count("data:image/png;base64,") > 20 and "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    written = json.loads((result.folder / "findings.json").read_text(encoding="utf-8"))
    assert [finding["rule"] for finding in written["findings"]] == [finding.rule for finding in result.findings]
    assert len(written["problems"]) == 1 and sorted(p.name for p in result.folder.iterdir()) == [
        "findings.json",
        "index.html",
    ]


def test_a_drawn_split_is_checked_as_a_training_would_draw_it(
    clean: Path, config: dict[str, Any], tmp_path: Path
) -> None:
    for what in ("images", "masks"):
        shutil.copytree(clean / "train" / what, tmp_path / "flat" / what)
    (tmp_path / "flat" / "images" / "p00.png").write_bytes(b"")
    result = checked(config, tmp_path / "flat", samples=1)
    assert [finding.rule for finding in result.findings if finding.severity == "error"] == ["unreadable"]
    shown = re.search(
        r"classes \((\d+) train, (\d+) val, (\d+) test\)", (result.folder / "index.html").read_text("utf-8")
    )
    assert shown and sum(map(int, shown.groups())) == 11


def test_a_data_set_of_which_nothing_can_be_read_is_told(clean: Path, config: dict[str, Any], tmp_path: Path) -> None:
    root = shutil.copytree(clean, tmp_path / "data")
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    (finding,) = checked(config, root).findings
    assert finding.rule == "unreadable" and len(finding.names) == 20 and "… and 17 more." in finding.text


def test_a_split_of_which_nothing_can_be_read_is_told(clean: Path, config: dict[str, Any], tmp_path: Path) -> None:
    root = shutil.copytree(clean, tmp_path / "data")
    shutil.copytree(root / "val", root / "test")
    for path in root.glob("test/*/*.png"):
        path.write_bytes(b"")
    result = checked(config, root, samples=2)
    assert [(finding.rule, len(finding.names)) for finding in result.findings] == [("unreadable", 8)]


def test_images_too_few_for_a_split_are_a_finding(clean: Path, config: dict[str, Any], tmp_path: Path) -> None:
    for what in ("images", "masks"):
        (tmp_path / "two" / what).mkdir(parents=True)
        for name in ("p00.png", "p01.png"):
            shutil.copy(clean / "train" / what / name, tmp_path / "two" / what / name)
    result = checked(config, tmp_path / "two")
    assert result.status == 1 and "split" in {finding.rule for finding in result.findings}


def test_a_wrong_request_is_no_finding(config: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="there is no such folder"):
        checked(config, Path("nowhere"))
    with pytest.raises(RequestError, match="samples=-1"):
        checked(config, Path(), samples=-1)


@pytest.mark.parametrize(("damage", "status"), [(False, 0), (True, 1)])
def test_the_exit_status_says_whether_there_are_errors(
    damage: bool, status: int, clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(clean, tmp_path / "my data")
    if damage:
        off_value(root, np.random.default_rng(0))
    words = ["dataset=folder", f"dataset.root={root}", "dataset.classes=[ground,one,two]", "dataset.masks=index"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["check", *words, "samples=1"])
    assert ended.value.code == status
    assert "my-data" in capsys.readouterr().out


def test_an_interrupted_check_ends_with_130(
    clean: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(data: Dataset, name: str) -> ImageRecord:
        raise KeyboardInterrupt

    monkeypatch.setattr(scan, "inspect_sample", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main(["check", "dataset=folder", f"dataset.root={clean}", "dataset.classes=[ground,one,two]"])
    assert ended.value.code == 130 and "Interrupted" in capsys.readouterr().err


def test_the_default_data_set_is_clean() -> None:
    assert (
        check.run(compose("check", ["dataset.size=64", "dataset.train=16", "dataset.val=4", "dataset.test=4"])).status
        == 0
    )


@pytest.mark.skipif(not (REAL / "nuclei").is_dir(), reason="the nuclei are not here")
def test_real_images_of_two_kinds_and_sizes_are_told(tmp_path: Path) -> None:
    for what in ("images", "masks"):
        (tmp_path / "nuclei" / what).mkdir(parents=True)
    for image in sorted((REAL / "nuclei" / "images").iterdir())[:24]:
        (tmp_path / "nuclei" / "images" / image.name).symlink_to(image)
        (tmp_path / "nuclei" / "masks" / f"{image.stem}.png").symlink_to(
            REAL / "nuclei" / "masks" / f"{image.stem}.png"
        )
    words = ["dataset=folder", f"dataset.root={tmp_path / 'nuclei'}", "dataset.classes=[background,nucleus]"]
    result = check.run(compose("check", words))
    assert {finding.rule for finding in result.findings} == {"modes", "sizes"}


def test_the_preview_shows_the_first_samples_of_a_training(clean: Path, config: dict[str, Any]) -> None:
    html = (checked({**config, "preview": 5, "seed": 3}, clean).folder / "index.html").read_text()
    shown = re.findall("<figcaption>(.*?)</figcaption>", html.partition("what the network sees of train")[2])
    names = [f"train/p{index:02}" for index in range(12)]
    assert shown == [names[index] for _, index in next(iter(EndlessBatchSampler(12, 5, 3)))]
