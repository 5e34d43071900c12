"""init_from: a whole trained model as the start of the next, whatever differs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import segrun
from segrun.config.compose import compose
from segrun.errors import RequestError
from segrun.experiment.checkpoint_model import initial_model
from segrun.experiment.experiment import Experiment
from segrun.experiment.prepare import open_dataset
from segrun.models.segmenter import Segmenter
from segrun.models.weights.adapting import fold_channels
from tests.conftest import QUICK

CLASSES = ["background", "stripes", "checks", "dots", "waves", "bricks"]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("origin")
    return segrun.train([*QUICK, "strategy=scratch", "trainer.epochs=1", f"output={output}"]).folder


def weights(folder: Path) -> dict[str, Tensor]:
    kept: dict[str, Tensor] = torch.load(folder / "best.ckpt", weights_only=True)["weights"]
    return kept


def new(values: dict[str, Any]) -> Segmenter:
    experiment = Experiment.from_config(values)
    data = open_dataset(experiment.data)
    return initial_model(experiment.model, experiment.init_from, experiment.trusted, data.classes, data.channels)


def start(origin: Path, *words: str, root: Path | None = None) -> Segmenter:
    asked = [w for w in QUICK if root is None or not w.startswith("dataset.")]
    data = ["dataset=folder", f"dataset.root={root}"] if root else []
    values = compose("train", [*asked, *data, *words, f"init_from={origin}"])
    return new(values)


def test_the_same_model_is_loaded_in_full_without_asking_for_pretrained_weights(origin: Path) -> None:
    model = start(origin, "seed=5")
    for name, value in weights(origin).items():
        assert torch.equal(model.state_dict()[name], value), name
    assert model.report.share == 1 and not model.report.adapted and not model.report.new


def test_classes_of_the_same_name_keep_their_weights(origin: Path, folder_data: Callable[..., Path]) -> None:
    model = start(origin, "dataset.classes=[dots,square,background]", root=folder_data())
    old, new = weights(origin), model.state_dict()
    for key in ("heads.mask.output.weight", "heads.mask.output.bias"):
        assert torch.equal(new[key][0], old[key][CLASSES.index("dots")])
        assert torch.equal(new[key][2], old[key][CLASSES.index("background")])
        assert not any(torch.equal(new[key][1], row) for row in old[key]) or "bias" in key
    assert set(model.report.adapted) == {"heads.mask.output.weight", "heads.mask.output.bias"}
    assert torch.equal(new["heads.mask.neck.0.0.weight"], old["heads.mask.neck.0.0.weight"])
    assert "classes by name: dots, background" in str(model.report)


def test_the_same_classes_in_another_order_are_put_right(origin: Path, folder_data: Callable[..., Path]) -> None:
    turned = list(reversed(CLASSES))
    model = start(origin, f"dataset.classes=[{','.join(turned)}]", root=folder_data())
    key = "heads.mask.output.weight"
    assert torch.equal(model.state_dict()[key], weights(origin)[key].flip(0))


def test_another_head_takes_the_backbone_alone(origin: Path) -> None:
    model = start(origin, "head=lraspp")
    assert model.report.share < 1
    assert all(name.startswith("heads.") for name in model.report.new)
    assert not any(name.startswith("heads.") for name in model.report.matched)  # names that agree mean nothing
    assert "heads.mask.output.weight" in model.report.unused
    for name, value in weights(origin).items():
        if name.startswith("backbone."):
            assert torch.equal(model.state_dict()[name], value)


def test_a_linear_head_without_a_common_class_is_new_and_said_so(
    origin: Path, folder_data: Callable[..., Path]
) -> None:
    words = [w for w in QUICK if not w.startswith(("head", "dataset."))]
    first = segrun.train([*QUICK[2:], "head=linear", "strategy=scratch", "trainer.epochs=1"]).folder
    data = ["dataset=folder", f"dataset.root={folder_data()}", "dataset.classes=[ground,square]"]
    values = compose("train", [*words, *data, "head=linear", f"init_from={first}"])
    report = new(values).report
    assert set(report.new) == {"heads.mask.output.weight", "heads.mask.output.bias"} <= set(report.unused)
    assert report.share < 1


def test_other_channels_fold_kernel_and_normalisation(origin: Path, folder_data: Callable[..., Path]) -> None:
    words = ["dataset.channels=1", "dataset.classes=[background,square]"]
    model = start(origin, *words, root=folder_data())
    kernel = "backbone.body.features.0.0.weight"
    torch.testing.assert_close(model.state_dict()[kernel], fold_channels(weights(origin)[kernel], 1))
    torch.testing.assert_close(model.mean.flatten(), weights(origin)["mean"].mean().view(1))


def test_another_backbone_is_refused(origin: Path) -> None:
    with pytest.raises(RequestError, match=r"fills only \d+% .*same architecture"):
        start(origin, "backbone=resnet18")


def test_what_is_no_checkpoint_is_refused() -> None:
    with pytest.raises(RequestError, match=r"nowhere: there is no such checkpoint"):
        start(Path("nowhere"))


def test_scratch_is_not_started_from_anything(origin: Path) -> None:
    with pytest.raises(RequestError, match="init_from at null"):
        segrun.train([*QUICK, "strategy=scratch", f"init_from={origin}"])


def test_grey_images_are_trained_on_and_predicted(origin: Path, folder_data: Callable[..., Path]) -> None:
    words = [w for w in QUICK if not w.startswith("dataset.")]
    words += ["dataset=folder", f"dataset.root={folder_data()}", "dataset.channels=1", f"init_from={origin}"]
    found = segrun.train([*words, "dataset.classes=[background,square]", "trainer.epochs=1"])
    predictor = segrun.load(found.checkpoint)
    assert predictor(torch.zeros(48, 64).byte().numpy()).shape == (48, 64)
    assert (found.folder / "samples").is_dir()
