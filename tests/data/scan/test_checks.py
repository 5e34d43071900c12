"""Each rule finds what it is for, names it, and is silent otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from segrun.cli import COMMANDS
from segrun.config.build import to_dataclass
from segrun.config.compose import compose
from segrun.config.help import explain
from segrun.data.dataset import Dataset
from segrun.data.scan.checks import RULES, check_before_training, run_rules
from segrun.data.scan.findings import Finding
from segrun.data.scan.scan import scan_all
from segrun.data.scan.settings import Rules
from segrun.data.sizing import Sizing
from segrun.errors import DataError, RequestError
from segrun.types import VOID, ClassMap

Samples = dict[str, tuple[np.ndarray, np.ndarray]]


class Held(Dataset):
    """Images and masks in memory; the split is what stands before the number in their names."""

    def __init__(self, samples: Mapping[str, tuple[np.ndarray, np.ndarray]], classes: int = 3) -> None:
        self.samples = samples
        self.classes = ClassMap.of([f"class {index}" for index in range(classes)])
        self.names = tuple(samples)
        self.splits = {key: [name for name in samples if name.startswith(key)] for key in ("train", "val", "test")}

    def image(self, name: str) -> Tensor:
        return torch.from_numpy(self.samples[name][0])

    def mask(self, name: str) -> Tensor:
        return torch.from_numpy(self.samples[name][1])


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Uneven light, and side by side a rectangle of each of two classes."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 100, (5, 6, 3), dtype=np.uint8))
    light = np.asarray(coarse.resize((112, 96), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    mask = np.zeros((96, 112), np.uint8)
    top, left = rng.integers(0, 64), rng.integers(0, 60)
    mask[top : top + 32, left : left + 26], mask[top : top + 32, left + 26 : left + 52] = 1, 2
    return (light.astype(int) + rng.integers(0, 9, light.shape) + 60 * mask).clip(0, 255).astype(np.uint8), mask


def sound() -> Samples:
    return {
        f"{split}{index:02}": drawn(100 * len(split) + index)
        for split in ("train", "val", "test")
        for index in range(8)
    }


def rules(*words: str) -> Rules:
    return to_dataclass(compose("check", list(words))["rules"], Rules, "rules")


@pytest.fixture(scope="module")
def default() -> Rules:
    return rules()


def findings_by_rule(data: Held, by: Rules, sizing: Sizing | None = None) -> dict[str, Finding]:
    findings = run_rules(data, scan_all(data, data.names), data.splits, by, sizing)
    assert len({finding.rule for finding in findings}) == len(findings)
    return {finding.rule: finding for finding in findings}


def test_nothing_is_found_in_a_sound_data_set(default: Rules) -> None:
    assert findings_by_rule(Held(sound()), default, Sizing("keep", None)) == {}


def test_every_rule_has_a_severity_and_every_severity_a_rule(default: Rules) -> None:
    assert set(RULES) == set(default.severities) - {"split"}


def spoilt(rule: str) -> tuple[Samples, set[str], str]:
    """Samples in which `rule` finds these names, and a part of its text."""
    samples = sound()
    image, mask = samples["train02"]
    if rule == "size":
        samples["train02"] = (image, mask[:-1].copy())
        return samples, {"train02"}, "the image is 112×96, its mask 112×95"
    if rule == "mismatched":
        samples["train02"], samples["train03"] = (image, samples["train03"][1]), (samples["train03"][0], mask)
        return samples, {"train02", "train03"}, "do not lie on the image's"
    if rule == "blank":
        samples["val01"] = (np.full_like(image, 7), mask)
        return samples, {"val01"}, "single colour: val01"
    if rule == "one_value":
        samples["train02"] = (image, np.full_like(mask, 2))
        return samples, {"train02"}, "'class 2' throughout: train02"
    if rule == "void_masks":
        samples["train02"] = (image, np.full_like(mask, VOID))
        return samples, {"train02"}, "without a single label"
    if rule == "copies_between":
        samples["test02"] = samples["train02"]
        return samples, {"train02", "test02"}, "1 image in several splits as exact copies: train02 = test02"
    if rule == "copies_within":
        samples["train03"] = samples["train02"]
        return samples, {"train02", "train03"}, "train02 = train03"
    if rule == "contradictory":
        samples["train03"] = (image, np.roll(mask, 1, axis=1))
        return samples, {"train02", "train03"}, "labelled differently: train02 = train03"
    if rule == "near_between":
        samples["val02"] = (image // 2 + 30, mask)
        return samples, {"train02", "val02"}, "1 pairs of images in two splits look alike: train02 ~ val02"
    assert rule == "tiny"
    for name, (image, mask) in samples.items():
        thin = np.zeros_like(mask)
        thin[:, 4::16] = 1
        samples[name] = (
            (image // 2 + 90 * thin).astype(np.uint8),
            np.maximum(thin, 2 * (mask == 2).astype(np.uint8)),
        )
    return samples, set(), "'class 1': at output stride 16, with one class per cell, 0% of its pixels remain"


@pytest.mark.parametrize(
    "rule",
    ["size", "mismatched", "blank", "one_value", "void_masks", "copies_between", "copies_within", "contradictory",
     "near_between", "tiny"],
)  # fmt: skip
def test_each_kind_of_damage_is_named(rule: str, default: Rules) -> None:
    samples, names, text = spoilt(rule)
    data = Held(samples)
    finding = findings_by_rule(data, default)[rule]
    assert set(finding.names) == names and text in finding.text
    off = dataclasses.replace(default, **{rule: "off"})
    assert rule not in findings_by_rule(data, off)


def relabelled(samples: Samples, split: str, old: int, new: int, but: tuple[str, ...] = ()) -> Samples:
    def changed(mask: np.ndarray) -> np.ndarray:
        return np.where(mask == old, new, mask).astype(np.uint8)

    return {n: (i, changed(m) if n.startswith(split) and n not in but else m) for n, (i, m) in samples.items()}


@pytest.mark.parametrize(
    ("rule", "samples", "text"),
    [
        ("not_in_train", relabelled(sound(), "train", 2, 1), "train shows nothing of class 2"),
        ("missing", relabelled(sound(), "val", 2, 0), "val shows nothing of class 2"),
        ("class_absent", relabelled(sound(), "", 2, 1), "without a single pixel: class 2"),
        ("rare", relabelled(sound(), "train", 2, 1, ("train01",)), "fewer than 3 training images: class 2"),
        ("ignored", relabelled(sound(), "", 0, VOID), "% of all pixels have no label"),
    ],
)
def test_classes_are_judged_split_by_split(rule: str, samples: Samples, text: str, default: Rules) -> None:
    assert text in findings_by_rule(Held(samples), default)[rule].text


def test_grey_among_colour_is_told_with_counts(default: Rules) -> None:
    samples = sound()
    samples["val01"] = (np.repeat(samples["val01"][0][:1], 3, axis=0), samples["val01"][1])
    assert "23 colour, 1 grey" in findings_by_rule(Held(samples), default)["modes"].text


def test_empty_masks_are_legal_until_they_are_most(default: Rules) -> None:
    samples = sound()
    for name in list(samples)[:12]:
        samples[name] = (samples[name][0], np.zeros_like(samples[name][1]))
    assert "one_value" not in findings_by_rule(Held(samples), default)
    samples["test07"] = (samples["test07"][0], np.zeros((96, 112), np.uint8))
    assert len(findings_by_rule(Held(samples), default)["one_value"].names) == 13


@pytest.mark.parametrize(
    ("sizing", "text"),
    [
        (Sizing("keep", None), "2 sizes"),
        (Sizing("pad", (90, 120)), "24 images larger"),
        (Sizing("crop", (32, 32)), None),
    ],
)
def test_sizes_are_judged_by_what_sizing_would_refuse(sizing: Sizing, text: str | None, default: Rules) -> None:
    samples = sound()
    samples["train01"] = tuple(part[..., :-4].copy() for part in samples["train01"])  # type: ignore[assignment]
    finding = findings_by_rule(Held(samples), default, sizing).get("sizes")
    assert finding is None if text is None else finding is not None and text in finding.text


def test_before_a_training_every_error_stops_it_unless_the_help_says_otherwise(default: Rules) -> None:
    samples = sound()
    samples["train01"] = (np.full_like(samples["train01"][0], 7), samples["train01"][1])
    data = Held(relabelled(samples, "train", 2, 1))
    scan = scan_all(data, data.names)
    noted = {line.rpartition("[")[2]: line for line in check_before_training(data, scan, data.splits, default)}
    assert default.not_in_train == "error" and "train shows nothing of class 2" in noted["not_in_train]"]
    assert "blank]" in noted
    strict = dataclasses.replace(default, blank="error")
    with pytest.raises(DataError) as stopped:
        check_before_training(data, scan, data.splits, strict)
    assert str(stopped.value) == (
        "1 image of a single colour: train01.\n"
        "Correct the data (segrun check shows it), or continue with rules.blank=warn."
    )
    text = explain("check", COMMANDS["check"])
    assert "rules.not_in_train=error " in text and "does not show; segrun train does not stop, it notes them" in text


def test_before_a_training_copies_stop_it_and_lesser_things_are_a_line(default: Rules) -> None:
    samples, _, _ = spoilt("copies_between")
    data = Held(samples)
    scan = scan_all(data, data.names)
    with pytest.raises(DataError, match=r"(?s)train02 = test02\..*rules\.copies_between=warn"):
        check_before_training(data, scan, data.splits, default)
    lines = check_before_training(data, scan, data.splits, dataclasses.replace(default, copies_between="warn"))
    assert len(lines) == 1 and lines[0].endswith("[copies_between]")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("rules.blank=maybe", r"rules\.blank=maybe: must be one of error, warn, off"),
        ("rules.limits.stride=12", r"rules\.limits\.stride=12: must be one of 4, 8, 16, 32"),
        ("rules.limits.distance=40", r"rules\.limits\.distance=40: must be .* from 0 to 15"),
    ],
)
def test_a_wrong_rule_is_refused(word: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        rules(word)
