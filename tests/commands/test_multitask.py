"""Several tasks through `segrun.train`: every balance, what is kept, other data sets, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from torch import nn

import segrun
from segrun.config.build import to_dataclass
from segrun.config.compose import compose
from segrun.data.loader.collate import concat_batches
from segrun.engine import loop
from segrun.engine.objective import Objective
from segrun.engine.settings import TrainerSettings
from segrun.engine.step import train_step
from segrun.errors import RequestError
from segrun.models.segmenter import Output
from segrun.tasks.auxiliary.presence import Presence
from segrun.tasks.auxiliary.targets import Targets
from segrun.tasks.balance.balance import Balance
from segrun.tasks.balance.fixed import Fixed
from segrun.tasks.balance.gradnorm import GradNorm
from segrun.tasks.balance.pcgrad import PCGrad
from segrun.tasks.losses.cross_entropy import CrossEntropy
from segrun.tasks.task import Task
from segrun.types import VOID, Batch, Sample
from tests.commands.test_train import same, state
from tests.conftest import QUICK

timm = pytest.importorskip("timm", reason="extra timm")

TINY = [
    *(w for w in QUICK if not w.startswith(("dataset.val", "dataset.test"))),
    "dataset.val=2", "dataset.test=0", "backbone=timm", "backbone.name=test_efficientnet",
]  # fmt: skip
GIVEN = {"mask": 1.0, "boundary": 0.5, "presence": 0.2, "reconstruction": 0.5}
THREE = ["auxiliary=[boundary,presence,reconstruction]", "auxiliary.boundary.channels=8"]
OTHER = ["auxiliary=[segmentation]", "auxiliary.segmentation.batch_size=3", "auxiliary.segmentation.channels=4"]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segrun.runs.finish.draw_plots", lambda run, result: None)  # half of a tiny run's time


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[nn.Module, list[Batch]]]:
    """The model and the window of every step of a run."""
    recorded: list[tuple[nn.Module, list[Batch]]] = []
    step = loop.train_step

    def watching(*args: Any, **more: Any) -> Any:
        recorded.append((args[0], list(args[3])))
        return step(*args, **more)

    monkeypatch.setattr(loop, "train_step", watching)
    return recorded


def weights_file(folder: Path) -> str:
    torch.save(timm.create_model("test_efficientnet").state_dict(), folder / "pretrained.pth")
    return f"backbone.weights={folder / 'pretrained.pth'}"


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]


def kept(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "best.ckpt", weights_only=True)["weights"]  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize("balance", ["fixed", "uncertainty", "dwa", "gradnorm", "pcgrad"])
def test_a_balance_weighs_the_tasks_and_only_the_masks_head_is_kept(
    balance: str, elsewhere: Path, steps: list[tuple[nn.Module, list[Batch]]]
) -> None:
    words = [*TINY, weights_file(elsewhere), "trainer.epochs=3", "trainer.steps=6", "trainer.eval_every=3"]
    folder = segrun.train([*words, "strategy=multitask", *THREE, f"balance={balance}", "optimizer.lr=0.01"]).folder
    epochs = rows(folder)
    for row in epochs:
        assert row["losses"].keys() == row["weights"].keys() == GIVEN.keys()
        assert all(math.isfinite(value) and value > 0 for value in (*row["losses"].values(), *row["weights"].values()))
    assert epochs[-1]["losses"]["mask"] < epochs[0]["losses"]["mask"]
    weights = [row["weights"] for row in epochs]
    if balance in ("fixed", "pcgrad"):
        assert weights == [GIVEN] * 3
    elif balance == "dwa":
        powers = [math.exp(epochs[1]["losses"][name] / epochs[0]["losses"][name] / 2) for name in GIVEN]
        third = {n: given * 4 * p / sum(powers) for (n, given), p in zip(GIVEN.items(), powers, strict=True)}
        assert weights[:2] == [GIVEN] * 2 and weights[2] == pytest.approx(third)
    else:
        begun = {**GIVEN, "reconstruction": 0.25} if balance == "uncertainty" else GIVEN  # ½ of a regression
        assert all(weights[0][name] != value for name, value in begun.items())
        assert weights[0] == pytest.approx(begun, rel=0.3) and weights[2] != weights[1] != weights[0]
    if balance == "gradnorm":
        assert sum(weights[2][name] / given for name, given in GIVEN.items()) == pytest.approx(4)

    last, best = state(folder)["weights"], kept(folder)
    auxiliary = tuple(f"heads.{name}." for name in GIVEN if name != "mask")
    assert any(name.startswith(auxiliary) for name in last)
    same({name: value for name, value in last.items() if not name.startswith(auxiliary)}, best)

    full = steps[-1][0]
    same(dict(full.state_dict()), last)
    predict = segrun.load(folder / "best.ckpt", device="cpu")
    whole = dataclasses.replace(predict.inference, model=full.eval())
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    images = torch.from_numpy(picture).permute(2, 0, 1)[None]
    assert torch.equal(whole.logits(images), predict.inference.logits(images))
    np.testing.assert_array_equal(predict(picture), whole.logits(images)[0].argmax(0).numpy())


def test_the_kept_model_is_named_as_a_plain_runs(elsewhere: Path) -> None:
    words = [*TINY, weights_file(elsewhere), "trainer.epochs=1", "trainer.steps=1"]
    several = segrun.train([*words, "strategy=multitask", *THREE]).folder
    plain = segrun.train([*words, "strategy=finetune"]).folder
    shapes = [{name: value.shape for name, value in kept(folder).items()} for folder in (several, plain)]
    assert shapes[0] == shapes[1]
    assert rows(plain)[0]["weights"] == {} and rows(plain)[0]["losses"].keys() == {"mask"}


@pytest.mark.parametrize("kind", ["shapes", "folder"])
def test_another_data_set_trains_beside_and_says_nothing_of_the_mask(
    kind: str, elsewhere: Path, folder_data: Callable[..., Path], steps: list[tuple[nn.Module, list[Batch]]]
) -> None:
    if kind == "folder":
        data = [f"root={folder_data(6, size=(64, 64))}", "classes=[background,square]"]
        other = [f"auxiliary.segmentation.dataset.{word}" for word in data]
    else:
        data = ["size=64", "train=5", "val=1", "test=0", "seed=7"]
        other = [f"auxiliary.segmentation.dataset.{word}" for word in data]
        other = ["dataset@auxiliary.segmentation.dataset=shapes", *other]
    words = [*TINY, weights_file(elsewhere), "trainer.steps=4", *OTHER, *other, "strategy=multitask"]
    folder = segrun.train(words).folder
    assert all(row["losses"]["segmentation"] > 0 for row in rows(folder))
    assert not any("segmentation" in name for name in kept(folder))
    assert "statistics of the primary data" in json.loads((folder / "result.json").read_text())["candidates"]
    assert len(steps) == 4
    classes = {"folder": 2, "shapes": 6}[kind]
    for _, window in steps:
        for batch in window:
            assert batch.images.shape == (4 + 3, 3, 64, 64)
            mask, beside = batch.targets["mask"], batch.targets["segmentation"]
            assert (mask[4:] == VOID).all() and (beside[:4] == VOID).all()
            assert (mask[:4] < 6).all() and (beside[4:] < classes).all()


def test_targets_of_another_data_sets_samples_are_void_for_all_other_tasks() -> None:
    sample = Sample("a", torch.zeros(3, 4, 4, dtype=torch.uint8), torch.ones(4, 4, dtype=torch.uint8))
    presence = {"presence": Presence(1.0, 0.0, 0.0)}
    own, other = Targets(presence, 6)(sample), Targets(presence, 6, source="segmentation")(sample)
    assert torch.equal(own["mask"], sample.mask) and own["presence"].tolist() == [0, 1, 0, 0, 0, 0]
    assert (other["mask"] == VOID).all() and other["presence"].isnan().all()
    assert torch.equal(other["segmentation"], sample.mask)


def test_joined_batches_keep_each_samples_own_targets() -> None:
    one, two = (
        Batch((name,) * size, torch.full((size, 3, 4, 4), size, dtype=torch.uint8), {"mask": torch.full((size, 4), v)})
        for name, size, v in (("a", 2, 1), ("b", 3, VOID))
    )
    both = concat_batches([one, two])
    assert both.names == ("a", "a", "b", "b", "b") and both.images[:, 0, 0, 0].tolist() == [2, 2, 3, 3, 3]
    assert both.targets["mask"][:, 0].tolist() == [1, 1, VOID, VOID, VOID]


def test_images_of_another_size_are_refused_with_the_cure(elsewhere: Path, folder_data: Callable[..., Path]) -> None:
    root = folder_data(6, size=(48, 80))
    other = [
        f"auxiliary.segmentation.dataset.root={root}",
        "auxiliary.segmentation.dataset.classes=[background,square]",
    ]
    words = [*TINY, weights_file(elsewhere), "trainer.steps=2", *OTHER, *other]
    with pytest.raises(RequestError, match=r"cannot share a batch.*sizing=crop.*sizing\.size="):
        segrun.train(words)
    cured = segrun.train([*words, "sizing=crop", "sizing.size=[48,64]"])
    assert all(row["losses"]["segmentation"] > 0 for row in rows(cured.folder))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["balance=dwa"], r"balance=dwa weighs tasks.*auxiliary=\[boundary\]"),
        (["balance=pcgrad"], r"balance=pcgrad weighs tasks"),
        (
            ["balance=gradnorm", "strategy=feature_extraction", "auxiliary=[boundary]"],
            "layers.*none of these is trained in this plan",
        ),
        (["auxiliary=[boundry]"], "auxiliary has no option 'boundry'"),
        (
            ["auxiliary=[boundary]", "auxiliary.boundary.weight=-1"],
            r"^auxiliary\.boundary\.weight=-1: must be a number",
        ),
    ],
)
def test_what_cannot_be_weighed_is_refused(words: list[str], message: str, elsewhere: Path) -> None:
    with pytest.raises(RequestError, match=message):
        segrun.train([*TINY, weights_file(elsewhere), *words])
    assert not (elsewhere / "outputs").exists()


@pytest.mark.parametrize("task", ["boundary", "presence", "distance"])
def test_masks_of_one_class_teach_no_boundary(task: str, elsewhere: Path, folder_data: Callable[..., Path]) -> None:
    root = folder_data(8, size=(64, 64))
    for path in (root / "masks").iterdir():
        Image.fromarray(np.zeros((64, 64), np.uint8)).save(path)
    words = [w for w in TINY if not w.startswith("dataset.")]
    words += ["dataset=folder", f"dataset.root={root}", "dataset.classes=[background,square]", weights_file(elsewhere)]
    with pytest.raises(RequestError, match=rf"auxiliary={task}: .*Leave it out"):
        segrun.train([*words, f"auxiliary=[{task}]"])


class Tiny(nn.Module):
    """One shared convolution, and a linear head for each task; no batch norm."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shared = nn.Conv2d(3, 4, 3, padding=1)
        self.heads = nn.ModuleDict({"mask": nn.Conv2d(4, 2, 1), "against": nn.Conv2d(4, 2, 1)})
        self.heads["against"].load_state_dict(self.heads["mask"].state_dict())  # whose target is the other class

    def forward(self, images: torch.Tensor) -> Output:
        features = self.shared(images / 255).relu()
        return Output([features], {name: head(features) for name, head in self.heads.items()})


def tiny_batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (8, 3, 6, 6), generator=generator, dtype=torch.uint8)
    mask = torch.randint(0, 2, (8, 6, 6), generator=generator, dtype=torch.uint8)
    against = torch.where(mask == 0, 1, 0).byte()
    against[0, 0] = 0  # not all against all
    mask[:3] = VOID  # the halves of the window weigh differently
    return Batch(tuple("abcdefgh"), images, {"mask": mask, "against": against})


def tiny_gradients(balance: Balance, parts: int) -> tuple[list[torch.Tensor], dict[str, float]]:
    """What an optimizer step finds in .grad when the eight images come in so many parts, and the weights after it."""
    model, given = Tiny(), {"mask": 1.0, "against": 0.7}
    tasks = [Task(name, CrossEntropy(), weight, primary=name == "mask") for name, weight in given.items()]
    balance.start(dict.fromkeys(given, False), given, torch.device("cpu"))
    whole, size = tiny_batch(), 8 // parts
    window = [
        Batch(
            whole.names[i : i + size],
            whole.images[i : i + size],
            {n: t[i : i + size] for n, t in whole.targets.items()},
        )
        for i in range(0, 8, size)
    ]
    settings = to_dataclass(compose("train")["trainer"], TrainerSettings, "trainer")
    optimizer = SimpleNamespace(step=lambda: None, zero_grad=lambda: None)
    objective = Objective(tasks, balance, {}, list(model.shared.parameters()))
    train_step(model, optimizer, objective, window, settings, Accelerator(cpu=True), False, seed=3)
    return [p.grad.clone() for p in model.parameters() if p.grad is not None], balance.weights()


@pytest.mark.parametrize("make", [PCGrad, partial(GradNorm, 1.5, 0.025)], ids=["pcgrad", "gradnorm"])
def test_accumulated_batches_are_balanced_as_one(make: Callable[[], Balance]) -> None:
    whole, weights = tiny_gradients(make(), 1)
    assert len(whole) == 6
    for parts in (2, 8):
        gradients, again = tiny_gradients(make(), parts)
        for one, other in zip(whole, gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
        assert again == pytest.approx(weights, rel=1e-5)


def test_a_step_with_pcgrad_takes_out_what_points_against_the_other_task() -> None:
    model, batch = Tiny(), tiny_batch()
    output = model(batch.images)
    alone = []
    for name, weight in (("mask", 1.0), ("against", 0.7)):
        loss = nn.functional.cross_entropy(output.tasks[name], batch.targets[name].long(), ignore_index=VOID)
        each = torch.autograd.grad(weight * loss, list(model.shared.parameters()), retain_graph=True)
        alone.append(torch.cat([g.flatten() for g in each]).double())
    one, other = alone
    inner = one @ other
    assert inner < 0
    expected = one - inner / other.square().sum() * other + other - inner / one.square().sum() * one
    gradients = torch.cat([g.flatten() for g in tiny_gradients(PCGrad(), 2)[0][:2]]).double()
    torch.testing.assert_close(gradients, expected, rtol=1e-4, atol=1e-6)
    plainly = torch.cat([g.flatten() for g in tiny_gradients(Fixed(), 2)[0][:2]]).double()
    torch.testing.assert_close(plainly, one + other, rtol=1e-4, atol=1e-6)
