"""`segrun plan` and `segrun train` refuse the same requests, in the same words, before anything is written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torchvision.models import mobilenet_v2

from segrun.commands import plan, train
from segrun.config.compose import compose
from segrun.errors import RequestError
from tests.conftest import QUICK

pytestmark = pytest.mark.slow  # two minutes; .ci/run includes it

# words → what the message says
WRONG: dict[str, str] = {
    # the run
    "resume=nowhere": r"nowhere.*no such checkpoint",
    "init_from=nowhere": r"nowhere.*no such checkpoint",
    "retry=true": r"retry=true: repeats the failed jobs of a sweep",
    "seed=-1": r"seed=-1: must be a whole number of at least 0",
    "seed=abc": r"seed=abc: must be a whole number",
    "seed=null": r"seed=null: must be a whole number",
    "test=maybe": r"test=maybe: must be true or false",
    "+foo=1": r"there is no key 'foo'",
    "term=[l2sp]": r"term is now regularizer",
    "rules.exchanged=off": r"rules\.exchanged is now rules\.swapped",
    "trainer.epocs=3": r"there is no key 'trainer\.epocs'.*trainer\.epochs",
    "strategy=finetun": r"strategy has no option 'finetun'.*finetune",
    # labels and splits
    "labels=0": r"labels=0: must be",
    "labels=1000000": r"labels=1000000: .*8 training images",
    "labels=many": r"labels=many: must be .*, or all",
    "labels=1.5": r"labels=1\.5: must be",
    "split.file=nowhere.json": r"split\.file=nowhere\.json",
    "split.train=nan": r"split\.train=nan: must be a number from 0 to 1",
    "split.folds=1": r"split\.folds=1: must be",
    "split.seed=-1": r"split\.seed=-1: must be",
    # classes and losses
    "loss.class_weights=[1,2]": r"class_weights: 2 numbers for 6 classes",
    "loss.class_weights=square": r"loss\.class_weights=square: must be one of inverse",
    "loss.label_smoothing=-1": r"loss\.label_smoothing=-1: must be",
    "loss=focal loss.gamma=inf": r"loss\.gamma=inf: must be",
    # weights
    "backbone.weights=nowhere.pth": r"backbone\.weights=nowhere\.pth",
    "backbone.weights=imagenett": r"imagenett.*imagenet",
    "backbone.min_loaded=2": r"backbone\.min_loaded=2: must be a number from 0 to 1",
    "backbone=resnet99": r"backbone has no option 'resnet99'",
    "backbone.model=mobilenet_v99": r"mobilenet_v99",
    # the model
    "head.channels=0": r"head\.channels=0: must be",
    "head.dropout=1": r"head\.dropout=1: must be a number of at least 0 and below 1",
    "+head.output_stride=-1": r"head\.output_stride: .*no such key",
    "+head.levels=3": r"head\.levels: is set by segrun",
    "head=unet head.channels=[8] ~head.dropout ~head.fuse": r"head\.channels=\[8\].*steps",
    "backbone=vgg11 backbone.weights=none dataset.size=8": r"8×8 pixels are too small",
    "head=deeplabv3plus head.channels=8 ~head.fuse trainer.batch_size=1": r"trainer\.batch_size=1: batch norm cannot",
    # the transfer
    "strategy=scratch trainer.save=delta": r"trainer\.save=delta keeps what differs",
    "strategy=scratch backbone.weights=imagenet": r"strategy=scratch starts from random weights",
    "strategy=scratch regularizer=[l2sp]": r"regularizer=l2sp: .*none were loaded",
    "strategy=feature_extraction freeze=none": r"strategy=feature_extraction .*freeze=backbone",
    "strategy=lp_ft freeze=none": r"freeze=head_first",
    "strategy=surgical freeze=none": r"freeze=surgical",
    "strategy=bitfit freeze=backbone": r"Use freeze=none",
    "strategy=lora strategy.where=[nothing*]": r"strategy\.where: 'nothing\*' matches no",
    "strategy=lora strategy.rank=0": r"strategy\.rank=0: must be",
    "strategy=adaptformer": r"strategy=adaptformer needs transformer blocks",
    "strategy=layer_decay strategy.decay=2": r"strategy\.decay=2: must be",
    "strategy.backbone_lr=0": r"strategy\.backbone_lr=0: must be",
    "strategy=finetune regularizer=[delta]": r"regularizer=delta .*Use freeze=head_first",
    "strategy=distill freeze=none": r"regularizer=distill .*Use freeze=head_first",
    "strategy=bss regularizer.bss.k=9": r"regularizer\.bss\.k=9: .*batch of 4",
    "strategy=l2sp regularizer.l2sp.alpha=-1": r"regularizer\.l2sp\.alpha=-1: must be",
    "freeze=gradual": r"freeze=gradual needs .*trainer\.epochs=2",
    "freeze=head_first freeze.epochs=5": r"freeze\.epochs=5: .*of the 2 epochs",
    "freeze=stages freeze.stages=99": r"freeze\.stages=99",
    "freeze=surgical freeze.block=12": r"freeze\.block=12",
    "freeze=surgical freeze.block=nothing": r"matches 'nothing'",
    # several tasks
    "balance=dwa": r"balance=dwa .*auxiliary=\[boundary\]",
    "strategy=feature_extraction auxiliary=[boundary]": r"auxiliary tasks help the mask",
    "auxiliary=[image_labels]": r"auxiliary\.image_labels\.file",
    "auxiliary=[image_labels] auxiliary.image_labels.file=nowhere.csv": r"nowhere\.csv",
    "auxiliary=[boundary] auxiliary.boundary.width=0": r"auxiliary\.boundary\.width=0: must be",
    "auxiliary=[segmentation] auxiliary.segmentation.dataset.root=nowhere": r"nowhere",
    # optimisation
    "optimizer.lr=-1": r"optimizer\.lr=-1: must be a number above 0",
    "optimizer.lr=nan": r"optimizer\.lr=nan: must be",
    "optimizer=sgd optimizer.momentum=1": r"optimizer\.momentum=1: must be",
    "schedule.warmup=-3": r"schedule\.warmup=-3: must be",
    "schedule.floor=7": r"schedule\.floor=7: must be a number from 0 to 1",
    "schedule=onecycle schedule.div=abc": r"schedule\.div=abc: must be",
    "trainer.epochs=0": r"trainer\.epochs=0: must be a whole number of at least 1",
    "trainer.steps=1": r"trainer\.steps=1: .*epoch",
    "trainer.clip=nan": r"trainer\.clip=nan: must be",
    "trainer.ema=1": r"trainer\.ema=1: must be",
    "trainer.monitor=iou": r"trainer\.monitor=iou: must be one of miou_present",
    "trainer.precision=half": r"trainer\.precision=half: must be one of auto",
    "trainer.device=tpu": r"trainer\.device=tpu: must be one of auto",
    "trainer.workers=-2": r"trainer\.workers=-2: must be a whole number of at least -1",
    # images
    "sizing=resize": r"sizing\.size has no value",
    "sizing=crop sizing.size=[0,5]": r"sizing\.size=\[0,5\]: must be a list",
    "sizing=crop sizing.size=[64]": r"sizing\.size=\[64\]: must be a list",
    "sizing.tile=8": r"sizing\.tile=8: must be a whole number of at least 32",
    "augment.stretch=nan": r"augment\.stretch=nan: must be",
    "augment.cutmix=1e30": r"augment\.cutmix=1e\+30: must be a number from 0 to 1",
    "augment.jpeg=[90,10]": r"augment\.jpeg=\[90, ?10\]",
    "rules.limits.empty=abc": r"rules\.limits\.empty=abc: must be",
    "rules.split=fatal": r"rules\.split=fatal: must be one of error",
    # data sets
    "dataset=camvid": r"dataset\.root has no value",
    "dataset.train=0": r"the data set has no train images",
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file for mobilenet_v2."""
    path = tmp_path_factory.mktemp("weights") / "pretrained.pth"
    torch.save(mobilenet_v2().state_dict(), path)
    return path


def refusals(words: list[str]) -> list[str]:
    """What `plan` and `train` say of a request that both refuse."""
    try:
        config = compose("train", words)
    except RequestError as error:
        return [str(error)] * 2  # both commands compose the same config
    messages = []
    for run in (plan.run, train.run):
        with pytest.raises(RequestError) as refused:
            run(config)
        messages.append(str(refused.value))
    return messages


@pytest.mark.parametrize("request_", WRONG)
def test_plan_and_train_refuse_alike_and_write_nothing(request_: str, weights: Path, elsewhere: Path) -> None:
    own = request_.split()
    groups = {word.partition("=")[0] for word in own if "." not in word.partition("=")[0]}
    # the quick settings without what the request replaces: keys of another head, data set or schedule
    quick = [word for word in QUICK if word.partition(".")[0].partition("=")[0] not in groups]
    pretrained = [] if "strategy=scratch" in own or "backbone" in groups else [f"backbone.weights={weights}"]
    words = [*quick, *pretrained, *(word for word in own if not word.startswith("~"))]
    before = sorted(path.name for path in elsewhere.iterdir())
    by_plan, by_train = refusals(words)
    assert by_plan == by_train
    assert re.search(WRONG[request_], by_plan), by_plan
    assert len(by_plan.splitlines()) <= 2
    assert sorted(path.name for path in elsewhere.iterdir() if path.name != "cache") == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["split.train=0.9", "split.val=0.9"], r"split\.train=0\.9 split\.val=0\.9"),
        (["split.groups=("], r"split\.groups=\(: "),
        (["split.groups=nowhere.csv"], r"split\.groups=nowhere\.csv"),
        (["dataset.classes=[a]"], r"1 classes"),
        (["dataset.root=nowhere"], r"nowhere"),
        (["augment.jpeg=[0,10]"], r"augment\.jpeg=\[0,10\]"),
    ],
)
def test_the_same_for_the_users_own_images(
    words: list[str], message: str, folder_data: Callable[..., Path], weights: Path
) -> None:
    folder_data()
    base = ["dataset=folder", "dataset.root=data", "dataset.classes=[background,square]", "head=fcn",
            f"backbone.weights={weights}"]  # fmt: skip
    by_plan, by_train = refusals([*base, *words])
    assert by_plan == by_train
    assert re.search(message, by_plan), by_plan


def test_plan_notes_a_device_that_this_machine_lacks(
    weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    words = [*QUICK, f"backbone.weights={weights}", "trainer.device=cuda"]
    plan.run(compose("train", words))
    assert "this machine cannot train it: device=cuda: torch sees no CUDA device" in capsys.readouterr().out
    with pytest.raises(RequestError, match="torch sees no CUDA device"):
        train.run(compose("train", words))


def test_plan_needs_neither_weights_nor_network(capsys: pytest.CaptureFixture[str], elsewhere: Path) -> None:
    plan.run(compose("train", QUICK))
    assert "100% expected" in capsys.readouterr().out
    assert not (elsewhere / "hub").exists()
    with pytest.raises(RequestError, match="the pretrained weights"):  # what a file holds is only known to train
        train.run(compose("train", QUICK))
