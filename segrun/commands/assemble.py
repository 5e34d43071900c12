"""Objects out of a config, as every command needs them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from segrun import config
from segrun.data.dataset import Dataset
from segrun.data.sizing import Sizing
from segrun.data.splits import disjoint
from segrun.engine.checkpoint import Checkpoint
from segrun.engine.device import autocast, memory_layout
from segrun.engine.inference import Inference
from segrun.errors import RequestError
from segrun.models.segmenter import Segmenter
from segrun.tasks.losses import Loss
from segrun.tasks.task import Task
from segrun.transfer.plan import Plan

Trust = Sequence[str] | None  # None: the config is the user's own


def dataset(values: Mapping[str, Any], trust: Trust = None) -> Dataset:
    data = config.build(values.get("dataset"), "dataset", trust=trust)
    assert isinstance(data, Dataset)
    disjoint(data.splits)
    return data


def sizing(values: Mapping[str, Any], **changed: Any) -> Sizing:
    """The config's sizing; `changed` overrides what is not None."""
    given = {**values["sizing"], **{key: value for key, value in changed.items() if value is not None}}
    return Sizing(**{**given, "size": given["size"] and tuple(given["size"])})


def segmenter(values: Mapping[str, Any], classes: int, channels: int = 3, trust: Trust = None) -> Segmenter:
    """The model for images of so many channels, with its pretrained weights.

    Raises:
        RequestError: the backbone is for other images, or lacks a map that the head needs.
    """
    wanted, asked = dict(values.get("backbone") or {}), dict(values.get("head") or {})
    if wanted.get("in_channels", channels) not in (None, channels):
        raise RequestError(f"backbone.in_channels={wanted['in_channels']}: the images have {channels} channels.")
    if "in_channels" in wanted:
        wanted["in_channels"] = channels
    backbone = config.build(wanted, "backbone", trust=trust)
    if len(backbone.mean) != channels:
        raise RequestError(f"backbone: takes images of {len(backbone.mean)} channels, the data set's have {channels}.")
    stride = asked.pop("output_stride", None)
    if stride is not None and wanted.get("output_stride") is None:
        with contextlib.suppress(RequestError):  # only asked for: heads work at other strides, too
            backbone.dilate(stride)
    head = config.build(asked, "head", trust=trust, levels=backbone.levels, outputs=classes)
    backbone.only(getattr(head, "reads", range(len(backbone.levels))))
    return Segmenter(backbone, {"mask": head})


def trained_segmenter(checkpoint: Checkpoint, trust: Trust) -> Segmenter:
    """The checkpoint's model with its weights.

    Raises:
        RequestError: foreign code, or weights that do not fit the model its config describes.
    """
    values = {**checkpoint.config, "backbone": {**checkpoint.config["backbone"], "weights": "none"}}
    model = segmenter(values, len(checkpoint.classes), checkpoint.weights["mean"].numel(), trust)
    try:
        model.load_state_dict(dict(checkpoint.weights))
    except RuntimeError as error:
        raise RequestError(f"the checkpoint's weights do not fit its config ({str(error).splitlines()[0]}).") from error
    return model


def inference(
    checkpoint: Checkpoint, device: torch.device, trust: Sequence[str], options: Mapping[str, Any]
) -> Inference:
    """The checkpoint's model, ready to score images; `options` may hold precision, tile and overlap."""
    layout = memory_layout(checkpoint.config["trainer"]["channels_last"], device.type == "cuda")
    model = trained_segmenter(checkpoint, trust).eval()
    model.to(device, memory_format=layout)  # type: ignore[call-overload]
    fitted = sizing(checkpoint.config, tile=options.get("tile"), overlap=options.get("overlap"))
    return Inference(model, fitted, device, partial(autocast, device, options.get("precision", "auto")), layout)


def task(values: Mapping[str, Any], trust: Trust = None) -> Task:
    loss = config.build(values.get("loss"), "loss", trust=trust)
    assert isinstance(loss, Loss)
    return Task("mask", loss)


def plan(values: Mapping[str, Any], model: Segmenter, trust: Trust = None) -> Plan:
    """The checked plan of the config's strategy and freeze schedule for this model."""
    strategy = config.build(values.get("strategy"), "strategy", trust=trust)
    freeze = config.build(values.get("freeze"), "freeze", trust=trust)
    parts = model.parts()
    made: Plan = strategy.plan(parts, freeze, values["trainer"]["epochs"])
    return made.check(parts)
