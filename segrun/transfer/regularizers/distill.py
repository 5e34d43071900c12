"""Distillation: the model after its head-only phase teaches the model that is fine-tuned."""

from __future__ import annotations

import copy
from collections.abc import Set

import torch
from torch import Tensor
from torch.nn import functional as F

from segrun.errors import RequestError
from segrun.models.parts import Parts, Weights
from segrun.models.segmenter import Output, Segmenter
from segrun.ranges import NonNegativeFloat, PositiveFloat
from segrun.transfer.regularizers.regularizer import BatchPreview, Penalty, Regularizer, mask_head_trained


class Distill(Regularizer):
    """weight · T² · KL of the teacher's softened mask to the model's, mean over pixels.

    After "Learning without Forgetting" (LwF: Li and Hoiem, ECCV 2016), which keeps the outputs of the old tasks. A
    classification backbone has no output for masks. The old head is therefore the one that was trained on frozen
    features, and the teacher is the model at the end of its head-only phase.

    Args:
        weight: Factor on the penalty.
        temperature: T of the softened softmax.
        features: Whether the teacher's feature maps are compared instead: mean squared distance divided by the
            variance of the teacher's map, summed over levels.
    """

    name = "distill"

    def __init__(self, weight: NonNegativeFloat, temperature: PositiveFloat, features: bool) -> None:
        self.weight = weight
        self.temperature = temperature
        self.features = features

    def check(self, parts: Parts, trained_before: Set[str], batch_size: int) -> None:
        if not self.features and not mask_head_trained(parts, trained_before):
            raise RequestError(
                "regularizer=distill learns from the model at the end of a head-only phase, and this plan has none. "
                "Use freeze=head_first (strategy=distill does), or regularizer.distill.features=true."
            )

    def prepare_memory(self, model: Segmenter, preview: BatchPreview) -> Weights:
        """All weights of the model: the teacher's."""
        return {name: value.detach().clone() for name, value in model.state_dict().items()}

    def build_penalty(self, model: Segmenter, initial_weights: Weights, memory: Weights) -> Penalty:
        teacher = copy.deepcopy(model).eval().requires_grad_(False)
        teacher.load_state_dict(dict(memory))
        distance = self._feature_distance if self.features else self._mask_divergence

        def penalty(images: Tensor, output: Output) -> Tensor:
            with torch.no_grad():
                taught = teacher(images)
            return distance(output, taught)

        return penalty

    def _feature_distance(self, output: Output, taught: Output) -> Tensor:
        distances = []
        for student, teacher in zip(output.features, taught.features, strict=True):
            squared = (student.float() - teacher.float()).square().mean()
            distances.append(squared / teacher.float().var().clamp(min=1e-6))
        return self.weight * torch.stack(distances).sum()

    def _mask_divergence(self, output: Output, taught: Output) -> Tensor:
        student = F.log_softmax(output.tasks["mask"].float() / self.temperature, 1)
        teacher = F.log_softmax(taught.tasks["mask"].float() / self.temperature, 1)
        divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(1).mean()
        return self.weight * self.temperature**2 * divergence
