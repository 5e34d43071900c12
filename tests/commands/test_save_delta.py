"""`trainer.save=delta`: best.ckpt holds what has changed; beside the same pretrained weights it is the whole model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import segrun
from segrun.checkpoints import checkpoint
from segrun.commands import evaluate
from segrun.config.compose import compose
from segrun.errors import RequestError
from segrun.models.weights.source import WeightSource
from tests.conftest import QUICK

timm = pytest.importorskip("timm", reason="extra timm")

TINY = [
    *(w for w in QUICK if not w.startswith(("dataset.val", "dataset.test", "head.channels"))),
    "head.channels=4", "dataset.val=2", "dataset.test=2", "backbone=timm", "backbone.name=test_efficientnet",
    "optimizer.lr=0.01",
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segrun.runs.finish.draw_plots", lambda run, result: None)  # half of a tiny run's time


def weights_file(path: Path) -> Path:
    torch.save(timm.create_model("test_efficientnet").state_dict(), path)
    return path


def picture() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("strategy", ["lora", "bitfit", pytest.param("conv_adapter", marks=pytest.mark.slow)])
def test_a_small_checkpoint_is_the_whole_model_again(strategy: str, elsewhere: Path) -> None:
    words = [*TINY, f"backbone.weights={weights_file(elsewhere / 'pretrained.pth')}", f"strategy={strategy}"]
    words += ["strategy.rank=1"] if strategy == "lora" else []
    whole, small = (segrun.train([*words, f"trainer.save={save}"]) for save in ("full", "delta"))
    sizes = [result.checkpoint.stat().st_size for result in (whole, small)]
    assert sizes[1] < sizes[0] / 2
    kept = checkpoint.read(small.checkpoint)
    assert kept.base is not None and len(kept.base) == 64
    assert whole.val == small.val and whole.test == small.test
    assert checkpoint.read(whole.checkpoint).base is None

    kept_result = json.loads((small.folder / "result.json").read_text())
    assert kept_result["cost"]["checkpoint_bytes"] == sizes[1]
    words = [f"checkpoint={small.folder}", f"base={elsewhere / 'pretrained.pth'}", "device=cpu"]
    result = evaluate.run(compose("eval", words))
    assert result.scores["confusion"] == kept_result["test"]["confusion"]
    base = str(elsewhere / "pretrained.pth")
    one, other = (segrun.load(each.checkpoint, "cpu", base=base).probabilities(picture()) for each in (whole, small))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_it_loads_only_with_the_same_pretrained_weights_which_the_user_names(elsewhere: Path) -> None:
    path = weights_file(elsewhere / "pretrained.pth")
    words = [*TINY, f"backbone.weights={path}", "strategy=bitfit", "trainer.save=delta", "trainer.epochs=1"]
    made = segrun.train(words).checkpoint
    base = checkpoint.read(made).base
    predicted = segrun.load(made, device="cpu", base=str(path)).probabilities(picture())
    needed = rf"best\.ckpt: holds only what differs from {path} \(sha256 {str(base)[:12]}….*\n.*base=<weights file"
    for request in (lambda: segrun.load(made, device="cpu"), lambda: evaluated(made)):
        with pytest.raises(RequestError, match=needed):
            request()
    shutil.copy(path, elsewhere / "right.pth")
    content = torch.load(path, weights_only=True)
    content["conv_stem.weight"].view(torch.int32)[0, 0, 0, 0] ^= 1
    torch.save(content, path)
    with pytest.raises(RequestError, match=rf"{str(base)[:12]}….*found here are [0-9a-f]{{12}}….*base=") as refused:
        segrun.load(made, device="cpu", base=str(path))
    assert len(str(refused.value).splitlines()) <= 2
    with pytest.raises(RequestError, match="Give the original ones"):
        evaluated(made, f"base={path}")
    right = segrun.load(made, device="cpu", base="right.pth")
    np.testing.assert_array_equal(right.probabilities(picture()), predicted)


def evaluated(made: Path, *words: str) -> None:
    evaluate.run(compose("eval", [f"checkpoint={made}", "device=cpu", *words]))


def test_published_weights_that_segrun_knows_are_found_by_their_name(
    elsewhere: Path, pretrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[WeightSource] = []

    def fetched(source: WeightSource) -> tuple[Path, str]:
        asked.append(source)
        return pretrained, "hub cache"

    monkeypatch.setattr("segrun.models.weights.loading.fetch", fetched)
    words = [*QUICK, "strategy=bitfit", "trainer.save=delta", "trainer.epochs=1"]
    made = segrun.train(words).checkpoint
    content = torch.load(made, weights_only=True)
    assert content["base_name"] == "hub cache"
    del content["base_name"]  # as older versions wrote it
    content["config"]["backbone"]["wheel"] = {"package": "stranger", "version": "1", "member": "x", "sha256": "0" * 64}
    torch.save(content, elsewhere / "old.ckpt")
    one, other = (segrun.load(each, device="cpu").probabilities(picture()) for each in (made, elsewhere / "old.ckpt"))
    np.testing.assert_array_equal(one, other)
    shipped = compose("train")["backbone"]["wheel"]["package"]
    assert {(str(source), source.wheel and source.wheel.package) for source in asked} == {
        ("https://download.pytorch.org/models/mobilenet_v2-b0353104.pth", shipped)
    }


def test_a_run_may_start_from_it(elsewhere: Path) -> None:
    path = weights_file(elsewhere / "pretrained.pth")
    words = [*TINY, f"backbone.weights={path}", "trainer.epochs=1"]
    made = segrun.train([*words, "strategy=bitfit", "trainer.save=delta"]).checkpoint
    start = [*words, "strategy=finetune", f"init_from={made}", "optimizer.lr=1e-12"]
    with pytest.raises(RequestError, match="base=<weights file"):
        segrun.train(start)
    again = segrun.train([*start, f"base={path}"]).checkpoint
    one, other = (segrun.load(each, "cpu", base=str(path)).inference.model.state_dict() for each in (made, again))
    for name, value in one.items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            torch.testing.assert_close(value, other[name], rtol=0, atol=1e-6)


def test_another_word_is_refused() -> None:
    with pytest.raises(RequestError, match=r"^trainer\.save=foo: must be one of full, delta"):
        segrun.train([*TINY, "strategy=scratch", "trainer.save=foo"])
