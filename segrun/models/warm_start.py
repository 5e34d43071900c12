"""A trained segmenter as the start of the next one, whatever differs between the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from segrun.errors import join_names
from segrun.models.segmenter import Segmenter
from segrun.models.weights.adapting import fold_statistics
from segrun.models.weights.loading import LoadReport, load_into


def start_from(
    model: Segmenter,
    weights: Mapping[str, Tensor],
    source: str,
    min_loaded: float,
    classes: Sequence[str],
    known: Sequence[str],
    axes: Mapping[str, int],
    same_head: bool,
) -> LoadReport:
    """Load what fits of a segmenter's weights; what a class has of its own goes to the class of the same name.

    classes, known: the model's and the weights'; axes: the head's tensors with an entry a class → their class axis.
    Without the same kind of head, names that agree mean nothing: only the backbone is taken.
    Image channels are folded as a first kernel's are, and the normalisation comes along.

    Raises:
        RequestError: less than `min_loaded` of the backbone's values came from the weights.
    """
    matched = [(classes.index(name), known.index(name)) for name in classes if name in known]
    own = {f"heads.{name}": value for name, value in model.heads.state_dict().items()}
    state = {name: value for name, value in weights.items() if same_head or not name.startswith("heads.")}
    for name, axis in axes.items():
        found, value = state.pop(f"heads.{name}", None), own[f"heads.{name}"]
        if found is None or not matched or _but(found, axis) != _but(value, axis) or found.shape[axis] != len(known):
            continue
        here, there = (torch.tensor(places) for places in zip(*matched, strict=True))
        state[f"heads.{name}"] = value.clone().index_copy_(axis, here, found.index_select(axis, there))
    halves = {
        part: {name.removeprefix(f"{part}."): value for name, value in state.items() if name.startswith(f"{part}.")}
        for part in ("backbone", "heads")
    }
    backbone = load_into(model.backbone, halves["backbone"], source, min_loaded).prefixed("backbone.")
    heads = load_into(model.heads, halves["heads"], source, 0.0, sees_images=False).prefixed("heads.")
    if list(classes) != list(known):  # a tensor that holds some classes of its own is no longer just the file's
        new = {f"heads.{name}" for name in axes}
        changed = tuple(name for name in heads.loaded if name in new)
        heads = replace(
            heads, loaded=tuple(n for n in heads.loaded if n not in new), adapted=(*heads.adapted, *changed)
        )
        names = [classes[here] for here, _ in matched]
        source += f", classes by name: {join_names(names)}" if names and same_head else ""
    for key in ("mean", "std"):
        buffer = getattr(model, key)
        buffer.copy_(torch.tensor(fold_statistics(weights[key].flatten().tolist(), buffer.numel())).view(buffer.shape))
    sizes = tuple(sum(p.numel() for p in half.parameters()) for half in (model.backbone, model.heads))
    report = backbone.merge(heads, (sizes[0], sizes[1]))
    used = {"mean", "std", *report.matched}
    return replace(report, source=source, unused=tuple(name for name in weights if name not in used))


def _but(value: Tensor, axis: int) -> list[int]:
    return [size for place, size in enumerate(value.shape) if place != axis]
