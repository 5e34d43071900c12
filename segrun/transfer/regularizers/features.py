"""Terms on the model's feature maps and outputs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from segrun.errors import RequestError
from segrun.models.parts import Parts, Weights
from segrun.models.segmenter import Output, Segmenter
from segrun.transfer.regularizers.regularizer import BatchPreview, Penalty, Regularizer, loaded_weights

if TYPE_CHECKING:
    from segrun.transfer.plan import Phase


class BSS(Regularizer):
    """Batch spectral shrinkage: η Σ σ²₋ᵢ over the k smallest singular values of the batch's feature matrix (Chen et
    al., NeurIPS 2019: k = 1, η = 1e-3).

    The matrix is images × channels, of the deepest map averaged over positions. Computed in float32.
    """

    name = "bss"

    def __init__(self, k: int, eta: float) -> None:
        if k < 1 or eta < 0:
            raise RequestError(f"regularizer.bss: k={k}, eta={eta}; k is at least 1, eta not negative.")
        self.k, self.eta = k, eta

    def check(self, parts: Parts, before: Sequence[Phase], batch: int) -> None:
        if batch <= self.k:
            raise RequestError(
                f"regularizer.bss.k={self.k}: a batch of {batch} images has {batch} singular values, and some are to be left. "
                "Use a larger trainer.batch_size."
            )

    def bind(self, model: Segmenter, start: Weights, memory: Weights) -> Penalty:
        def term(images: Tensor, output: Output) -> Tensor:
            features = output.features[-1].float().mean((2, 3))
            if min(features.shape) <= self.k:
                raise RequestError(
                    f"regularizer.bss.k={self.k}: the batch's features have {min(features.shape)} singular values "
                    f"({features.shape[0]} images a process × {features.shape[1]} channels). Use larger batches."
                )
            with torch.autocast(features.device.type, enabled=False):
                values = torch.linalg.svdvals(features)  # descending
            smallest: Tensor = values[-self.k :]
            return self.eta * smallest.square().sum()

        return term


class Delta(Regularizer):
    """DELTA: Σ over maps of Σ_c a_c ‖F_c − F⁰_c‖² / (H·W), mean over images (Li et al., ICLR 2019); F⁰ are the maps of
    a frozen copy of the backbone at its start, a = softmax over channels of how much the loss rises without it.

    Departs from the paper: the maps are the levels that the head can read; the rise is |f · ∂L/∂f| (first order)
    unless `exact`, which zeroes one channel after the other; it is divided by its mean size over the map's channels
    (exactly, the loss may also fall) before `temperature` (in public code 5, on rises of another scale). Takes
    the place of weight decay on loaded weights.
    """

    name = "delta"

    def __init__(self, weight: float, temperature: float, batches: int, exact: bool) -> None:
        if weight < 0 or temperature <= 0 or batches < 1:
            raise RequestError(
                f"regularizer.delta: weight={weight} (not negative), temperature={temperature} (above 0), "
                f"batches={batches} (at least 1)."
            )
        self.weight, self.temperature, self.batches, self.exact = weight, temperature, batches, exact

    def holds(self, parts: Parts) -> frozenset[str]:
        return loaded_weights(parts)

    def check(self, parts: Parts, before: Sequence[Phase], batch: int) -> None:
        if not knows_masks(parts, before):
            raise RequestError(
                "regularizer=delta weighs channels by what they are worth to the head, and this plan begins with a random "
                "one. Use freeze=head_first (strategy=delta does)."
            )

    def remember(self, model: Segmenter, probe: BatchPreview) -> Weights:
        rises: list[Tensor] = []
        for images, loss in probe(self.batches):
            with torch.no_grad():
                maps = model.backbone(model.normalised(images))
            found = self._exact(model, images, maps, loss) if self.exact else _first_order(model, images, maps, loss)
            rises = [a + b for a, b in zip(rises, found, strict=True)] if rises else found
        return {
            str(level): F.softmax(rise / rise.abs().mean().clamp(min=1e-12) / self.temperature, 0)
            for level, rise in enumerate(rises)
        }

    @torch.no_grad()
    def _exact(
        self, model: Segmenter, images: Tensor, maps: list[Tensor], loss: Callable[[Output], Tensor]
    ) -> list[Tensor]:
        base = loss(model(images, maps))
        found = []
        for level, full in enumerate(maps):
            rise = full.new_zeros(full.shape[1], dtype=torch.float)
            for channel in range(full.shape[1]):
                cut = full.clone()
                cut[:, channel] = 0
                rise[channel] = loss(model(images, [*maps[:level], cut, *maps[level + 1 :]])) - base
            found.append(rise)
        return found

    def bind(self, model: Segmenter, start: Weights, memory: Weights) -> Penalty:
        reference = copy.deepcopy(model.backbone).eval().requires_grad_(False)
        reference.load_state_dict(
            {n.removeprefix("backbone."): v for n, v in start.items() if n.startswith("backbone.")}
        )
        channels = [memory[str(level)].to(model.mean.device) for level in range(len(memory))]

        def term(images: Tensor, output: Output) -> Tensor:
            with torch.no_grad():
                before = reference(model.normalised(images))
            moved = [
                (a * (now.float() - then.float()).square().mean((0, 2, 3))).sum()
                for a, now, then in zip(channels, output.features, before, strict=True)
            ]
            return self.weight * torch.stack(moved).sum()

        return term


class Distill(Regularizer):
    """The model at the end of its head-only phase is the teacher (after LwF: Li & Hoiem, ECCV 2016): weight · T² · KL
    of its softened mask to the model's, mean over pixels.

    LwF keeps the old tasks' outputs; a backbone that has learnt to classify has none for masks, so the old head is the
    one that was learnt on frozen features. features=true: the teacher's maps instead, mean squared distance over
    its variance, summed over levels.
    """

    name = "distill"

    def __init__(self, weight: float, temperature: float, features: bool) -> None:
        if weight < 0 or temperature <= 0:
            raise RequestError(
                f"regularizer.distill: weight={weight} (not negative), temperature={temperature} (above 0)."
            )
        self.weight, self.temperature, self.features = weight, temperature, features

    def check(self, parts: Parts, before: Sequence[Phase], batch: int) -> None:
        if not self.features and not knows_masks(parts, before):
            raise RequestError(
                "regularizer=distill learns from the model at the end of a head-only phase, and this plan has none. "
                "Use freeze=head_first (strategy=distill does), or regularizer.distill.features=true."
            )

    def remember(self, model: Segmenter, probe: BatchPreview) -> Weights:
        return {name: value.detach().clone() for name, value in model.state_dict().items()}

    def bind(self, model: Segmenter, start: Weights, memory: Weights) -> Penalty:
        teacher = copy.deepcopy(model).eval().requires_grad_(False)
        teacher.load_state_dict(dict(memory))

        def term(images: Tensor, output: Output) -> Tensor:
            with torch.no_grad():
                before = teacher(images)
            if self.features:
                far = [
                    (now.float() - then.float()).square().mean() / then.float().var().clamp(min=1e-6)
                    for now, then in zip(output.features, before.features, strict=True)
                ]
                return self.weight * torch.stack(far).sum()
            now, then = (
                F.log_softmax(o.tasks["mask"].float() / self.temperature, 1) for o in (output, before)
            )  # fmt: skip
            divergence = F.kl_div(now, then, reduction="none", log_target=True).sum(1).mean()
            return self.weight * self.temperature**2 * divergence

        return term


def knows_masks(parts: Parts, before: Sequence[Phase]) -> bool:
    """Whether the mask's head was loaded or has learnt in the phases before."""
    learnt = {name for phase in before for name in phase.learning(parts)}
    return all(p.loaded or p.name in learnt for p in parts["head.mask"].parameters)


def _first_order(
    model: Segmenter, images: Tensor, maps: list[Tensor], loss: Callable[[Output], Tensor]
) -> list[Tensor]:
    leaves = [one.detach().requires_grad_() for one in maps]
    gradients = torch.autograd.grad(loss(model(images, leaves)), leaves, allow_unused=True)
    return [
        one.new_zeros(one.shape[1], dtype=torch.float) if g is None else (one * g).float().sum((0, 2, 3)).abs()
        for one, g in zip(maps, gradients, strict=True)
    ]
