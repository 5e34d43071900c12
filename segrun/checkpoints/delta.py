"""Checkpoints of what has changed alone: the rest is in the pretrained weights, which are named by their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from segrun.errors import RequestError
from segrun.models.parts import Weights, plain


def base_hash(weights: Weights, loaded: Iterable[str]) -> str:
    """sha256 of the loaded tensors, by name, as they are before anything has learnt."""
    known, digest = {plain(name): value for name, value in weights.items()}, hashlib.sha256()
    for name in sorted(set(loaded) & known.keys()):
        digest.update(f"{name} {known[name].dtype} {tuple(known[name].shape)}\n".encode())
        digest.update(known[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def changed(weights: Weights, start: Weights, loaded: Iterable[str]) -> dict[str, Tensor]:
    """The tensors that are not bit for bit the loaded ones."""
    came = set(loaded)
    return {
        name: value
        for name, value in weights.items()
        if plain(name) not in came or name not in start or not torch.equal(value.cpu(), start[name].cpu())
    }


def complete(model: nn.Module, weights: Weights, base: str, loaded: Iterable[str]) -> None:
    """Fill a model that holds the pretrained weights with what has changed.

    Raises:
        RequestError: other pretrained weights than those it was trained from, or tensors that are in neither.
    """
    came, own = set(loaded), model.state_dict()
    if (found := base_hash(own, came)) != base:
        raise RequestError(
            f"the checkpoint holds only what has changed since the pretrained weights {base[:12]}…, and those found "
            f"here are {found[:12]}…. Put the same file where backbone.weights finds it."
        )
    missing = [name for name in own if name not in weights and plain(name) not in came]
    if missing or weights.keys() - own.keys():
        raise RequestError("the checkpoint's weights do not fit the model its config describes.")
    model.load_state_dict(dict(weights), strict=False)
