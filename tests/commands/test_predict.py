"""`segrun predict` and `segrun.load`: files to masks, and one image from Python."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import segrun
from segrun.commands import predict
from segrun.commands.predict import PredictResult
from segrun.config.compose import compose
from segrun.data.sets.shapes import Shapes
from segrun.errors import RequestError
from segrun.inference import predict_jobs
from segrun.inference.predictor import Predictor
from tests.conftest import QUICK


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained")
    return segrun.train([*QUICK, "strategy=scratch", "trainer.epochs=1", f"output={output}"]).checkpoint


@pytest.fixture
def photos(elsewhere: Path) -> Path:
    """Pictures at awkward places, and two that are none."""
    base = elsewhere / "in (1) a=b" / "Übung 写真"
    (base / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, size in (("a.jpg", (40, 60)), ("b.png", (33, 47)), ("deep/a.png", (40, 60)), ("twin.png", (16, 16))):
        Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(base / name)
    Image.new("L", (20, 10)).save(base / "twin.jpg")
    (base / "broken.png").write_bytes((base / "b.png").read_bytes()[:200])
    (base / "notes.txt").write_text("no picture")
    return base.parent


def run(checkpoint: Path, source: Any, output: Any = "masks", *words: str) -> PredictResult:
    return predict.run(compose("predict", [f"checkpoint={checkpoint}", f"input={source}", f"output={output}", *words]))


def test_what_belongs_beside_a_picture_is_written_for_each(
    checkpoint: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Shapes, "sidecars", classmethod(lambda kind, path: {".note": path.name}))
    run(checkpoint, next(photos.rglob("deep")), "out", "overlay=true")
    assert [Path("out", *place, "a.png.note").read_text() for place in ((), ("overlay",))] == ["a.png", "a.png"]


def test_files_of_several_pictures_are_named_and_the_others_predicted(checkpoint: Path) -> None:
    Path("in").mkdir()
    pages = [Image.new("RGB", (40, 32), (value, 0, 0)) for value in (10, 200)]
    for name, kind in (("a.tif", "TIFF"), ("b.gif", "GIF"), ("c.webp", "WEBP"), ("d.png", "PNG")):
        pages[0].save(f"in/{name}", kind, save_all=True, append_images=pages[1:])
    pages[0].save("in/e.png")
    result = run(checkpoint, "in")
    assert (result.written, result.status, len(result.failed)) == (1, 1, 4)
    assert all("holds 2 pictures (pages or frames)" in problem for problem in result.failed)


def test_a_folder_becomes_masks_at_the_same_places(checkpoint: Path, photos: Path) -> None:
    result = run(checkpoint, photos, "out put", "overlay=true", "confidence=true", "batch_size=2")
    out = Path("out put")
    assert (result.written, result.status, len(result.failed)) == (5, 1, 1)
    assert "broken.png" in result.failed[0]
    masks = {p.relative_to(out).as_posix() for p in out.rglob("*.png") if p.parts[1] not in ("overlay", "confidence")}
    base = "Übung 写真"
    assert masks == {f"{base}/{n}" for n in ("a.png", "b.png", "deep/a.png", "twin.png.png", "twin.jpg.png")}
    with Image.open(out / base / "a.png") as mask, Image.open(photos / base / "a.jpg") as photo:
        assert mask.mode == "P" and mask.size == photo.size
        assert mask.getpalette()[:6] == [0, 0, 0, 128, 0, 0]  # type: ignore[index]
    with Image.open(out / "confidence" / base / "a.png") as sure:
        assert sure.mode == "L" and np.asarray(sure).min() >= 255 // 6
    assert (out / "overlay" / base / "deep" / "a.png").is_file()
    with (out / "summary.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    for row in rows:
        assert sum(float(row[name]) for name in list(row)[1:]) == pytest.approx(1, abs=1e-5)


def test_a_second_run_goes_on_and_never_overwrites(checkpoint: Path, photos: Path) -> None:
    run(checkpoint, photos)
    mask = Path("masks/Übung 写真/a.png")
    mask.write_bytes(b"mine")
    Path("masks/Übung 写真/b.png").unlink()
    result = run(checkpoint, photos)
    assert (result.written, result.kept, result.status) == (1, 4, 1)
    assert result.failed[1].startswith(f"{mask}: is not a mask (it is none of")
    assert mask.read_bytes() == b"mine"
    assert Path("masks/Übung 写真/b.png").is_file()
    assert run(checkpoint, photos, "masks", "overwrite=true").written == 5
    assert mask.read_bytes() != b"mine"


def test_files_of_other_origin_are_never_replaced(checkpoint: Path, elsewhere: Path) -> None:
    (elsewhere / "in").mkdir()
    (elsewhere / "mine").mkdir()
    Image.new("RGB", (32, 32)).save("in/photo.jpg")
    Path("mine/photo.png").write_bytes(b"a drawing of my own")
    with pytest.raises(RequestError, match="not written by segrun"):
        run(checkpoint, "in", "mine", "overlay=true")
    assert Path("mine/photo.png").read_bytes() == b"a drawing of my own"
    Image.new("RGB", (32, 32)).save("in/twin.png")
    with pytest.raises(RequestError, match="is one of the images"):
        run(checkpoint, "in/twin.png", "in")
    assert run(checkpoint, "in", ".").written == 2
    assert run(checkpoint, "in", ".", "overlay=true").written == 2  # adds what is missing


def picture(path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32)).save(path, format="PNG")


@pytest.mark.parametrize(
    ("names", "words", "message"),
    [
        (
            ["x.png", "overlay/x.png"],
            ["overlay=true"],
            "in/overlay/x.png and in/x.png: masks/overlay/x.png would be written for both. Rename one of the images, "
            "or predict them into two folders.",
        ),
        (
            ["a.jpg", "a.png", "a.jpg.png"],
            [],
            "in/a.jpg and in/a.jpg.png: masks/a.jpg.png would be written for both. Rename one of the images, or "
            "predict them into two folders.",
        ),
        (
            ["a.jpg", "a.png/b.jpg"],
            [],
            "in/a.jpg: masks/a.png would be its mask and the folder of others. Rename the image.",
        ),
    ],
)
def test_two_outputs_with_one_name_are_refused_before_anything_is_written(
    checkpoint: Path, names: list[str], words: list[str], message: str
) -> None:
    for name in names:
        picture(f"in/{name}")
    with pytest.raises(RequestError) as refused:
        run(checkpoint, "in", "masks", *words)
    assert str(refused.value) == message and not Path("masks").exists()


def test_nothing_is_written_through_a_link(checkpoint: Path, elsewhere: Path) -> None:
    picture("in/sub/x.png")
    Path("elsewhere").mkdir()
    Path("masks").symlink_to("elsewhere")
    with pytest.raises(RequestError, match=r"^masks: is a link to elsewhere, and results are not written through it"):
        run(checkpoint, "in", "masks", "overwrite=true")
    Path("out").mkdir()
    Path("out/sub").symlink_to(elsewhere / "elsewhere")
    with pytest.raises(RequestError, match=f"^out/sub: is a link to {elsewhere}/elsewhere, and"):
        run(checkpoint, "in", "out")
    assert not list(Path("elsewhere").iterdir())
    assert run(checkpoint, "in", "masks/below").written == 1  # folders above may be links
    assert Path("elsewhere/below/sub/x.png").is_file()


def test_a_link_in_the_place_of_a_mask_is_refused_or_replaced_but_not_followed(checkpoint: Path) -> None:
    picture("in/x.png")
    Path("mine").write_text("mine")
    Path("masks").mkdir()
    Path("masks/x.png").symlink_to("../mine")
    with pytest.raises(
        RequestError, match=r"^masks/x\.png: is a link to \.\./mine, not a mask\. Remove it, or replace"
    ):
        run(checkpoint, "in")
    assert run(checkpoint, "in", "masks", "overwrite=true").written == 1
    assert Path("mine").read_text() == "mine" and not Path("masks/x.png").is_symlink()


def test_long_names_are_shortened_and_deep_folders_flattened(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict_jobs, "PATH_BYTES", 250)
    long, deep = "ü" * 123 + ".png", "/".join(["d" * 90] * 3)
    picture(f"in/{long}")
    picture(f"in/{deep}/x.png")
    assert run(checkpoint, "in", "masks", "confidence=true").status == 0
    names = sorted(path.name for path in Path("masks").glob("*.png"))
    assert names == ["__".join(["d" * 90, "d" * 90, "d" * 31]) + "-1c71c3034b.png", "ü" * 107 + "-df7240b3b4.png"]
    assert f"2 names are too long for this system and were shortened: masks/{names[0]} and 1 more" in (
        capsys.readouterr().out
    )
    assert run(checkpoint, "in", "masks", "confidence=true").kept == 2
    with Path("masks/summary.csv").open(encoding="utf-8") as file:
        assert [row["image"] for row in csv.DictReader(file)] == [f"in/{deep}/x.png", f"in/{long}"]


def test_one_files_failure_does_not_stop_the_others(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c", "d"):
        picture(f"in/{name}.png")
    Path("masks/c.png").mkdir(parents=True)
    read = Predictor.__init__

    def init(self: Any, *args: Any, **options: Any) -> None:
        read(self, *args, **options)
        original = self.read
        self.read = lambda path: 1 / 0 if path.name == "a.png" else original(path)

    monkeypatch.setattr(Predictor, "__init__", init)
    result = run(checkpoint, "in", "masks", "overwrite=true", "batch_size=4")
    assert (result.written, result.status, len(result.failed)) == (2, 1, 2)
    printed = capsys.readouterr().out
    assert "failed: in/a.png: ZeroDivisionError: division by zero\n" in printed
    assert "failed: in/c.png: " in printed and "masks/c.png" in printed
    assert not list(Path("masks").glob(".*.part"))


@pytest.mark.parametrize("content", [b"[" * 50_000, b"\xff", b"{}", b'{"model": 1}'])
def test_a_damaged_claim_is_one_line(checkpoint: Path, content: bytes) -> None:
    picture("in/x.png")
    run(checkpoint, "in")
    Path("masks/predict.json").write_bytes(content)
    with pytest.raises(RequestError, match=r"^masks/predict\.json: .* or write them again: overwrite=true\.$"):
        run(checkpoint, "in")


def test_formulas_and_control_characters_in_names_stay_text(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("=1+1.png", "\x1b[2J.png"):
        picture(f"in/{name}")
    os.chdir("in")
    Path("-\x07.png").write_bytes(b"")
    assert run(checkpoint, "*.png", "../masks").written == 2
    assert r"failed: -\u0007.png: " in capsys.readouterr().out
    lines = Path("../masks/summary.csv").read_bytes().decode().split("\r\n")
    assert lines[1].startswith("\x1b[2J.png,") and lines[2].startswith("'=1+1.png,")


def test_masks_of_two_models_are_not_mixed(checkpoint: Path, photos: Path, elsewhere: Path) -> None:
    run(checkpoint, photos)
    content = torch.load(checkpoint, weights_only=True)
    content["weights"]["heads.mask.output.bias"] += 1
    torch.save(content, elsewhere / "other.ckpt")
    with pytest.raises(RequestError, match="another checkpoint"):
        run(elsewhere / "other.ckpt", photos)


def test_a_file_a_glob_and_the_python_door_agree(checkpoint: Path, photos: Path) -> None:
    photo = photos / "Übung 写真" / "a.jpg"
    run(checkpoint, photo, "one")
    run(checkpoint, f"{photos}/**/a.*", "many", "batch_size=1")
    with Image.open("one/a.png") as one, Image.open("many/Übung 写真/a.png") as many, Image.open(photo) as image:
        load = segrun.load(checkpoint, device="cpu")
        labels = load(image)
        assert labels.dtype == np.uint8 and labels.shape == (40, 60)
        assert np.array_equal(np.asarray(one), labels) and np.array_equal(np.asarray(many), labels)
        array = np.asarray(image)
        assert np.array_equal(load(array), labels)
        assert np.array_equal(load(array.astype(np.float32) / 255), labels)
    assert load.classes.names[1] == "stripes"
    assert np.allclose(load.probabilities(array).sum(0), 1, atol=1e-5)
    for wrong in (np.zeros((4, 4, 2), np.uint8), np.full((4, 4), 7.0), np.zeros((0, 4), np.uint8)):
        with pytest.raises(RequestError):
            load(wrong)


def test_exif_rotation_and_sixteen_bits_are_followed(checkpoint: Path, elsewhere: Path) -> None:
    (elsewhere / "p").mkdir()
    rng = np.random.default_rng(1)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rng.integers(0, 255, (20, 50, 3), dtype=np.uint8)).save("p/turned.jpg", exif=exif)
    Image.fromarray(rng.integers(0, 65535, (30, 40)).astype(np.uint16)).save("p/deep.png")
    assert run(checkpoint, "p").status == 0
    with Image.open("masks/turned.png") as mask:
        assert mask.size == (20, 50)


def test_large_images_go_through_windows(checkpoint: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (150, 90, 3), dtype=np.uint8)
    Image.fromarray(image).save("large.png")
    run(checkpoint, "large.png", "whole")
    run(checkpoint, "large.png", "tiled", "tile=64", "overlap=0.5")
    with Image.open("whole/large.png") as whole, Image.open("tiled/large.png") as tiled:
        assert tiled.size == whole.size == (90, 150)
        assert (np.asarray(whole) == np.asarray(tiled)).mean() > 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: {"weights": 1}, "no segrun checkpoint"),
        (lambda c: {**c, "segrun": 99}, "newer segrun"),
        (lambda c: {**c, "config": {**c["config"], "head": {"_target_": "os.system"}}}, "not part of segrun"),
        (lambda c: {**c, "config": {**c["config"], "head": {"_target_": "segrun.cli.os.system"}}}, "there is no"),
        (lambda c: {**c, "config": {**c["config"], "head": {"_target_": "segrun.cli.Path"}}}, "not a class"),
        (lambda c: {**c, "classes": {"names": ["a", "b"], "palette": [[0, 0, 0], [1, 1, 1]]}}, "do not fit"),
    ],
)
def test_a_strange_checkpoint_is_refused(
    checkpoint: Path, photos: Path, change: Callable[[dict[str, Any]], dict[str, Any]], message: str
) -> None:
    torch.save(change(torch.load(checkpoint, weights_only=True)), "strange.ckpt")
    with pytest.raises(RequestError, match=message):
        run(Path("strange.ckpt"), photos)


def test_no_checkpoint_truncated_and_pickled_code_are_refused(checkpoint: Path, photos: Path) -> None:
    Path("cut.ckpt").write_bytes(checkpoint.read_bytes()[:-5000])
    Path("text.ckpt").write_text("hello")
    torch.save({"segrun": 1, "weights": subprocess.Popen}, "code.ckpt")
    for name in ("cut.ckpt", "text.ckpt", "code.ckpt"):
        with pytest.raises(RequestError, match=rf"{name}: (cannot be read|is damaged)"):
            run(Path(name), photos)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("overwrite=maybe", "^overwrite=maybe: must be true or false"),
        ("batch_size=0", "^batch_size=0: must be a whole number of at least 1"),
        ("precision=bf8", "^precision=bf8: must be one of auto, fp32, bf16, fp16"),
        ("device=tpu", "^device=tpu: must be one of auto, cpu, cuda"),
    ],
)
def test_an_option_of_the_wrong_kind_is_told(checkpoint: Path, photos: Path, word: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        run(checkpoint, photos, "masks", word)


def test_wrong_places_are_told(checkpoint: Path, photos: Path) -> None:
    with pytest.raises(RequestError, match="no image there"):
        run(checkpoint, "nowhere")
    with pytest.raises(RequestError, match="is the input folder"):
        run(checkpoint, photos, photos)
    with pytest.raises(RequestError, match="cannot be written"):
        run(checkpoint, photos, "/proc/nowhere")


@pytest.mark.slow
def test_an_interruption_keeps_what_is_done(checkpoint: Path, elsewhere: Path) -> None:
    (elsewhere / "many").mkdir()
    Image.new("RGB", (64, 64)).save("many/0.png")
    for index in range(1, 3000):
        shutil.copy("many/0.png", f"many/{index}.png")
    words = ["predict", f"checkpoint={checkpoint}", "input=many", "output=masks", "batch_size=1"]
    process = subprocess.Popen([sys.executable, "-m", "segrun", *words], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list(elsewhere.glob("masks/*.png")):
        pass
    os.kill(process.pid, signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130 and "The same command continues" in printed
    done = list(elsewhere.glob("masks/*.png"))
    assert 0 < len(done) < 3000 and not list(elsewhere.glob("masks/.*.part"))
    for path in done:
        with Image.open(path) as mask:
            mask.load()


def test_an_array_without_alpha_is_as_opaque_as_a_file(folder_data: Callable[..., Path]) -> None:
    root = folder_data(10)
    words = [w for w in QUICK if not w.startswith("dataset.")]
    data = ["dataset=folder", f"dataset.root={root}", "dataset.classes=[background,square]", "dataset.channels=4"]
    predict = segrun.load(segrun.train([*words, *data, "strategy=scratch", "trainer.epochs=1"]).checkpoint)
    grey = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)
    assert np.array_equal(predict.probabilities(grey), predict.probabilities(Image.fromarray(grey)))
