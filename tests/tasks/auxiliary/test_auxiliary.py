"""What holds for every auxiliary task: heads, losses, targets without a label, refusals, configs."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from segrun.config.build import build
from segrun.config.options import conf_dir
from segrun.data.dataset import Dataset
from segrun.errors import RequestError
from segrun.models.backbones.backbone import Level
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.auxiliary.heads.conv import ConvHead
from segrun.tasks.losses.centernet import CenterNetLoss
from segrun.types import VOID, ClassMap, Sample

CLASSES, SIZE = 3, (36, 44)
LEVELS = [Level(8, 2), Level(12, 4), Level(16, 8), Level(20, 16)]
NAMES = sorted(path.stem for path in (conf_dir() / "auxiliary").glob("*.yaml"))
FROM_MASKS = ["boundary", "detection", "distance", "presence", "segmentation"]
Maker = Callable[..., Auxiliary]


class FourClasses(Dataset):
    """A dataset of which a task needs the classes alone."""

    classes = ClassMap.of(("a", "b", "c", "d"))
    names = ()

    def image(self, name: str) -> Tensor:
        raise NotImplementedError

    def mask(self, name: str) -> Tensor:
        raise NotImplementedError


@pytest.fixture
def make_task(elsewhere: Path) -> Maker:
    """A task as its shipped config makes it, apart from changed settings."""
    table = Path("labels.csv")
    table.write_text("image,label\ns0,good\ns1.png,bad\ns2,good\n", encoding="utf-8")

    def make(name: str, **changed: object) -> Auxiliary:
        values = yaml.safe_load((conf_dir() / f"auxiliary/{name}.yaml").read_text(encoding="utf-8"))
        values.pop("defaults", None)
        if name == "image_labels":
            values["file"] = str(table)
        if name == "segmentation":
            values["dataset"] = FourClasses()
        task = build({**values, **changed}, f"auxiliary.{name}")
        assert isinstance(task, Auxiliary) and task.name == name
        return task

    return make


def sample(index: int = 0, void: bool = False) -> Sample:
    """Blocks of three classes with a hole of void; void: without any label."""
    generator = torch.Generator().manual_seed(index)
    blocks = torch.randint(CLASSES, (SIZE[0] // 4, SIZE[1] // 4), generator=generator).to(torch.uint8)
    mask = blocks.repeat_interleave(4, 0).repeat_interleave(4, 1)
    mask[5:11, 3 + index : 9 + index] = VOID
    image = torch.randint(256, (3, *SIZE), generator=generator, dtype=torch.uint8)
    return Sample(f"s{index}", image, torch.full_like(mask, VOID) if void else mask)


def targets(task: Auxiliary, count: int = 4) -> Tensor:
    return torch.stack([task.target(sample(i), CLASSES) for i in range(count)])


def features(batch: int) -> list[Tensor]:
    return [torch.randn(batch, level.channels, -(-SIZE[0] // level.stride), -(-SIZE[1] // level.stride))
            for level in LEVELS]  # fmt: skip


def scores(task: Auxiliary, batch: int = 4) -> Tensor:
    """Of the head, resized to the images where the model does that."""
    head = task.head(LEVELS, CLASSES)
    output = head(features(batch))
    if output.ndim == 4 and head.full_size:
        output = torch.nn.functional.interpolate(output, SIZE, mode="bilinear")
    return (output + torch.randn_like(output)).detach().requires_grad_()


SHAPES = {
    "boundary": (2, *SIZE), "detection": (CLASSES + 4, 9, 11), "distance": (1, *SIZE), "image_labels": (2,),
    "presence": (CLASSES,), "reconstruction": (3, *SIZE), "segmentation": (4, *SIZE),
}  # fmt: skip
TARGETS = SHAPES | {"boundary": SIZE, "segmentation": SIZE, "image_labels": ()}


@pytest.mark.parametrize("name", NAMES)
def test_scores_and_targets_have_the_shapes_they_are_said_to_have(make_task: Maker, name: str) -> None:
    task = make_task(name)
    assert scores(task).shape == (4, *SHAPES[name])
    for void in (False, True):
        target = task.target(sample(void=void), CLASSES)
        assert target.shape == TARGETS[name]
        assert target.dtype == (torch.uint8 if name in ("boundary", "image_labels", "segmentation") else torch.float32)
    assert task.regression == (name in ("distance", "reconstruction"))


@pytest.mark.parametrize("name", NAMES)
def test_a_head_reads_the_maps_it_says_and_no_other(make_task: Maker, name: str) -> None:
    head = make_task(name).head(LEVELS, CLASSES)
    maps = [m.requires_grad_() for m in features(2)]
    head(maps).square().sum().backward()
    assert [i for i, m in enumerate(maps) if m.grad is not None] == sorted(head.levels_used)
    if name in ("image_labels", "presence", "reconstruction", "segmentation"):
        assert tuple(head.levels_used) == (3,)


@pytest.mark.parametrize(("stride", "levels_used"), [(None, [1, 2, 3]), (1, [0]), (4, [1]), (8, [2]), (32, [3])])
def test_a_convolutional_head_reads_one_map_or_all_from_stride_4_on(stride: int | None, levels_used: list[int]) -> None:
    head = ConvHead(LEVELS, 5, 16, stride)
    assert list(head.levels_used) == levels_used
    finest = features(2)[levels_used[0]]
    assert head(features(2)).shape == (2, 5, *finest.shape[-2:])


def test_detection_begins_with_rare_centres(make_task: Maker) -> None:
    head = make_task("detection").head(LEVELS, CLASSES)
    bias = head.output.bias.detach()
    assert torch.allclose(bias[:CLASSES].sigmoid(), torch.tensor(0.1), atol=1e-3) and not bias[CLASSES:].any()
    assert not head.full_size


@pytest.mark.parametrize("name", NAMES)
def test_two_halves_of_a_batch_add_up_to_the_whole(make_task: Maker, name: str) -> None:
    task = make_task(name)
    guess, truth = scores(task), targets(task)
    truth[0] = VOID if truth.dtype == torch.uint8 else float("nan")
    halves = [(guess[:2], truth[:2]), (guess[2:], truth[2:])]
    sums = sum(task.loss(half, target) for half, target in halves)
    weights = sum(task.loss.normalizers(target) for _, target in halves)
    assert sums.shape == weights.shape
    assert torch.allclose(sums, task.loss(guess, truth), rtol=1e-5)
    assert torch.equal(weights, task.loss.normalizers(truth))


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_targets_costs_nothing_and_teaches_nothing(make_task: Maker, name: str) -> None:
    task = make_task(name)
    guess, truth = scores(task), targets(task)
    truth[:] = VOID if truth.dtype == torch.uint8 else float("nan")
    sums = task.loss(guess, truth)
    sums.sum().backward()
    assert not sums.any() and not task.loss.normalizers(truth).any()
    assert guess.grad is not None and torch.equal(guess.grad, torch.zeros_like(guess))


@pytest.mark.parametrize("name", FROM_MASKS)
def test_a_mask_without_labels_makes_a_target_without_labels(make_task: Maker, name: str) -> None:
    target = make_task(name).target(sample(void=True), CLASSES)
    assert (target == VOID).all() if target.dtype == torch.uint8 else target.isnan().all()


@pytest.mark.parametrize("name", [n for n in NAMES if n != "segmentation"])
def test_what_has_no_label_has_no_say_and_no_gradient(make_task: Maker, name: str) -> None:
    task = make_task(name)
    guess, truth = scores(task), targets(task)
    if name in ("image_labels", "presence", "reconstruction"):
        truth[1] = VOID if truth.dtype == torch.uint8 else float("nan")
    unknown = truth == VOID if truth.dtype == torch.uint8 else truth.isnan()
    if name in ("boundary", "image_labels"):
        unknown = unknown[:, None].expand_as(guess)
    assert unknown.any() and not unknown.all()
    changed = torch.where(unknown, guess.detach() * 9 + 5, guess.detach()).requires_grad_()
    assert torch.allclose(task.loss(changed, truth), task.loss(guess, truth))
    task.loss(changed, truth).sum().backward()
    assert changed.grad is not None and changed.grad.isfinite().all()
    assert not changed.grad[unknown].any() and changed.grad[~unknown].any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sign", [500, -500])
def test_gradients_stay_finite_where_the_model_is_certain(make_task: Maker, name: str, sign: float) -> None:
    task = make_task(name)
    guess = (torch.ones_like(scores(task)) * sign).requires_grad_()
    task.loss(guess, targets(task)).sum().backward()
    assert guess.grad is not None and guess.grad.isfinite().all()


def in_float64(guess: Tensor, truth: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return guess.detach().double().numpy(), truth.double().numpy()


def test_boundarys_cross_entropy_weighs_its_classes(make_task: Maker) -> None:
    task = make_task("boundary", pos_weight=7.0)
    guess, truth = scores(task), targets(task)
    z, t = in_float64(guess, truth)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    expected = -log_p[:, 0][t == 0].sum() - 7 * log_p[:, 1][t == 1].sum()
    assert float(task.loss(guess, truth).detach()) == pytest.approx(expected, rel=1e-5)
    assert task.loss.normalizers(truth).tolist() == [(t == 0).sum() + 7 * (t == 1).sum()]


def test_presence_is_binary_cross_entropy_over_what_is_known(make_task: Maker) -> None:
    task = make_task("presence")
    guess, truth = scores(task), torch.tensor([[1, 0, 1], [1, float("nan"), 0], [1, 1, float("nan")], [0, 0, 1]])
    z, t = in_float64(guess, truth)
    p = 1 / (1 + np.exp(-z))
    expected = -np.nansum(t * np.log(p) + (1 - t) * np.log(1 - p))
    assert float(task.loss(guess, truth).detach()) == pytest.approx(expected, rel=1e-5)
    assert task.loss.normalizers(truth).tolist() == [10]


def test_distance_is_smooth_l1_and_reconstruction_l1(make_task: Maker) -> None:
    task = make_task("distance", beta=0.3)
    guess, truth = scores(task), targets(task)
    off = np.abs(np.subtract(*in_float64(guess, truth)))
    expected = np.nansum(np.where(off < 0.3, off**2 / 0.6, off - 0.15))
    assert float(task.loss(guess, truth).detach()) == pytest.approx(expected, rel=1e-5)
    assert task.loss.normalizers(truth).tolist() == [(~np.isnan(off)).sum()]
    task = make_task("reconstruction")
    guess, truth = scores(task), targets(task)
    off = np.abs(np.subtract(*in_float64(guess, truth)))
    assert float(task.loss(guess, truth).detach()) == pytest.approx(off.sum(), rel=1e-5)
    assert task.loss.normalizers(truth).tolist() == [off.size]


def test_detections_losses_are_centernets(make_task: Maker) -> None:
    task = make_task("detection", size=0.2, offset=3.0)
    guess, truth = scores(task), targets(task)
    z, t = in_float64(guess, truth)
    sums = np.zeros(3)
    centres = 0
    for b in range(len(t)):
        for at in np.ndindex(*t.shape[2:]):
            for c in range(CLASSES):
                p, y = 1 / (1 + np.exp(-z[(b, c, *at)])), t[(b, c, *at)]
                if y == 1:
                    sums[0] -= (1 - p) ** 2 * np.log(p)
                    centres += 1
                elif not np.isnan(y):
                    sums[0] -= (1 - y) ** 4 * p**2 * np.log(1 - p)
            if not np.isnan(t[(b, -1, *at)]):
                off = np.abs(z[(b, slice(-4, None), *at)] - t[(b, slice(-4, None), *at)])
                sums[1:] += 0.2 * off[:2].sum(), 3 * off[2:].sum()
    assert task.loss(guess, truth).tolist() == pytest.approx(sums.tolist(), rel=1e-5)
    boxes = int((~np.isnan(t[:, -1])).sum())
    assert task.loss.normalizers(truth).tolist() == [centres, boxes, boxes] and centres >= boxes > 0


def test_detections_scores_may_have_another_size_than_the_target(make_task: Maker) -> None:
    truth = targets(make_task("detection"))
    loss = CenterNetLoss(0.1, 1.0)
    even = torch.full((4, CLASSES + 4, 18, 22), 0.3)
    assert torch.allclose(loss(even, truth), loss(even[..., :9, :11], truth))


@pytest.mark.parametrize("name", NAMES)
def test_following_the_gradient_lowers_the_loss(make_task: Maker, name: str) -> None:
    task = make_task(name)
    guess, truth = scores(task), targets(task)
    if name == "segmentation":  # the other data set's, which its own batches bring
        truth = torch.randint(4, truth.shape, dtype=torch.uint8)
    before = task.loss(guess, truth).sum()
    before.backward()
    assert guess.grad is not None
    after = task.loss(guess.detach() - 0.01 * guess.grad / guess.grad.abs().max(), truth).sum()
    assert after < before


@pytest.mark.parametrize("name", NAMES)
def test_a_task_reaches_worker_processes(make_task: Maker, name: str) -> None:
    task = make_task(name)
    again = pickle.loads(pickle.dumps(task))
    assert torch.equal(again.target(sample(), CLASSES).nan_to_num(), task.target(sample(), CLASSES).nan_to_num())


COUNTS = torch.tensor([[90, 10, 0], [100, 0, 0]])


@pytest.mark.parametrize("name", NAMES)
def test_data_that_can_feed_a_task_passes(make_task: Maker, name: str) -> None:
    make_task(name, **({"smallest": 10} if name == "detection" else {})).check(COUNTS, CLASSES)
    make_task(name).check_names(["s0", "s1", "other"])


@pytest.mark.parametrize(
    ("name", "counts", "said"),
    [
        ("boundary", [[100, 0], [0, 100]], "none of the 2 training images shows two classes, so none has a boundary"),
        ("distance", [[100, 0], [0, 100]], "none of the 2 training images shows two classes: no distance is below 1"),
        ("presence", [[100, 0], [70, 0]], "show one class only"),
        ("detection", [[100, 0], [999, 15]], "none of the 2 training images shows 16 pixels of a class with objects"),
    ],
)
def test_data_that_cannot_is_refused(make_task: Maker, name: str, counts: list[list[int]], said: str) -> None:
    with pytest.raises(RequestError, match=rf"^auxiliary={name}: .*{said}.* Leave it out of auxiliary=\[…\]\.$"):
        make_task(name).check(torch.tensor(counts), 2)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        *((name, "weight", -0.1) for name in NAMES),
        *(("boundary", option, value) for option, value in (("width", 0), ("pos_weight", 0.0))),
        *(("distance", option, 0.0) for option in ("reach", "beta")),
        *(("presence", option, 1.0) for option in ("void", "dropout")),
        *(("detection", option, value) for option, value in (("smallest", 0), ("size", -1.0), ("offset", -1.0))),
        ("reconstruction", "channels", 0),
        ("image_labels", "dropout", 1.0),
        ("image_labels", "label_smoothing", -0.1),
        ("segmentation", "batch_size", 0),
    ],
)
def test_options_out_of_range_are_refused_by_name(make_task: Maker, name: str, option: str, value: float) -> None:
    with pytest.raises(RequestError, match=rf"^auxiliary\.{name}\.{option}={value}: must be "):
        make_task(name, **{option: value})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["abc", None, [], float("nan"), 1e30])
def test_weights_that_are_no_sensible_number_are_refused(make_task: Maker, name: str, value: object) -> None:
    with pytest.raises(RequestError, match=rf"^auxiliary\.{name}\.weight=.*: must be a number"):
        make_task(name, weight=value)


def test_a_dataset_that_is_none_is_refused(make_task: Maker) -> None:
    with pytest.raises(RequestError, match=r"^auxiliary\.segmentation\.dataset=3: must be a Dataset"):
        make_task("segmentation", dataset=3)


def test_a_background_that_is_no_class_is_refused(make_task: Maker) -> None:
    with pytest.raises(RequestError, match=r"background=3: must be null, or a class below 3"):
        make_task("detection", background=3).check(COUNTS, CLASSES)
    with pytest.raises(RequestError, match=r"background=-1: must be a whole number of at least 0, or null"):
        make_task("detection", background=-1)
