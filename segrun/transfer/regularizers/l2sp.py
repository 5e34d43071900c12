"""L2-SP: L2 distance to the starting point."""

from __future__ import annotations

import torch
from torch import Tensor

from segrun.models.parts import Parts, Weights
from segrun.models.segmenter import Output, Segmenter
from segrun.ranges import NonNegativeFloat
from segrun.transfer.regularizers.regularizer import Penalty, Regularizer, loaded_weights


class L2SP(Regularizer):
    """α/2 ‖w − w⁰‖² over loaded weights and β/2 ‖w‖² over new ones, in place of their weight decay.

    Li, Grandvalet, Davoine, "Explicit Inductive Bias for Transfer Learning with Convolutional Networks", ICML 2018
    (α = 0.1, β = 0.01, with SGD). Biases and norm parameters are left out. Adam rescales the pull together with the
    rest of the gradient, so choose α on val.

    Args:
        alpha: Strength of the pull of loaded weights to their start.
        beta: Strength of the pull of new weights to zero.
    """

    name = "l2sp"

    def __init__(self, alpha: NonNegativeFloat, beta: NonNegativeFloat) -> None:
        self.alpha = alpha
        self.beta = beta

    def target_parameters(self, parts: Parts) -> frozenset[str]:
        return loaded_weights(parts)

    def decay_replaced(self, parts: Parts) -> frozenset[str]:
        return frozenset(parameter.name for parameter in parts.parameters if parameter.kind == "weight")

    def build_penalty(self, model: Segmenter, initial_weights: Weights, memory: Weights) -> Penalty:
        parts = model.parts()
        weights, loaded = self.decay_replaced(parts), loaded_weights(parts)
        trained = [(name, p) for name, p in model.named_parameters() if name in weights and p.requires_grad]
        anchored = [(p, initial_weights[name].to(p.device)) for name, p in trained if name in loaded]
        new = [p for name, p in trained if name not in loaded]

        def penalty(images: Tensor, output: Output) -> Tensor:
            distances = [self.alpha / 2 * (weight - anchor).square().sum() for weight, anchor in anchored]
            norms = [self.beta / 2 * weight.square().sum() for weight in new]
            return torch.stack([*distances, *norms]).sum()

        return penalty
