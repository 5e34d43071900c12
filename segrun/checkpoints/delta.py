"""Delta checkpoints: only the tensors that differ from the pretrained weights, which are identified by a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from segrun.errors import RequestError
from segrun.models.parts import Weights, plain_name


def base_hash(weights: Weights, loaded: Iterable[str]) -> str:
    """The sha256 of the pretrained tensors: names, types, shapes and values.

    Args:
        weights: Weights by name, before training; parametrized ones count under their plain name.
        loaded: Plain names of the tensors that were loaded. The others are ignored.
    """
    by_plain_name = {plain_name(name): value for name, value in weights.items()}
    digest = hashlib.sha256()
    for name in sorted(set(loaded) & by_plain_name.keys()):
        value = by_plain_name[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def changed_tensors(weights: Weights, start: Weights, loaded: Iterable[str]) -> dict[str, Tensor]:
    """The tensors that are not bit for bit the pretrained ones.

    Args:
        weights: All weights by name.
        start: All weights before training.
        loaded: Plain names of the tensors that were loaded.
    """
    pretrained = set(loaded)
    changed = {}
    for name, value in weights.items():
        is_pretrained = plain_name(name) in pretrained and name in start
        if not is_pretrained or not torch.equal(value.cpu(), start[name].cpu()):
            changed[name] = value
    return changed


def load_delta(model: nn.Module, weights: Weights, base: str, loaded: Iterable[str]) -> None:
    """Load a delta checkpoint into a model that holds the pretrained weights.

    Args:
        model: The model with its pretrained weights; changed in place.
        weights: The tensors of the checkpoint.
        base: The hash that is stored with them.
        loaded: Plain names of the pretrained tensors of the model.

    Raises:
        RequestError: The pretrained weights are not those of the training, or the tensors do not fit the model.
    """
    pretrained, state = set(loaded), model.state_dict()
    model_hash = base_hash(state, pretrained)
    if model_hash != base:
        raise RequestError(
            f"the checkpoint holds only what has changed since the pretrained weights {base[:12]}…, but the weights "
            f"found here are {model_hash[:12]}…. Give the original ones: base=<weights file, run folder or checkpoint>."
        )
    missing = [name for name in state if name not in weights and plain_name(name) not in pretrained]
    unexpected = weights.keys() - state.keys()
    if missing or unexpected:
        raise RequestError("the checkpoint's weights do not fit the model of its config. Train again.")
    model.load_state_dict(dict(weights), strict=False)
