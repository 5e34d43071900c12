"""PASCAL VOC 2012 and SBD: masks pixel by pixel, train_aug, and a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import SBDataset, VOCSegmentation
from torchvision.models.segmentation import FCN_ResNet50_Weights

import segrun
from segrun.data.sets.sbd import SBD
from segrun.data.sets.voc import VOC
from segrun.errors import DataError, RequestError
from segrun.types import VOID
from tests.conftest import QUICK
from tests.data.sets import layouts


def test_voc_masks_hold_the_indices_of_the_file() -> None:
    data = VOC(str(layouts.voc()), download=False)
    assert data.splits == {"train": ("a", "b"), "val": ("c",)} and data.names == ("a", "b", "c")
    assert data.mask("a").tolist() == [[15, 0, 0, 0, 0], [0, 0, 20, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, VOID]]
    assert data.mask("a").dtype == torch.uint8
    assert any("chooses the epoch" in note for note in data.notes)


@pytest.mark.parametrize("name", ["../../../secret", "/tmp/secret", "..\\secret"])
def test_a_list_that_leads_out_of_the_folders_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"VOC2012: val names .*secret, outside its folders\. Correct the list"):
        layouts.lists(layouts.voc() / "VOCdevkit/VOC2012/ImageSets/Segmentation", val=[name])
        VOC("voc", download=False)
    with pytest.raises(DataError, match=r"sbd: train names .*secret, outside its folders"):
        layouts.lists(layouts.sbd(), train=[name])
        SBD("sbd", None, download=False)


def test_voc_reads_what_torchvision_reads() -> None:
    root = layouts.voc()
    data, official = VOC(str(root), download=False), VOCSegmentation(root, image_set="train")
    for name, (image, mask) in zip(data.splits["train"], official, strict=True):
        assert np.array_equal(data.image(name).permute(1, 2, 0), image)
        assert np.array_equal(data.mask(name), mask)


def test_voc_classes_and_colours_are_the_official_ones() -> None:
    _, *categories = FCN_ResNet50_Weights.DEFAULT.meta["categories"]
    assert VOC.classes.names == ("background", *categories)
    assert VOC.classes.palette[15] == (192, 128, 128) and VOC.classes.palette[20] == (0, 64, 128)


@pytest.mark.parametrize("inner", ["VOCdevkit", "VOCdevkit/VOC2012"])
def test_the_root_may_be_the_folder_itself(inner: str) -> None:
    assert len(VOC(str(layouts.voc() / inner), download=False).names) == 3


def test_a_value_beyond_the_classes_is_refused() -> None:
    data = VOC(str(layouts.voc()), download=False)
    layouts.put(data.pairs["a"][1], layouts.filled(0, p01=21, p02=21))
    with pytest.raises(DataError, match=r"a\.png: values .*: 21 \(2 pixels\); it uses 0 to 20"):
        data.mask("a")


def test_sbd_alone_keeps_its_own_splits_and_warns_of_vocs_val() -> None:
    data = SBD(str(layouts.sbd()), None, download=False)
    assert data.splits == {"train": ("a", "c", "d"), "val": ("e",)}
    assert data.mask("d").tolist() == layouts.filled(0, p11=7).tolist()
    assert np.array_equal(data.mask("a"), SBDataset("sbd", mode="segmentation")[0][1])
    assert any("do not score a model there" in note for note in data.notes)


def test_sbd_with_voc_is_train_aug_and_vocs_val() -> None:
    data = SBD(str(layouts.sbd()), str(layouts.voc()), download=False)
    # VOC's c is in SBD's train, and for val alone; b is VOC's only; a is in both and read from VOC, with its void
    assert data.splits == {"train": ("a", "b", "d", "e"), "val": ("c",)}
    assert data.names == ("a", "b", "d", "e", "c")
    assert data.mask("a")[3, 4] == VOID and data.mask("c")[0, 0] == 15
    assert data.mask("e").tolist() == layouts.filled(0, p11=7).tolist()


def test_what_is_wrong_with_voc_is_wrong_with_train_aug() -> None:
    root = layouts.voc()
    (root / "VOCdevkit/VOC2012/JPEGImages/b.jpg").unlink()
    data = SBD(str(layouts.sbd()), str(root), download=False)
    assert len(data.problems) == 1 and "JPEGImages/b.jpg" in data.problems[0]
    with pytest.raises(RequestError, match=r"dataset\.voc=nowhere: there is no such folder"):
        SBD("sbd", "nowhere", download=False)


def test_the_unpacked_release_is_found() -> None:
    layouts.sbd("release/benchmark_RELEASE/dataset")
    assert len(SBD("release", None, download=False).names) == 4


def test_a_file_that_is_no_label_is_refused() -> None:
    data = SBD(str(layouts.sbd()), None, download=False)
    data.pairs["a"][1].write_bytes(b"no MATLAB file")
    with pytest.raises(DataError, match=r"a\.mat: cannot be read as an SBD label"):
        data.mask("a")


def test_it_trains_on_voc() -> None:
    words = [word for word in QUICK if not word.startswith("dataset.")]
    root = layouts.voc(train=[f"t{index}" for index in range(4)], val=["v0", "v1"])
    words += ["dataset=voc", f"dataset.root={root}", "strategy=scratch", "sizing=resize", "sizing.size=[32,32]"]
    result = segrun.train([*words, "trainer.epochs=1"])
    assert set(result.val["per_class"]) <= set(VOC.classes.names) and result.test is None
    assert (Path(result.folder) / "best.ckpt").is_file()
