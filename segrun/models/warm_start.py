"""A trained segmenter as the start of the next one, whatever differs between the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from segrun.errors import join_names
from segrun.models.segmenter import Segmenter
from segrun.models.weights.adapting import fold_statistics
from segrun.models.weights.loading import load_into
from segrun.models.weights.report import LoadReport

State = dict[str, Tensor]
ClassPairs = Sequence[tuple[int, int]]  # of each common class: its index in the model, and in the weights


def start_from(
    model: Segmenter,
    weights: Mapping[str, Tensor],
    source: str,
    min_loaded: float,
    classes: Sequence[str],
    source_classes: Sequence[str],
    class_axes: Mapping[str, int],
    same_head: bool,
) -> LoadReport:
    """Load what fits of a segmenter's weights. What belongs to one class goes to the class of the same name.

    Image channels are folded as those of a first kernel, and the normalisation is taken over. A model without storage
    gets the report alone.

    Args:
        model: The model to load into.
        weights: A segmenter's, by tensor name.
        source: Where they came from, for the report and for messages.
        min_loaded: Smallest share of the backbone's values that the weights must fill.
        classes: The model's.
        source_classes: Those of the weights.
        class_axes: The heads' tensors with one entry per class (without `heads.`) → the axis of the classes.
        same_head: Both have the same kind of head. Otherwise equal names mean nothing, and only the backbone is taken.

    Raises:
        RequestError: Less than `min_loaded` of the backbone's values came from the weights.
    """
    pairs = [(classes.index(name), source_classes.index(name)) for name in classes if name in source_classes]
    state = _loadable(weights, same_head)
    _move_classes(state, model, pairs, len(source_classes), class_axes)
    backbone = load_into(model.backbone, _inside(state, "backbone."), source, min_loaded).prefixed("backbone.")
    heads = load_into(model.heads, _inside(state, "heads."), source, 0.0, sees_images=False).prefixed("heads.")
    if list(classes) != list(source_classes):
        heads = _as_adapted(heads, {f"heads.{name}" for name in class_axes})
        if pairs and same_head:
            source += f", classes by name: {join_names(classes[index] for index, _ in pairs)}"
    _take_normalisation(model, weights)
    backbone_size = sum(parameter.numel() for parameter in model.backbone.parameters())
    heads_size = sum(parameter.numel() for parameter in model.heads.parameters())
    report = backbone.merge(heads, (backbone_size, heads_size))
    used = {"mean", "std", *report.matched}
    return replace(report, source=source, unused=tuple(name for name in weights if name not in used))


def _loadable(weights: Mapping[str, Tensor], same_head: bool) -> State:
    return {name: value for name, value in weights.items() if same_head or not name.startswith("heads.")}


def _inside(state: Mapping[str, Tensor], prefix: str) -> State:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _move_classes(
    state: State, model: Segmenter, pairs: ClassPairs, source_count: int, class_axes: Mapping[str, int]
) -> None:
    """Replace each tensor with one entry per class by the model's, in which the common classes are the weights'.

    Tensors that differ in more than their classes are removed.
    """
    network = model.heads.state_dict()
    for name, axis in class_axes.items():
        candidate = state.pop(f"heads.{name}", None)
        if candidate is None or not pairs:
            continue
        value = network[name]
        same_shape = _without(candidate, axis) == _without(value, axis)
        if same_shape and candidate.shape[axis] == source_count:
            state[f"heads.{name}"] = _with_classes(value, candidate, pairs, axis)


def _with_classes(value: Tensor, candidate: Tensor, pairs: ClassPairs, axis: int) -> Tensor:
    """A copy of `value` in which the common classes' entries are those of `candidate`."""
    if value.is_meta:  # a model without storage: the shape suffices
        return value
    target = torch.tensor([index for index, _ in pairs])
    origin = torch.tensor([index for _, index in pairs])
    return value.clone().index_copy_(axis, target, candidate.index_select(axis, origin))


def _as_adapted(heads: LoadReport, names: set[str]) -> LoadReport:
    """Tensors in which some classes are new are no longer just the file's."""
    return replace(
        heads,
        loaded=tuple(name for name in heads.loaded if name not in names),
        adapted=(*heads.adapted, *(name for name in heads.loaded if name in names)),
    )


def _take_normalisation(model: Segmenter, weights: Mapping[str, Tensor]) -> None:
    for name, buffer in (("mean", model.mean), ("std", model.std)):
        values = fold_statistics(weights[name].flatten().tolist(), buffer.numel())
        buffer.copy_(torch.tensor(values).view(buffer.shape))


def _without(value: Tensor, axis: int) -> list[int]:
    """The shape without an axis."""
    return [size for index, size in enumerate(value.shape) if index != axis]
