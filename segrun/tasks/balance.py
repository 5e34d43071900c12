"""How the tasks' losses are weighed against each other.

Each loss is first multiplied by its task's own weight wᵢ from the config, whatever the balance: where a paper
says Lᵢ, read wᵢLᵢ. Losses and gradients are handed over without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segrun.errors import RequestError

Tensors = Sequence[Tensor]


class Balance:
    """Σ λᵢ wᵢ Lᵢ, with a factor λᵢ a task that stays 1 here. A fresh one a run, `begin` first."""

    separate = False  # whether single tasks' gradients are needed: `shared` and `combine`
    alone = False  # whether it makes sense for one task

    def begin(self, regression: Mapping[str, bool], weights: Mapping[str, float], device: torch.device) -> None:
        """regression: whether each task's loss is one, primary first; weights: the config's; device: the losses'.

        Raises:
            RequestError: there is one task, and nothing to weigh it against.
        """
        if len(weights) < 2 and not self.alone:
            raise RequestError(
                f"balance={type(self).__name__.lower()} weighs tasks against each other, but there is one; "
                "add auxiliary=[boundary]."
            )
        self.given, self.factors = dict(weights), dict.fromkeys(weights, 1.0)
        self.past: dict[str, float] = {}  # the losses that the next ones are compared with

    def parameters(self) -> list[nn.Parameter]:
        """Learnt by the run's optimizer at the base rate, without weight decay."""
        return []

    def total(self, losses: Mapping[str, Tensor], share: float) -> Tensor:
        """What one batch of the window propagates back, 0-d; it may be negative.
        losses: the batch's part of the window's losses, 0-d, times the number of processes (whose gradients are
        averaged). share: 1 / batches in the window, so that what belongs to no loss counts once."""
        weights = self.weights()
        return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()

    def shared(self, names: Sequence[str], parameters: Tensors, features: Tensors, read_by: Sequence[int]) -> list[int]:
        """Indices of the learning parameters, given input side first, of which `combine` wants the gradients.
        features: a map a level, with its graph; read_by: the number of heads that read each."""
        return list(range(len(parameters)))

    def combine(self, gradients: Mapping[str, Tensors], losses: Mapping[str, float], seed: int) -> list[Tensor] | None:
        """At the window's end: what to add to the .grad of the `shared` parameters, or None for nothing.
        gradients: of each task's loss by them (zeros where it has none), float32 or more, without fp16's scale;
        losses: the window's. Both are of the whole window and all processes. seed: of PCGrad's order."""
        return None

    def epoch_done(self, means: Mapping[str, float]) -> None:
        """means: the epoch's mean losses."""

    def weights(self) -> dict[str, float]:
        """What each task's loss is multiplied by now."""
        return {name: given * self.factors[name] for name, given in self.given.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"factors": dict(self.factors), "past": dict(self.past)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.factors, self.past = dict(state["factors"]), dict(state["past"])


class Fixed(Balance):
    """Σ wᵢ Lᵢ."""

    alone = True


class Uncertainty(Balance):
    """Σ e^{−s} L + s/2, for a regression ½e^{−s} L + s/2, s = log σ² learnt (Kendall, Gal, Cipolla, CVPR 2018).
    Over n processes the n·e^{−s}L average to their sum, and s/2, which is not multiplied, to itself."""

    def begin(self, regression: Mapping[str, bool], weights: Mapping[str, float], device: torch.device) -> None:
        super().begin(regression, weights, device)
        self.s = nn.Parameter(torch.zeros(len(weights), device=device))
        self.scales = torch.tensor([w * (0.5 if regression[n] else 1.0) for n, w in weights.items()], device=device)

    def parameters(self) -> list[nn.Parameter]:
        return [self.s]

    def total(self, losses: Mapping[str, Tensor], share: float) -> Tensor:
        each = torch.stack([losses[name] for name in self.given])
        return (self.scales * torch.exp(-self.s) * each).sum() + share * self.s.sum() / 2

    def weights(self) -> dict[str, float]:
        return dict(zip(self.given, (self.scales * torch.exp(-self.s.detach())).tolist(), strict=True))

    def state_dict(self) -> dict[str, Any]:
        return {"s": self.s.detach().clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.s.data.copy_(state["s"])  # in place: the optimizer holds it


class DWA(Balance):
    """Dynamic weight average (Liu, Johns, Davison, CVPR 2019): λ = K · softmax(r/T), r = L(t−1)/L(t−2) of the
    epochs' mean losses; 1 in the first two epochs.

    Raises:
        RequestError: a temperature T that is not above 0.
    """

    def __init__(self, temperature: float) -> None:
        if not temperature > 0:
            raise RequestError(f"balance.temperature={temperature}: it must be above 0; the paper's is 2.")
        self.temperature = temperature

    def epoch_done(self, means: Mapping[str, float]) -> None:
        if self.past:
            # a task that met no label before is taken as standing still
            powers = _vector(means[n] / old if old > 0 else 1.0 for n, old in self.past.items()) / self.temperature
            self.factors = dict(zip(self.past, (len(powers) * powers.softmax(0)).tolist(), strict=True))
        self.past = {name: float(means[name]) for name in self.given}


class GradNorm(Balance):
    """Gradient normalisation (Chen et al., ICML 2018): each window one gradient step of λ on Σ |Gᵢ − Ḡ rᵢ^α|,
    Ḡ rᵢ^α held constant, then Σλ = K. Gᵢ = λᵢ‖∇_W Lᵢ‖, rᵢ = (Lᵢ/Lᵢ(0)) / their mean.

    Raises:
        RequestError: an alpha below 0, or a rate that is not above 0.
    """

    separate = True

    def __init__(self, alpha: float, lr: float) -> None:
        if not alpha >= 0:
            raise RequestError(f"balance.alpha={alpha}: it must be 0 or more; the paper's is 1.5.")
        if not lr > 0:
            raise RequestError(f"balance.lr={lr}: it must be above 0; the paper's is 0.025.")
        self.alpha, self.lr = alpha, lr

    def shared(self, names: Sequence[str], parameters: Tensors, features: Tensors, read_by: Sequence[int]) -> list[int]:
        """W: the last parameter with more than one dimension behind each map that several heads read."""
        chosen = set()
        for feature, heads in zip(features, read_by, strict=True):
            if heads > 1 and feature.requires_grad and parameters:
                found = torch.autograd.grad(feature.sum(), parameters, retain_graph=True, allow_unused=True)
                chosen.update([i for i, g in enumerate(found) if g is not None and g.ndim > 1][-1:])
        return sorted(chosen)

    def combine(self, gradients: Mapping[str, Tensors], losses: Mapping[str, float], seed: int) -> None:
        norms = _vector(math.sqrt(sum(float(g.square().sum()) for g in gradients[name])) for name in self.given)
        # a window without a label of some task, or one that overflowed in fp16, says nothing of the rates
        if min(losses.values()) <= 0 or not norms.isfinite().all():
            return
        self.past = self.past or {name: float(losses[name]) for name in self.given}
        norms *= _vector(self.given.values())
        ratios = _vector(losses[name] / self.past[name] for name in self.given)
        factors = _vector(self.factors.values())
        targets = (factors * norms).mean() * (ratios / ratios.mean()) ** self.alpha
        slopes = norms * (factors * norms - targets).sign()  # the loss's gradient by λ
        factors = (factors - self.lr * slopes).clamp(min=1e-3)  # below 0 a task would climb its loss
        self.factors = dict(zip(self.given, (factors / factors.mean()).tolist(), strict=True))


class PCGrad(Balance):
    """Gradient surgery (Yu et al., NeurIPS 2020): what of each task's gradient points against another's original
    one is taken out of it, one other after another in random order; then they are summed. All shared parameters
    are one vector; a projected gradient is a combination of the originals, so that inner products are enough."""

    separate = True

    def combine(self, gradients: Mapping[str, Tensors], losses: Mapping[str, float], seed: int) -> list[Tensor] | None:
        tensors = list(zip(*(gradients[name] for name in self.given), strict=True))
        if not tensors:
            return None
        weights, count = _vector(self.given.values()), len(self.given)
        # sums and no matrix product, which a GPU may round to TF32
        pairs = torch.stack([torch.stack([(a * b).sum() for a in each for b in each]) for each in tensors])
        products = weights.outer(weights) * pairs.cpu().double().sum(0).view(count, count)
        generator = torch.Generator().manual_seed(seed)
        coefficients = torch.eye(count, dtype=torch.float64)
        for i, row in enumerate(coefficients):
            for j in torch.randperm(count, generator=generator).tolist():
                if j != i and (inner := row @ products[j]) < 0 < products[j, j]:
                    row[j] -= inner / products[j, j]
        extra = (weights * (coefficients.sum(0) - 1)).tolist()
        if not any(extra):
            return None
        return [sum((e * g for e, g in zip(extra, each, strict=True)), torch.zeros_like(each[0])) for each in tensors]


def _vector(values: Iterable[float]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.float64)
