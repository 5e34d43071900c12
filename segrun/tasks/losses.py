"""Losses as sums, and what to divide them by.

A loss gives sums and, from the target alone, the weights to divide them by. The engine adds both up over
the whole window of accumulated batches and over all processes, then divides once: so the loss of a step is
that of all its pixels, however they were parted, and a step without a labelled pixel is 0, not NaN.

Shapes: logits (B, C, H, W), target (B, H, W) with VOID; sums and weights (K,), where K is 1 except for `Sum`.
Class weights (C,) are honoured by every loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segrun.errors import RequestError
from segrun.types import VOID


class Loss(nn.Module):
    """sums(logits, target) / weights(target), componentwise, is the loss of the pixels given.

    class_weights: null, "inverse", "median", "log", "effective", or a list; `weigh` sets them from counts.
    """

    class_weights: Tensor | None

    def __init__(self, class_weights: str | Sequence[float] | None = None) -> None:
        super().__init__()
        self.asked = class_weights
        self.register_buffer("class_weights", None, persistent=False)

    def set_class_weights(self, pixels: Tensor) -> None:
        """Fix the class weights. pixels: (C,) labelled pixels of each class in the training data.

        Raises:
            RequestError: an unknown rule, or a list of the wrong length.
        """
        if self.asked is not None:
            self.class_weights = class_weights(self.asked, pixels)

    def class_prior(self, pixels: Tensor) -> Tensor:
        """(C,) what each class of these (C,) pixels counts in the loss, adding up to 1; equal without any pixel."""
        counted = pixels.float() * (1 if self.class_weights is None else self.class_weights)
        return (counted + 1e-6) / (counted + 1e-6).sum()

    def normalizers(self, target: Tensor) -> Tensor:
        """(K,): here, the number of images that hold a labelled pixel."""
        return (target != VOID).flatten(1).any(1).sum().float()[None]

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """(K,): the sums."""
        raise NotImplementedError

    def of_classes(self, logits: Tensor) -> Tensor:
        return logits.new_ones(logits.shape[1]) if self.class_weights is None else self.class_weights.to(logits.device)


class CrossEntropy(Loss):
    """Σ w_y · (−log p_y) over labelled pixels, divided by Σ w_y."""

    def __init__(self, class_weights: str | Sequence[float] | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__(class_weights)
        self.label_smoothing = label_smoothing

    def normalizers(self, target: Tensor) -> Tensor:
        return pixel_weights(target, self.class_weights).sum()[None]

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        weight = None if self.class_weights is None else self.class_weights.to(logits.device)
        return F.cross_entropy(
            logits, target.long(), weight, ignore_index=VOID, reduction="sum", label_smoothing=self.label_smoothing
        )[None]


class Focal(Loss):
    """Σ w_y (1 − p_y)^γ (−log p_y), divided by the labelled pixels' Σ w_y (Lin et al., ICCV 2017: γ = 2)."""

    def __init__(self, gamma: float, class_weights: str | Sequence[float] | None = None) -> None:
        super().__init__(class_weights)
        self.gamma = gamma

    def normalizers(self, target: Tensor) -> Tensor:
        return pixel_weights(target, self.class_weights).sum()[None]

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        surprise = F.cross_entropy(logits, target.long(), ignore_index=VOID, reduction="none")
        easy = (1 - torch.exp(-surprise)).clamp(min=0) ** self.gamma
        return (pixel_weights(target, self.class_weights) * easy * surprise).sum()[None]


class Tversky(Loss):
    """1 − TP / (TP + α FP + β FN) a class, over the batch, void masked, classes absent from the batch's
    truth left out (Salehi et al., MLMI 2017). α = β = ½ is Dice (Milletari et al., 3DV 2016)."""

    def __init__(self, alpha: float, beta: float, class_weights: str | Sequence[float] | None = None) -> None:
        super().__init__(class_weights)
        self.alpha, self.beta = alpha, beta

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        valid = (target != VOID)[:, None]
        truth = F.one_hot(target.long() * valid[:, 0], logits.shape[1]).movedim(-1, 1) * valid
        guess = logits.softmax(1) * valid
        hit = (guess * truth).sum((0, 2, 3))
        false = guess.sum((0, 2, 3)) - hit
        missed = truth.sum((0, 2, 3)) - hit
        score = hit / (hit + self.alpha * false + self.beta * missed).clamp(min=1e-6)
        weight = self.of_classes(logits) * (hit + missed > 0.5)
        return (weight * (1 - score)).sum()[None] / weight.sum().clamp(min=1e-6) * self.normalizers(target)


class Lovasz(Loss):
    """Lovász-softmax (Berman, Triki, Blaschko, CVPR 2018): the convex surrogate of the Jaccard loss, over the
    batch, classes absent from the batch's truth left out."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        valid = target != VOID
        guess = logits.softmax(1).movedim(1, -1)[valid]
        truth = F.one_hot(target[valid].long(), logits.shape[1]).to(guess.dtype)
        present = truth.any(0)
        errors, order = (truth - guess).abs().sort(0, descending=True)
        losses = (errors * _lovasz_gradient(truth.gather(0, order))).sum(0)
        weight = self.of_classes(logits) * present
        return (weight * losses).sum()[None] / weight.sum().clamp(min=1e-6) * self.normalizers(target)


class Sum(Loss):
    """Several losses, each times its coefficient; each is divided by its own weights. The class weights
    are those of every one of them."""

    def __init__(
        self,
        losses: Sequence[Loss],
        coefficients: Sequence[float],
        class_weights: str | Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if len(losses) != len(coefficients):
            raise RequestError(f"loss.coefficients: {len(coefficients)} numbers for {len(losses)} losses.")
        self.losses, self.coefficients = nn.ModuleList(losses), tuple(coefficients)
        for loss in losses:
            loss.asked = class_weights

    def set_class_weights(self, pixels: Tensor) -> None:
        for loss in self._all():
            loss.set_class_weights(pixels)

    def class_prior(self, pixels: Tensor) -> Tensor:
        return self._all()[0].class_prior(pixels)

    def normalizers(self, target: Tensor) -> Tensor:
        return torch.cat([loss.normalizers(target) for loss in self._all()])

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return torch.cat([c * loss(logits, target) for c, loss in zip(self.coefficients, self._all(), strict=True)])

    def _all(self) -> list[Loss]:
        return [loss for loss in self.losses if isinstance(loss, Loss)]


def pixel_weights(target: Tensor, weights: Tensor | None) -> Tensor:
    """(B, H, W): each labelled pixel's class weight (1 without any), 0 at void."""
    valid = target != VOID
    if weights is None:
        return valid.float()
    return weights.to(target.device)[target.long() * valid] * valid


def class_weights(asked: str | Sequence[float], pixels: Tensor) -> Tensor:
    """(C,) weights from a rule and the pixel counts (C,), or the numbers given.

    inverse: 1/f · 1/C; median: median f / f over the classes present (Eigen & Fergus, ICCV 2015); log:
    1/ln(1.1 + f); effective: (1 − β)/(1 − β^n), β = 1 − 1/N for N labelled pixels in all, mean 1
    (Cui et al., CVPR 2019). f is the class's share of the labelled pixels; an absent class weighs 0.
    """
    count = pixels.double()
    share = count / count.sum().clamp(min=1)
    there = count > 0
    if not isinstance(asked, str):
        if len(asked) != len(count) or min(asked) < 0:
            raise RequestError(f"loss.class_weights: {len(asked)} numbers (≥ 0) for {len(count)} classes.")
        return torch.tensor(list(asked), dtype=torch.float)
    if asked == "inverse":
        weights = 1 / share.clamp(min=1e-12) / len(count)
    elif asked == "median":
        weights = share[there].quantile(0.5) / share.clamp(min=1e-12)
    elif asked == "log":
        weights = 1 / torch.log(1.1 + share)
    elif asked == "effective":
        rest = 1 / count.sum().clamp(min=2)  # 1 − β
        weights = rest / -torch.expm1(count.clamp(min=1) * torch.log1p(-rest))
        weights = weights / weights[there].mean()
    else:
        raise RequestError(f"loss.class_weights={asked}: choose null, inverse, median, log, effective, or a list.")
    return (weights * there).float()


def _lovasz_gradient(truth: Tensor) -> Tensor:
    """Alg. 1 of the paper for every column of truth (pixels sorted by error, classes)."""
    total = truth.sum(0)
    intersection = total - truth.cumsum(0)
    union = total + (1 - truth).cumsum(0)
    jaccard = 1 - intersection / union.clamp(min=1)
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
