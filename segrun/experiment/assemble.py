"""Objects out of a config, as every command needs them."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segrun.config.build import build
from segrun.config.compose import compose, option_names, to_dict
from segrun.data.dataset import Dataset
from segrun.data.sizing import Sizing
from segrun.data.split.splits import disjoint
from segrun.errors import RequestError, join_names
from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import LacksLevel
from segrun.models.segmenter import Segmenter
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.losses import Loss
from segrun.tasks.task import Task
from segrun.transfer.plan import Plan
from segrun.transfer.strategies.finetune import Strategy

Trust = Sequence[str] | None  # None: the config is the user's own


def dataset(values: Mapping[str, Any], trust: Trust = None) -> Dataset:
    data = build(values.get("dataset"), "dataset", trust=trust)
    assert isinstance(data, Dataset)
    data.check()
    disjoint(data.splits)
    return data


def data_word(values: Mapping[str, Any]) -> str:
    """The data set in the name of a folder: of one's own images, the name of their root."""
    root, chosen = values["dataset"].get("root"), values["names"].get("dataset")
    return word(Path(root).expanduser().resolve().name if root and chosen == "folder" else chosen)


def word(chosen: str | None) -> str:
    """What was chosen in a group, as part of a folder's name."""
    return re.sub(r"[^\w.-]+", "-", str(chosen or "own"))


def sizing(values: Mapping[str, Any], **changed: Any) -> Sizing:
    """The config's sizing; `changed` overrides what is not None."""
    given = {**values["sizing"], **{key: value for key, value in changed.items() if value is not None}}
    return Sizing(**{**given, "size": given["size"] and tuple(given["size"])})


def segmenter(
    values: Mapping[str, Any],
    classes: int,
    channels: int = 3,
    trust: Trust = None,
    auxiliary: Mapping[str, Auxiliary] | None = None,
) -> Segmenter:
    """The model for images of so many channels, with its pretrained weights, a head for the mask and one for each
    auxiliary task.

    Raises:
        RequestError: the backbone is for other images, or lacks a map that the head needs.
    """
    wanted, asked = dict(values.get("backbone") or {}), values.get("head") or {}
    if wanted.get("in_channels", channels) not in (None, channels):
        raise RequestError(f"backbone.in_channels={wanted['in_channels']}: the images have {channels} channels.")
    if "in_channels" in wanted:
        wanted["in_channels"] = channels
    backbone = build(wanted, "backbone", trust=trust)
    if len(backbone.mean) != channels:
        raise RequestError(f"backbone: takes images of {len(backbone.mean)} channels, the data set's have {channels}.")
    stride = asked.get("output_stride")
    if stride is not None and wanted.get("output_stride") is None:
        with contextlib.suppress(RequestError):  # only asked for: heads work at other strides, too
            backbone.dilate(stride)
    try:
        made = head(values, backbone.levels, classes, trust)
    except LacksLevel as error:
        fit = (name for name, why in fitting(backbone.levels).items() if why is None)
        raise RequestError(f"{error} Heads that fit it: {join_names(fit, 20)}.") from error
    heads = {"mask": made}
    for name, other in (auxiliary or {}).items():
        heads[name] = other.head(backbone.levels, classes)
    backbone.keep_levels(
        {place for one in heads.values() for place in getattr(one, "levels_used", range(len(backbone.levels)))}
    )
    return Segmenter(backbone, heads)


def head(values: Mapping[str, Any], levels: Sequence[Level], outputs: int, trust: Trust = None) -> nn.Module:
    asked = {key: value for key, value in values["head"].items() if key != "output_stride"}
    made: nn.Module = build(asked, "head", trust=trust, levels=levels, outputs=outputs)
    return made


def fitting(levels: Sequence[Level]) -> dict[str, str | None]:
    """Every shipped head → None, or why it does not fit these levels."""
    found: dict[str, str | None] = {}
    for name in option_names("head"):
        try:
            with torch.device("meta"):
                head(described(name), levels, 2)
        except LacksLevel as error:
            found[name] = str(error)
        else:
            found[name] = None
    return found


@functools.cache
def described(head: str) -> dict[str, Any]:
    values: dict[str, Any] = to_dict(compose("describe", [f"head={head}", "backbone.weights=none"]))
    return values


def task(values: Mapping[str, Any], trust: Trust = None) -> Task:
    loss = build(values.get("loss"), "loss", trust=trust)
    assert isinstance(loss, Loss)
    return Task("mask", loss)


def auxiliary(values: Mapping[str, Any], labels: Mapping[str, str], trust: Trust = None) -> dict[str, Auxiliary]:
    """The auxiliary tasks by name. labels: of whole images, that the data set brings."""
    made: dict[str, Auxiliary] = _listed(values, "auxiliary", trust)
    for task in made.values():
        task.meet(labels)
    return made


def tasks(values: Mapping[str, Any], others: Mapping[str, Auxiliary], trust: Trust = None) -> list[Task]:
    """All tasks, the mask first."""
    beside = [Task(name, a.loss, a.weight, primary=False, regression=a.regression) for name, a in others.items()]
    return [task(values, trust), *beside]


def strategy(values: Mapping[str, Any], trust: Trust = None) -> Strategy:
    made = build(values.get("strategy"), "strategy", trust=trust)
    assert isinstance(made, Strategy)
    return made


def plan(values: Mapping[str, Any], model: Segmenter, by: Strategy | None = None, trust: Trust = None) -> Plan:
    """The checked plan of the config's strategy, freeze schedule and terms for this model, which has been adapted.

    by: the strategy that has adapted it, else made anew.

    Raises:
        RequestError: they contradict each other or the model.
    """
    freeze = build(values.get("freeze"), "freeze", trust=trust)
    parts = model.parts()
    made = (by or strategy(values, trust)).plan(parts, freeze, values["trainer"]["epochs"])
    terms = tuple(_listed(values, "regularizer", trust).values())
    made = made.with_regularizers(terms, parts, values["trainer"]["batch_size"]).check(parts)
    shared = any(name in phase.learn for phase in made.phases for name in parts if not name.startswith("head."))
    if len(model.heads) > 1 and not shared:
        raise RequestError(
            "auxiliary tasks help the mask through the layers that they share with it, and none of these learns in "
            "this plan: nothing is to be balanced. Leave out auxiliary=[…], or let the backbone learn."
        )
    return made


def _listed(values: Mapping[str, Any], group: str, trust: Trust) -> dict[str, Any]:
    asked = values.get(group) or {}
    return {name: build(asked[name], f"{group}.{name}", trust=trust) for name in asked}
