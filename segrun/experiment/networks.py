"""Models to begin with, and models out of checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from segrun.checkpoints import checkpoint as checkpoints
from segrun.checkpoints import delta
from segrun.checkpoints.checkpoint import Checkpoint
from segrun.device import autocast, memory_layout
from segrun.errors import RequestError, join_names
from segrun.experiment import assemble
from segrun.experiment.assemble import Trust
from segrun.inference.inference import Inference
from segrun.models.segmenter import Segmenter
from segrun.models.warm_start import start_from
from segrun.models.weights.loading import LoadReport
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.transfer.strategies.finetune import Strategy
from segrun.types import ClassMap


def new_segmenter(
    values: Mapping[str, Any],
    classes: ClassMap,
    channels: int,
    trust: Trust = None,
    auxiliary: Mapping[str, Auxiliary] | None = None,
) -> Segmenter:
    """The model that a training starts from: pretrained backbone and new heads, or `init_from`'s as far as it fits."""
    if not values["init_from"]:
        return assemble.segmenter(values, len(classes), channels, trust, auxiliary)
    origin = checkpoints.read(values["init_from"])
    values = {**values, "backbone": {**values["backbone"], "weights": "none"}}
    model = assemble.segmenter(values, len(classes), channels, trust, auxiliary)
    with torch.device("meta"):  # what grows with the classes is what holds an entry for each
        few, more = (assemble.head(values, model.backbone.levels, n, trust).state_dict() for n in (2, 3))
    axes = {
        f"mask.{name}": next(axis for axis in range(value.ndim) if value.shape[axis] != more[name].shape[axis])
        for name, value in few.items()
        if value.shape != more[name].shape
    }
    model.report = start_from(
        model,
        _whole(origin, list(values["trust"]) if trust is None else trust),
        str(values["init_from"]),
        float(values["backbone"].get("min_loaded", 0.9)),
        classes.names,
        origin.classes.names,
        axes,
        origin.config["head"].get("_target_") == values["head"].get("_target_"),
    )
    return model


def initial_model(
    values: dict[str, Any],
    classes: ClassMap,
    channels: int,
    saved: Checkpoint | None,
    trust: Trust,
    auxiliary: Mapping[str, Auxiliary],
    strategy: Strategy,
) -> tuple[Segmenter, dict[str, Any] | None, list[str]]:
    """The model with its pretrained weights and what the strategy adds, or as it was saved, with the training state to
    go on from; and what is to be said of it."""
    if saved is None:
        model = new_segmenter(values, classes, channels, trust, auxiliary)
        return model, None, strategy.adapt(model)
    if saved.training is None:
        raise RequestError("this checkpoint holds no training state; resume wants a run folder with last.ckpt.")
    if "balance" not in saved.training:
        raise RequestError("an older segrun began this run, and this one cannot go on with it. Start it anew.")
    model = trained_segmenter(saved, trust, auxiliary)
    model.report = LoadReport(**saved.training["report"])
    return model, dict(saved.training), []


def trained_segmenter(
    checkpoint: Checkpoint, trust: Trust, auxiliary: Mapping[str, Auxiliary] | None = None, merge: bool = True
) -> Segmenter:
    """The checkpoint's model with its weights; with the adapters that are not merged in them, if any. merge: those of a
    checkpoint of what has changed alone, which lie apart there.

    Raises:
        RequestError: foreign code, or weights that do not fit the model its config describes.
    """
    asked, weights = checkpoint.config, checkpoint.weights
    if checkpoint.base is not None:
        return _completed(checkpoint, trust, merge)
    values = {**asked, "backbone": {**asked["backbone"], "weights": "none"}}
    model = assemble.segmenter(values, len(checkpoint.classes), weights["mean"].numel(), trust, auxiliary)
    if not auxiliary:  # without the heads of a last.ckpt, and what only they read of a ViT's pyramid
        heads = [f"heads.{name}." for name in asked.get("auxiliary") or {}]
        fresh = [f"backbone.{path}." for paths in model.backbone.fresh.values() for path in paths]
        own = model.state_dict()
        weights = {n: v for n, v in weights.items() if n in own or not n.startswith((*heads, *fresh))}
    if weights.keys() - model.state_dict().keys():
        assemble.strategy(asked, trust).adapt(model)
    try:
        model.load_state_dict(dict(weights))
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
    fitted = assemble.sizing(checkpoint.config, tile=options.get("tile"), overlap=options.get("overlap"))
    return Inference(model, fitted, device, partial(autocast, device, options.get("precision", "auto")), layout)


def _whole(origin: Checkpoint, trust: Sequence[str]) -> Mapping[str, Tensor]:
    """The weights of a plain model.

    trust: what its own config may name.

    Raises:
        RequestError: adapters that cannot be merged.
    """
    if origin.base is None and not any(".parametrizations." in n or ".adapter." in n for n in origin.weights):
        return origin.weights
    model = trained_segmenter(origin, trust)
    assemble.strategy(origin.config, trust).export(model)
    if adapters := [p.name for p in model.parts().parameters if p.kind == "adapter"]:
        raise RequestError(
            f"init_from: that model has adapters ({join_names(adapters, 2)}) that cannot be merged into its weights. Start "
            "from another, or go on with the run itself: resume=<run folder>."
        )
    return model.state_dict()


def _completed(checkpoint: Checkpoint, trust: Trust, merge: bool) -> Segmenter:
    """Of a checkpoint that holds only what has changed: the pretrained weights are looked for anew."""
    assert checkpoint.base is not None
    channels = checkpoint.weights["mean"].numel()
    model = new_segmenter(checkpoint.config, checkpoint.classes, channels, trust)
    moved = assemble.strategy(checkpoint.config, trust)
    loaded = model.report.matched
    moved.adapt(model)
    delta.complete(model, checkpoint.weights, checkpoint.base, loaded)
    if merge:
        moved.export(model)
    return model
