"""Tensors out of weights files, without running anything that may be pickled in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from segrun.checksum import is_intact
from segrun.errors import RequestError

Normalisation = tuple[list[float], list[float]]  # mean and standard deviation per image channel, in [0, 1]


def load_file(path: Path) -> dict[str, Tensor]:
    """All tensors of a .pth, .safetensors or .ckpt file by their full dotted names.

    Raises:
        RequestError: The file is truncated, holds pickled code, or holds no tensors.
    """
    content = _content(path)
    if isinstance(content, dict) and content.get("base") and "segrun" in content:
        raise RequestError(
            f"{path}: holds only changed weights (trainer.save=delta). Use init_from={path}, with its base=<file>."
        )
    tensors = dict(_named_tensors(content, ""))
    if not tensors:
        raise RequestError(f"{path}: holds no state dict of tensors.")
    return tensors


def stored_normalisation(state: Mapping[str, Tensor]) -> Normalisation | None:
    """The normalisation that a segrun checkpoint's images had; None for other files."""
    if "weights.mean" not in state:
        return None
    return state["weights.mean"].flatten().tolist(), state["weights.std"].flatten().tolist()


def _content(path: Path) -> Any:
    if not is_intact(path):
        raise RequestError(f"{path}: no weights file (it is damaged or truncated). Use another copy.")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle raise anything: IndexError, KeyError, …
        is_code = "Unsupported" in str(error) or "GLOBAL" in str(error)
        reason = "it holds pickled code" if is_code else "it cannot be read"
        raise RequestError(
            f"{path}: no weights file ({reason}). Save a state dict: torch.save(model.state_dict(), …)."
        ) from error


def _named_tensors(content: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield prefix, content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _named_tensors(value, f"{prefix}.{key}" if prefix else str(key))
