"""DELTA: feature maps are kept near the pretrained ones, useful channels most."""

from __future__ import annotations

import copy
from collections.abc import Callable, Set

import torch
from torch import Tensor
from torch.nn import functional as F

from segrun.errors import RequestError
from segrun.models.parts import Parts, Weights
from segrun.models.segmenter import Output, Segmenter
from segrun.ranges import NonNegativeFloat, PositiveFloat, PositiveInt
from segrun.transfer.regularizers.regularizer import (
    BatchPreview,
    Penalty,
    Regularizer,
    loaded_weights,
    mask_head_trained,
)


class Delta(Regularizer):
    """Σ over feature maps of Σ_c a_c ‖F_c − F⁰_c‖² / (H·W), mean over images.

    Li et al., "DELTA: Deep Learning Transfer using Feature Map with Attention", ICLR 2019. F⁰ are the maps of a frozen
    copy of the backbone with its initial weights; a is the softmax over channels of how much the loss rises without
    the channel. The penalty replaces the weight decay of loaded weights.

    It departs from the paper as follows. The maps are the levels that the head can read. The rise is |f · ∂L/∂f|
    (first order) unless `exact`. It is divided by its mean magnitude over the map's channels (the exact one can be
    negative) before `temperature` is applied (in public code 5, on rises of another scale).

    Args:
        weight: Factor on the penalty.
        temperature: Of the softmax over channels; the lower, the more the useful channels count.
        batches: Number of training batches on which the channels are weighed.
        exact: Whether the rise is measured by zeroing one channel after the other.
    """

    name = "delta"

    def __init__(self, weight: NonNegativeFloat, temperature: PositiveFloat, batches: PositiveInt, exact: bool) -> None:
        self.weight = weight
        self.temperature = temperature
        self.batches = batches
        self.exact = exact

    def decay_replaced(self, parts: Parts) -> frozenset[str]:
        return loaded_weights(parts)

    def check(self, parts: Parts, trained_before: Set[str], batch_size: int) -> None:
        if not mask_head_trained(parts, trained_before):
            raise RequestError(
                "regularizer=delta weighs channels by their use to the head, and this plan starts with a random head. "
                "Use freeze=head_first (strategy=delta does)."
            )

    def prepare_memory(self, model: Segmenter, preview: BatchPreview) -> Weights:
        """The channel weights (C,) of each feature map, by the index of its level."""
        loss_rises = _exact_loss_rises if self.exact else _first_order_loss_rises
        totals: list[Tensor] = []
        for images, loss in preview(self.batches):
            with torch.no_grad():
                maps = model.backbone(model.normalised(images))
            rises = loss_rises(model, images, maps, loss)
            totals = [total + rise for total, rise in zip(totals, rises, strict=True)] if totals else rises
        channel_weights = {}
        for level, rise in enumerate(totals):
            relative = rise / rise.abs().mean().clamp(min=1e-12)
            channel_weights[str(level)] = F.softmax(relative / self.temperature, 0)
        return channel_weights

    def build_penalty(self, model: Segmenter, initial_weights: Weights, memory: Weights) -> Penalty:
        reference = copy.deepcopy(model.backbone).eval().requires_grad_(False)
        reference.load_state_dict(
            {n.removeprefix("backbone."): v for n, v in initial_weights.items() if n.startswith("backbone.")}
        )
        channel_weights = [memory[str(level)].to(model.mean.device) for level in range(len(memory))]

        def penalty(images: Tensor, output: Output) -> Tensor:
            with torch.no_grad():
                initial_maps = reference(model.normalised(images))
            distances = []
            for weights, current, initial in zip(channel_weights, output.features, initial_maps, strict=True):
                distance = (current.float() - initial.float()).square().mean((0, 2, 3))
                distances.append((weights * distance).sum())
            return self.weight * torch.stack(distances).sum()

        return penalty


def _first_order_loss_rises(
    model: Segmenter, images: Tensor, maps: list[Tensor], loss: Callable[[Output], Tensor]
) -> list[Tensor]:
    """Of each map, (C,): |Σ f · ∂L/∂f|, the first-order estimate of how much the loss rises without a channel."""
    leaves = [feature.detach().requires_grad_() for feature in maps]
    gradients = torch.autograd.grad(loss(model(images, leaves)), leaves, allow_unused=True)
    rises = []
    for feature, gradient in zip(maps, gradients, strict=True):
        if gradient is None:  # no head reads this map
            rises.append(feature.new_zeros(feature.shape[1], dtype=torch.float))
        else:
            rises.append((feature * gradient).float().sum((0, 2, 3)).abs())
    return rises


@torch.no_grad()
def _exact_loss_rises(
    model: Segmenter, images: Tensor, maps: list[Tensor], loss: Callable[[Output], Tensor]
) -> list[Tensor]:
    """Of each map, (C,): how much the loss rises when a channel is zero."""
    full_loss = loss(model(images, maps))
    rises = []
    for level, feature in enumerate(maps):
        rise = feature.new_zeros(feature.shape[1], dtype=torch.float)
        for channel in range(feature.shape[1]):
            ablated = feature.clone()
            ablated[:, channel] = 0
            output = model(images, [*maps[:level], ablated, *maps[level + 1 :]])
            rise[channel] = loss(output) - full_loss
        rises.append(rise)
    return rises
