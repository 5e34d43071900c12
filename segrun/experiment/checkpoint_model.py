"""Models that begin with the weights of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from segrun.checkpoints import checkpoint as checkpoints
from segrun.checkpoints import delta
from segrun.checkpoints.checkpoint import Checkpoint
from segrun.config.legacy import translate
from segrun.config.trust import Trust
from segrun.device import autocast, memory_layout
from segrun.errors import RequestError, join_names
from segrun.experiment.delta_base import base_start
from segrun.experiment.experiment import ModelSettings, sizing_of, strategy_of
from segrun.experiment.model import Auxiliaries, new_model
from segrun.inference.inference import Inference
from segrun.models.segmenter import Segmenter
from segrun.models.warm_start import start_from
from segrun.transfer.strategies.strategy import Strategy
from segrun.types import ClassMap


def initial_model(
    settings: ModelSettings,
    init_from: str | None,
    trusted: Sequence[str],
    classes: ClassMap,
    channels: int,
    auxiliary: Auxiliaries | None = None,
    base: str | None = None,
) -> Segmenter:
    """The model that a training starts from: a pretrained backbone and new heads, or what fits of `init_from`.

    Args:
        settings: Backbone and head.
        init_from: A run folder or checkpoint.
        trusted: Modules that its config may name.
        classes: Of the mask.
        channels: Of the images.
        auxiliary: The auxiliary tasks by name.
        base: See `restored_model`.

    Raises:
        RequestError: As `new_model`, or `init_from` is no checkpoint that can be used.
    """
    if init_from is None:
        return new_model(settings, len(classes), channels, auxiliary)
    origin = checkpoints.read(init_from)
    settings = settings.without_weights()
    model = new_model(settings, len(classes), channels, auxiliary)
    head = settings.head.cls
    with origin.errors_name_it():
        weights = _plain_weights(origin, trusted, base)
    model.report = start_from(
        model,
        weights,
        init_from,
        float(settings.backbone.settings.get("min_loaded", 0.9)),
        classes.names,
        origin.classes.names,
        _class_axes(settings, model),
        translate(origin.config)["head"].get("_target_") == f"{head.__module__}.{head.__qualname__}",
    )
    return model


def restored_model(
    checkpoint: Checkpoint, trust: Trust, auxiliary: Auxiliaries | None = None, base: str | None = None
) -> Segmenter:
    """The model of a checkpoint with its weights; the adapters of a delta checkpoint are merged.

    Args:
        checkpoint: Of a run.
        trust: Modules that its config may name.
        auxiliary: Tasks whose heads are restored, too.
        base: The user's own file, run folder or checkpoint with the weights that a delta checkpoint was trained from.

    Raises:
        RequestError: The config names foreign code, the weights do not fit the model that it describes, or the base of
            a delta checkpoint is needed.
    """
    values = translate(checkpoint.config)
    settings = ModelSettings.from_config(values, trust)
    if checkpoint.base is not None:
        return _completed(checkpoint, settings, strategy_of(values, trust), trust, base)
    channels = checkpoint.weights["mean"].numel()
    model = new_model(settings.without_weights(), len(checkpoint.classes), channels, auxiliary)
    weights = checkpoint.weights if auxiliary else _without_auxiliary(checkpoint, model)
    if weights.keys() - model.state_dict().keys():
        strategy_of(values, trust).adapt(model)
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
    base: str | None = None,
) -> Inference:
    """The checkpoint's model, ready to score images.

    Args:
        checkpoint: Of a run.
        device: Where to compute.
        trust: Modules that its config may name.
        precision: See conf/predict.yaml.
        tile: Side of the sliding window in pixels; None: as in training.
        overlap: Share by which windows overlap; None: as in training.
        base: See `restored_model`.
    """
    values = translate(checkpoint.config)
    layout = memory_layout(values["trainer"]["channels_last"], device.type == "cuda")
    with checkpoint.errors_name_it():
        model = restored_model(checkpoint, trust, base=base).eval()
        sizing = sizing_of(values)
    model.to(device, memory_format=layout)  # type: ignore[call-overload]
    windows = {key: value for key, value in (("tile", tile), ("overlap", overlap)) if value is not None}
    sizing = replace(sizing, **windows)  # type: ignore[arg-type]
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


def _plain_weights(origin: Checkpoint, trusted: Sequence[str], base: str | None) -> Mapping[str, Tensor]:
    """The weights of a model without adapters.

    Raises:
        RequestError: Its adapters cannot be merged.
    """
    adapted = any(".parametrizations." in name or ".adapter." in name for name in origin.weights)
    if origin.base is None and not adapted:
        return origin.weights
    model = restored_model(origin, trusted, base=base)
    strategy_of(translate(origin.config), trusted).export(model)
    if adapters := [p.name for p in model.parts().parameters if p.kind == "adapter"]:
        raise RequestError(
            f"init_from: that model has adapters ({join_names(adapters, 2)}) that cannot be merged into its weights. "
            "Start from another model, or continue the run itself: resume=<run folder>."
        )
    return model.state_dict()


def _completed(
    checkpoint: Checkpoint, settings: ModelSettings, strategy: Strategy, trust: Trust, base: str | None
) -> Segmenter:
    """The model of a checkpoint that holds only what differs from its base, which is loaded again."""
    channels = checkpoint.weights["mean"].numel()
    backbone, init_from = base_start(checkpoint, settings.backbone, base)
    settings = replace(settings, backbone=backbone)
    try:
        model = initial_model(settings, init_from, trust or (), checkpoint.classes, channels)
    except RequestError as error:
        if base is not None:
            raise
        reason = str(error).partition("\n")[0]
        raise RequestError(
            f"{reason}\nThe checkpoint holds only what differs from them: base=<weights file>."
        ) from error
    loaded = model.report.matched
    strategy.adapt(model)
    delta.load_delta(model, checkpoint.weights, str(checkpoint.base), loaded)
    strategy.export(model)
    return model
