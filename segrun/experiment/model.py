"""Models: to begin a training with, and out of checkpoints."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from segrun.checkpoints import checkpoint as checkpoints
from segrun.checkpoints import delta
from segrun.checkpoints.checkpoint import Checkpoint
from segrun.config.build import Trust
from segrun.config.legacy import translate
from segrun.device import autocast, memory_layout
from segrun.errors import RequestError, join_names
from segrun.experiment.experiment import Experiment, ModelSettings, sizing_of, strategy_of
from segrun.experiment.fitting_heads import fitting_heads
from segrun.inference.inference import Inference
from segrun.models.backbones.backbone import Weightless
from segrun.models.heads.head import Head
from segrun.models.heads.levels import LacksLevel
from segrun.models.segmenter import Segmenter
from segrun.models.warm_start import start_from
from segrun.models.weights.report import LoadReport
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.transfer.strategies.strategy import Strategy
from segrun.types import ClassMap

Auxiliaries = Mapping[str, Auxiliary]


def new_model(
    settings: ModelSettings, classes: int, channels: int = 3, auxiliary: Auxiliaries | None = None
) -> Segmenter:
    """A model with its pretrained weights, a new head for the mask and one for each auxiliary task.

    Args:
        settings: Backbone and head.
        classes: Of the mask.
        channels: Of the images.
        auxiliary: The auxiliary tasks by name.

    Raises:
        RequestError: The backbone is for images of other channels, or lacks a feature map that the head needs.
    """
    backbone = settings.backbone(in_channels=channels)
    if len(backbone.mean) != channels:
        raise RequestError(
            f"backbone: takes images of {len(backbone.mean)} channels, those of the data set have {channels}."
        )
    stride = settings.head.settings.get("output_stride")
    if stride is not None and settings.backbone.settings.get("output_stride") is None:
        with contextlib.suppress(RequestError):  # the head would like it, and works at other strides, too
            backbone.dilate(stride)
    try:
        heads: dict[str, Head] = {"mask": settings.head(levels=backbone.levels, outputs=classes)}
    except LacksLevel as error:
        raise RequestError(f"{error} Heads that fit it: {join_names(fitting_heads(backbone.levels), 20)}.") from error
    for name, task in (auxiliary or {}).items():
        heads[name] = task.head(backbone.levels, classes)
    backbone.keep_levels({index for head in heads.values() for index in head.levels_used})
    return Segmenter(backbone, heads)


def initial_model(
    settings: ModelSettings,
    init_from: str | None,
    trusted: Sequence[str],
    classes: ClassMap,
    channels: int,
    auxiliary: Auxiliaries | None = None,
) -> Segmenter:
    """The model that a training starts from: a pretrained backbone and new heads, or what fits of `init_from`.

    Args:
        settings: Backbone and head.
        init_from: A run folder or checkpoint.
        trusted: Modules that its config may name.
        classes: Of the mask.
        channels: Of the images.
        auxiliary: The auxiliary tasks by name.

    Raises:
        RequestError: As `new_model`, or `init_from` is no checkpoint that can be used.
    """
    if init_from is None:
        return new_model(settings, len(classes), channels, auxiliary)
    origin = checkpoints.read(init_from)
    settings = settings.without_weights()
    model = new_model(settings, len(classes), channels, auxiliary)
    head = settings.head.cls
    model.report = start_from(
        model,
        _plain_weights(origin, trusted),
        init_from,
        float(settings.backbone.settings.get("min_loaded", 0.9)),
        classes.names,
        origin.classes.names,
        _class_axes(settings, model),
        translate(origin.config)["head"].get("_target_") == f"{head.__module__}.{head.__qualname__}",
    )
    return model


def adapted_model(
    experiment: Experiment,
    classes: ClassMap,
    channels: int,
    auxiliary: Auxiliaries,
    resume: Checkpoint | None = None,
) -> tuple[Segmenter, list[str]]:
    """The initial model with what the strategy inserts, or the model as it was saved; and notes for the user."""
    if resume is None:
        model = initial_model(experiment.model, experiment.init_from, experiment.trusted, classes, channels, auxiliary)
        return model, experiment.strategy.adapt(model)
    model = restored_model(resume, experiment.trust, auxiliary)
    model.report = LoadReport(**(resume.training or {})["report"])
    return model, []


def planned_model(
    experiment: Experiment, classes: ClassMap, channels: int, auxiliary: Auxiliaries
) -> tuple[Segmenter, list[str]]:
    """`adapted_model` without storage: shapes and names only; its report says which weights are expected.

    `init_from` is read all the same: it is a file of the user's, and what fits of it depends on its content.
    """
    if experiment.init_from is not None:
        model, notes = adapted_model(experiment, classes, channels, auxiliary)
        return model.to("meta"), notes
    with Weightless():
        model = new_model(experiment.model, len(classes), channels, auxiliary).to("meta")
        return model, experiment.strategy.adapt(model)


def restored_model(
    checkpoint: Checkpoint, trust: Trust, auxiliary: Auxiliaries | None = None, merge: bool = True
) -> Segmenter:
    """The model of a checkpoint with its weights.

    Args:
        checkpoint: Of a run.
        trust: Modules that its config may name.
        auxiliary: Tasks whose heads are restored, too.
        merge: Merge the adapters of a delta checkpoint, which holds them apart.

    Raises:
        RequestError: The config names foreign code, or the weights do not fit the model that it describes.
    """
    values = translate(checkpoint.config)
    strategy = strategy_of(values, trust)
    settings = ModelSettings.from_config(values, trust)
    if checkpoint.base is not None:
        return _completed(checkpoint, settings, strategy, values.get("init_from"), trust, merge)
    channels = checkpoint.weights["mean"].numel()
    model = new_model(settings.without_weights(), len(checkpoint.classes), channels, auxiliary)
    weights = checkpoint.weights if auxiliary else _without_auxiliary(checkpoint, model)
    if weights.keys() - model.state_dict().keys():
        strategy.adapt(model)
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise RequestError(f"the checkpoint's weights do not fit its config ({str(error).splitlines()[0]}).") from error
    return model


def inference_of(
    checkpoint: Checkpoint,
    device: torch.device,
    trust: Trust,
    precision: str = "auto",
    tile: int | None = None,
    overlap: float | None = None,
) -> Inference:
    """The checkpoint's model, ready to score images.

    Args:
        checkpoint: Of a run.
        device: Where to compute.
        trust: Modules that its config may name.
        precision: See conf/predict.yaml.
        tile: Side of the sliding window in pixels; None: as in training.
        overlap: Share by which windows overlap; None: as in training.
    """
    values = translate(checkpoint.config)
    layout = memory_layout(values["trainer"]["channels_last"], device.type == "cuda")
    model = restored_model(checkpoint, trust).eval()
    model.to(device, memory_format=layout)  # type: ignore[call-overload]
    windows = {key: value for key, value in (("tile", tile), ("overlap", overlap)) if value is not None}
    sizing = replace(sizing_of(values), **windows)  # type: ignore[arg-type]
    return Inference(model, sizing, device, partial(autocast, device, precision), layout)


def _class_axes(settings: ModelSettings, model: Segmenter) -> dict[str, int]:
    """The mask head's tensors that have an entry for each class, and the axis of it: what grows with the classes."""
    with torch.device("meta"):
        levels = model.backbone.levels
        few, more = (settings.head(levels=levels, outputs=outputs).state_dict() for outputs in (2, 3))
    return {
        f"mask.{name}": next(axis for axis in range(value.ndim) if value.shape[axis] != more[name].shape[axis])
        for name, value in few.items()
        if value.shape != more[name].shape
    }


def _without_auxiliary(checkpoint: Checkpoint, model: Segmenter) -> Mapping[str, Tensor]:
    """The weights without auxiliary heads, and without what only those read of a ViT's pyramid."""
    heads = [f"heads.{name}." for name in checkpoint.config.get("auxiliary") or {}]
    new = [f"backbone.{path}." for paths in model.backbone.fresh.values() for path in paths]
    own = model.state_dict()
    return {n: v for n, v in checkpoint.weights.items() if n in own or not n.startswith((*heads, *new))}


def _plain_weights(origin: Checkpoint, trusted: Sequence[str]) -> Mapping[str, Tensor]:
    """The weights of a model without adapters.

    Raises:
        RequestError: Its adapters cannot be merged.
    """
    adapted = any(".parametrizations." in name or ".adapter." in name for name in origin.weights)
    if origin.base is None and not adapted:
        return origin.weights
    model = restored_model(origin, trusted)
    strategy_of(translate(origin.config), trusted).export(model)
    if adapters := [p.name for p in model.parts().parameters if p.kind == "adapter"]:
        raise RequestError(
            f"init_from: that model has adapters ({join_names(adapters, 2)}) that cannot be merged into its weights. "
            "Start from another model, or continue the run itself: resume=<run folder>."
        )
    return model.state_dict()


def _completed(
    checkpoint: Checkpoint,
    settings: ModelSettings,
    strategy: Strategy,
    init_from: str | None,
    trust: Trust,
    merge: bool,
) -> Segmenter:
    """The model of a checkpoint that holds only what differs from the pretrained weights, which are loaded again."""
    channels = checkpoint.weights["mean"].numel()
    model = initial_model(settings, init_from, trust or (), checkpoint.classes, channels)
    loaded = model.report.matched
    strategy.adapt(model)
    delta.load_delta(model, checkpoint.weights, str(checkpoint.base), loaded)
    if merge:
        strategy.export(model)
    return model
