"""Terms: additions to the loss that hold on to the pretrained model, or keep its features useful.

A term acts in the phases in which something learns that it watches. When the first of them begins it may
remember something of the model; that memory is stored with the run, so that a resume does not make it again.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from segrun.errors import RequestError
from segrun.models.parts import Parts, Weights
from segrun.models.segmenter import Output, Segmenter

if TYPE_CHECKING:
    from segrun.transfer.plan import Phase

# probe(n): n batches of training images (B, C, H, W), each with the mask's loss of an output for them
BatchPreview = Callable[[int], Iterator[tuple[Tensor, Callable[[Output], Tensor]]]]
# (images, the model's output for them) → the term, a scalar
Penalty = Callable[[Tensor, Output], Tensor]


def loaded_weights(parts: Parts) -> frozenset[str]:
    """No bias, no norm, no token."""
    return frozenset(p.name for p in parts.parameters if p.kind == "weight" and p.loaded)


class Regularizer(ABC):
    """name: as in the config group."""

    name: str

    def holds(self, parts: Parts) -> frozenset[str]:
        """The parameters whose weight decay the term takes the place of."""
        return frozenset()

    def watches(self, parts: Parts) -> frozenset[str]:
        """The term acts in the phases in which any of these parameters learns: the backbone's, since its features are
        what is held."""
        return frozenset(p.name for name in parts.backbone for p in parts[name].parameters)

    def check(self, parts: Parts, before: Sequence[Phase], batch: int) -> None:  # noqa: B027 – most work anywhere
        """before: the phases that come before the first one in which the term acts; batch: images in one.

        Raises:
            RequestError: the term cannot work there.
        """

    def remember(self, model: Segmenter, probe: BatchPreview) -> Weights:
        """What is to be known later of the model as it is when the term's first phase begins."""
        return {}

    def bind(self, model: Segmenter, start: Weights, memory: Weights) -> Penalty:
        """The term as a function. start: all weights at step 0; memory: as `remember` gave it."""
        raise NotImplementedError


class L2SP(Regularizer):
    """α/2 ‖w − w⁰‖² over loaded weights, β/2 ‖w‖² over new ones, in place of their weight decay (Li, Grandvalet,
    Davoine, ICML 2018: α = 0.1, β = 0.01, with SGD). Weights only: no bias, no normalisation parameter.

    Under Adam the pull is rescaled with the rest of the gradient; choose α on val.
    """

    name = "l2sp"

    def __init__(self, alpha: float, beta: float) -> None:
        if min(alpha, beta) < 0:
            raise RequestError(f"regularizer.l2sp: alpha={alpha}, beta={beta}; neither may be negative.")
        self.alpha, self.beta = alpha, beta

    def holds(self, parts: Parts) -> frozenset[str]:
        return frozenset(p.name for p in parts.parameters if p.kind == "weight")

    def watches(self, parts: Parts) -> frozenset[str]:
        return loaded_weights(parts)

    def bind(self, model: Segmenter, start: Weights, memory: Weights) -> Penalty:
        parts = model.parts()
        held, loaded = self.holds(parts), loaded_weights(parts)
        learning = [(n, p) for n, p in model.named_parameters() if n in held and p.requires_grad]
        old = [(p, start[n].to(p.device)) for n, p in learning if n in loaded]
        new = [p for n, p in learning if n not in loaded]

        def term(images: Tensor, output: Output) -> Tensor:
            far = [self.alpha / 2 * (weight - anchor).square().sum() for weight, anchor in old]
            return torch.stack([*far, *(self.beta / 2 * weight.square().sum() for weight in new)]).sum()

        return term
