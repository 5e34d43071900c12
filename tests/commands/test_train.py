"""`segrun train` through its public doors: the run folder, resuming, what is refused."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import segrun
from segrun import cli
from segrun.data.sets.shapes import Shapes
from segrun.engine import loop
from segrun.errors import DataError, Interrupted, RequestError, SegrunError
from tests.conftest import QUICK, stopped_after

SCRATCH = [*QUICK, "strategy=scratch"]


def command(*words: str) -> int:
    """The exit status of a command line, run in this process."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(words))
    return int(ended.value.code or 0)


def state(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "last.ckpt", weights_only=True)  # type: ignore[no-any-return]


def same(one: Any, other: Any, at: str = "") -> None:
    """Bit for bit, except what only tells the time."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), at
        for key in one:
            if key not in ("seconds", "total_seconds", "config"):
                same(one[key], other[key], f"{at}.{key}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), at
    else:
        assert one == other, at


def test_a_run_leaves_what_the_design_says() -> None:
    result = segrun.train(SCRATCH)
    names = {path.name for path in result.folder.iterdir()}
    assert names >= {
        "config.yaml", "environment.json", "plan.txt", "metrics.jsonl", "result.json", "scores.csv", "split.json",
        "samples", "best.ckpt", "last.ckpt", "plots",
    }  # fmt: skip
    kept = json.loads((result.folder / "result.json").read_text())
    assert kept["cost"]["parameters_trained"] == kept["cost"]["parameters_total"] > 2e6
    assert kept["test"]["miou"] == result.test["miou"]  # type: ignore[index]
    rows = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert not list(result.folder.rglob("*.part"))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    one, again, other = (segrun.train([*SCRATCH, f"seed={seed}"]).folder for seed in (1, 1, 2))
    same(state(one), state(again))
    assert any(
        not torch.equal(a, b)
        for a, b in zip(state(one)["weights"].values(), state(other)["weights"].values(), strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_an_interrupted_run_goes_on_bit_for_bit(stop_after: int, workers: int, elsewhere: Path) -> None:
    wanted = [*SCRATCH, "freeze=none", "trainer.ema=0.9", "trainer.accumulate=1", f"trainer.workers={workers}"]
    whole = segrun.train([*wanted, "output=whole"]).folder
    step, done = loop.train_step, []

    def interrupted(*args: Any, **more: Any) -> Any:
        done.append(1)
        if len(done) == stop_after:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*args, **{**more, "stopping": len(done) == stop_after})

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted, match="segrun train resume="):
        patch.setattr(loop, "train_step", interrupted)
        segrun.train([*wanted, "output=parts"])
    folder = next((elsewhere / "parts" / "train").glob("*/*"))
    assert not (folder / "result.json").exists()
    segrun.train([f"resume={folder}", "trainer.workers=0"])
    same(state(whole), state(folder))
    for name in ("scores.csv",):
        assert (whole / name).read_bytes() == (folder / name).read_bytes()
    losses = [
        [json.loads(row)["loss"] for row in (f / "metrics.jsonl").read_text().splitlines()] for f in (whole, folder)
    ]
    assert losses[0] == losses[1]


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [2, 7])
def test_a_run_stopped_between_unfreezings_unfreezes_what_is_left(
    stop_after: int, elsewhere: Path, pretrained: Path
) -> None:
    wanted = [*QUICK, f"backbone.weights={pretrained}", "freeze=gradual", "trainer.epochs=6", "trainer.steps=12"]
    whole = segrun.train([*wanted, "output=whole"]).folder
    with stopped_after(stop_after), pytest.raises(Interrupted):
        segrun.train([*wanted, "output=parts"])
    folder = next((elsewhere / "parts" / "train").glob("*/*"))
    segrun.train([f"resume={folder}"])
    same(state(whole), state(folder))


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_reaches_the_workers_and_still_saves(elsewhere: Path) -> None:
    words = [*SCRATCH, "trainer.epochs=200", "trainer.workers=2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "segrun", "train", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch"):
            break
    os.killpg(process.pid, signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert "segrun train resume=" in printed
    assert next(elsewhere.glob("outputs/train/*/*/last.ckpt")).is_file()


def test_a_signal_while_val_is_scored_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = loop.update_best

    def interrupted(*args: Any, **more: Any) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        return judge(*args, **more)

    monkeypatch.setattr(loop, "update_best", interrupted)
    with pytest.raises(Interrupted, match="after epoch 1 of 2"):
        segrun.train(SCRATCH)


def test_two_runs_of_one_second_have_their_own_folders(elsewhere: Path) -> None:
    from segrun.files import create_dir

    made = [create_dir(elsewhere / "runs" / "now") for _ in range(3)]
    assert [path.name for path in made] == ["now", "now_2", "now_3"]


def test_sigterm_saves_and_exits_130(elsewhere: Path) -> None:
    words = [*SCRATCH, "trainer.epochs=200"]
    process = subprocess.Popen(
        [sys.executable, "-m", "segrun", "train", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch"):
            break
    process.send_signal(signal.SIGTERM)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "segrun train resume=" in printed and "Traceback" not in printed
    assert next(elsewhere.glob("outputs/train/*/*/last.ckpt")).is_file()


@pytest.mark.slow
def test_resume_refuses_what_would_change_the_result() -> None:
    folder = segrun.train(SCRATCH).folder
    (folder / "result.json").unlink()
    with pytest.raises(RequestError, match=r"optimizer\.lr cannot be changed"):
        segrun.train([f"resume={folder}", "optimizer.lr=1"])
    (folder / "result.json").write_text("{}")
    with pytest.raises(RequestError, match="this run has ended"):
        segrun.train([f"resume={folder}"])
    with pytest.raises(RequestError, match="no such checkpoint"):
        segrun.train(["resume=nowhere"])


def test_metrics_are_cut_back_to_the_checkpoint(elsewhere: Path) -> None:
    from segrun.report.metrics_file import MetricsFile

    path = elsewhere / "metrics.jsonl"
    rows = [f'{{"epoch": {epoch}, "step": 4, "loss": 0.1}}' for epoch in (1, 2, 3)]
    path.write_text("".join(f"{row}\n" for row in rows))
    assert MetricsFile(path, epochs_done=1).lines == rows[:1]
    path.write_text(f"{rows[0]}\n{rows[1][:-1]}\n")
    with pytest.raises(DataError, match=r"metrics\.jsonl:2: cannot be read as JSON .* Correct the line, or delete"):
        MetricsFile(path, epochs_done=1)


def test_a_loss_that_is_no_number_names_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    from segrun.tasks.losses.cross_entropy import CrossEntropy

    monkeypatch.setattr(CrossEntropy, "forward", lambda self, logits, target: logits.sum()[None] * float("nan"))
    with pytest.raises(SegrunError, match=r"loss is nan.*train-00\d, train-00\d"):
        segrun.train(SCRATCH)


@pytest.mark.slow
def test_what_was_frozen_is_audited(monkeypatch: pytest.MonkeyPatch, pretrained: Path) -> None:
    quick = [*QUICK, f"backbone.weights={pretrained}", "strategy=feature_extraction"]
    folder = segrun.train(quick).folder
    before, after = torch.load(pretrained, weights_only=True), state(folder)["weights"]
    backbone = {name: value for name, value in after.items() if name.startswith("backbone.")}
    assert backbone and all(
        torch.equal(value, before[name.removeprefix("backbone.body.")]) for name, value in backbone.items()
    )
    assert not any(name.startswith("backbone.") for name in state(folder)["training"]["optimizer"])
    monkeypatch.setattr(
        "segrun.engine.loop.set_modes", lambda model, parts, phase: model.train()
    )  # the classic mistake
    with pytest.raises(SegrunError, match=r"freeze audit failed.*running_mean"):
        segrun.train(quick)


@pytest.mark.slow
def test_gradual_unfreezing_learns_from_the_top(pretrained: Path) -> None:
    words = [*QUICK, f"backbone.weights={pretrained}", "freeze=gradual", "trainer.epochs=6", "trainer.steps=6"]
    folder = segrun.train(words).folder
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [len(row["lr"]) for row in rows] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_fewer_images_than_a_batch_and_a_fixed_number_of_steps() -> None:
    result = segrun.train([*SCRATCH, "labels=1", "trainer.batch_size=4", "trainer.steps=3", "trainer.epochs=2"])
    assert json.loads((result.folder / "result.json").read_text())["cost"]["steps"] == 3
    assert len(json.loads((result.folder / "split.json").read_text())["train"]) == 1


def test_batch_norm_with_one_value_is_explained() -> None:
    with pytest.raises(RequestError, match=r"trainer\.batch_size=1"):
        segrun.train([*SCRATCH, "head=deeplabv3plus", "trainer.batch_size=1"])


@pytest.mark.slow
def test_accumulation_gives_the_loss_of_all_its_pixels() -> None:
    words = [
        *SCRATCH,
        "backbone=vgg16_bn",
        "head=fcn",
        "head.channels=8",
        "head.dropout=0",
        "augment=none",
        "trainer.steps=1",
        "trainer.epochs=1",
    ]
    losses = []
    for batch, accumulate in ((4, 1), (2, 2)):
        folder = segrun.train([*words, f"trainer.batch_size={batch}", f"trainer.accumulate={accumulate}"]).folder
        losses.append(json.loads((folder / "metrics.jsonl").read_text())["loss"])
    # only batch norm sees the parts
    assert losses[0] == pytest.approx(losses[1], abs=0.05)


@pytest.mark.slow
def test_early_stopping_ends_the_last_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segrun.engine.selection.monitored_score", lambda evaluation, monitor: 0.5)
    folder = segrun.train([*SCRATCH, "trainer.epochs=9", "trainer.patience=2"]).folder
    assert json.loads((folder / "result.json").read_text())["epochs"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["dice", "focal", "lovasz", "tversky", "cross_entropy_dice"])
def test_every_loss_trains_with_class_weights(loss: str) -> None:
    result = segrun.train([*SCRATCH, f"loss={loss}", "loss.class_weights=median", "trainer.epochs=1"])
    assert result.val["miou"] is not None


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("schedule", ["cosine", "onecycle"])
def test_optimizers_and_schedules_train(optimizer: str, schedule: str) -> None:
    words = [word for word in SCRATCH if not word.startswith("schedule.")]
    assert (
        segrun.train([*words, f"optimizer={optimizer}", f"schedule={schedule}", "trainer.clip=1"]).val["miou"]
        is not None
    )


@pytest.mark.slow
def test_a_folder_of_mixed_sizes_needs_a_policy(folder_data: Callable[..., Path]) -> None:
    root = folder_data(6)
    folder_data(6, size=(40, 80), root="more")
    for kind in ("images", "masks"):
        for path in (root.parent / "more" / kind).iterdir():
            path.rename(root / kind / f"wide{path.name}")
    words = [
        *(w for w in SCRATCH if not w.startswith("dataset.")),
        "dataset=folder",
        f"dataset.root={root}",
        "dataset.classes=[background,square]",
    ]
    with pytest.raises(RequestError, match=r"2 sizes.*sizing.fit"):
        segrun.train(words)
    for fit, size in (("resize", "[32,48]"), ("pad", "[64,96]"), ("crop", "[32,32]")):
        result = segrun.train([*words, f"sizing={fit}", f"sizing.size={size}"])
        predict = segrun.load(result.checkpoint, device="cpu")
        assert predict.inference.sizing.fit == fit
        counted = sum(sum(row) for row in result.test["confusion"])  # type: ignore[index]
        assert counted % (48 * 64) in {0, 128, 256, 384, 512, 2944, 2816}  # whole masks: 48·64 and 40·80 pixels


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("strategy=fintune", "strategy has no option 'fintune'. Did you mean finetune?"),
        ("trainer.epoch=3", "there is no key 'trainer.epoch'. Did you mean trainer.epochs"),
        ("lables=3", "Did you mean labels?"),
        ("trainer.epochs=many", "trainer.epochs=many: must be a whole number of at least 1"),
        ("trainer.precision=fp8", "trainer.precision=fp8: must be one of auto, fp32, bf16"),
        ("trainer.precision=fp16", "needs CUDA"),
        ("labels=5000", "of the 8 training images"),
        ("trainer.epochs=0", "trainer.epochs=0: must be a whole number of at least 1"),
        ("freeze=backbone", "never loaded"),
        ("backbone.weights=nowhere.pth", "no such file"),
        ("backbone.output_stride=4", "backbone.output_stride=4: must be one of 8, 16, 32, or null"),
        ("dataset.size=x", "dataset.size=x: must be a whole number"),
        ("sizing.fit=stretch", "sizing.fit=stretch: must be one of keep, resize, pad, crop"),
        ("loss.class_weights=rare", "loss.class_weights=rare: must be "),
        ("output=/proc/nowhere", "cannot be written"),
        ("backbone=null", "must be a string"),
    ],
)
def test_a_wrong_request_is_told_in_a_line_and_exits_2(
    word: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [w for w in SCRATCH if w.partition("=")[0] != word.partition("=")[0]]
    extra = ["strategy=finetune"] if word.startswith("backbone.weights") else []
    assert command("train", *words, *extra, word) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert len(error.strip().splitlines()) <= 2


@pytest.mark.slow
def test_a_new_head_begins_at_the_frequencies_of_the_training_classes(elsewhere: Path) -> None:
    made = segrun.train([*SCRATCH, "optimizer.lr=1e-9", "trainer.epochs=1"])
    data = Shapes(64, train=8, val=4, test=4, objects=7, seed=0)
    counts = sum(torch.bincount(data.mask(name).flatten().long(), minlength=6) for name in data.splits["train"])
    shares = counts / counts.sum()  # type: ignore[union-attr,operator]
    first = json.loads((made.folder / "metrics.jsonl").read_text().splitlines()[0])["loss"]
    assert first == pytest.approx(float(-(shares * shares.log()).sum()), rel=0.05) and first < 0.9 * math.log(6)
