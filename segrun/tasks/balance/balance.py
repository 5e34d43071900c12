"""What a balance is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segrun.errors import RequestError

Tensors = Sequence[Tensor]


class Balance:
    """Σ λᵢ wᵢ Lᵢ with one factor λᵢ per task, which stays 1 here. Each run has its own, and calls `start` first.

    Attributes:
        needs_task_gradients: Whether the gradients of single tasks are needed, for `gradient_correction`.
        allows_single_task: Whether it makes sense for one task.
        task_weights: wᵢ by task.
        factors: λᵢ by task.
        reference_losses: The losses by task that later ones are compared with; empty until there are some.
    """

    needs_task_gradients = False
    allows_single_task = False

    def start(self, regression: Mapping[str, bool], weights: Mapping[str, float], device: torch.device) -> None:
        """Prepare for a run.

        Args:
            regression: Whether the loss of each task is a regression; the primary task is first.
            weights: wᵢ of each task, in the same order.
            device: Of the losses.

        Raises:
            RequestError: There is one task, so nothing to weigh it against.
        """
        if len(weights) < 2 and not self.allows_single_task:
            raise RequestError(
                f"balance={type(self).__name__.lower()} weighs tasks against each other, but there is one; "
                "add auxiliary=[boundary]."
            )
        self.task_weights = dict(weights)
        self.factors = dict.fromkeys(weights, 1.0)
        self.reference_losses: dict[str, float] = {}

    def parameters(self) -> list[nn.Parameter]:
        """Trained by the run's optimizer at the base learning rate, without weight decay."""
        return []

    def total(self, losses: Mapping[str, Tensor], share: float) -> Tensor:
        """The scalar that is propagated back for one batch; it can be negative.

        Args:
            losses: The batch's share of the loss of each task in this step, a scalar, multiplied by the number of
                processes (whose gradients are averaged).
            share: 1 / batches per step, so that a term that belongs to no batch counts once.
        """
        weights = self.weights()
        return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()

    def shared_parameters(
        self, names: Sequence[str], parameters: Tensors, features: Tensors, head_counts: Sequence[int]
    ) -> list[int]:
        """Indices of the parameters whose gradients `gradient_correction` compares.

        Args:
            names: Of the trained parameters outside the heads, input side first.
            parameters: The same parameters.
            features: One map per level, with its graph.
            head_counts: The number of heads that use each map.
        """
        return list(range(len(parameters)))

    def gradient_correction(
        self, gradients: Mapping[str, Tensors], losses: Mapping[str, float], seed: int
    ) -> list[Tensor] | None:
        """At the end of a step: what is added to `.grad` of the shared parameters; None for nothing.

        Args:
            gradients: Of the loss of each task with respect to the shared parameters (zeros where it has none), of the
                whole step and all processes; float32 or higher, without the loss scale of fp16.
            losses: Of each task in the whole step.
            seed: For the random order of PCGrad.
        """
        return None

    def end_epoch(self, mean_losses: Mapping[str, float]) -> None:
        """Receive the mean loss of each task over the epoch."""

    def weights(self) -> dict[str, float]:
        """What the loss of each task is currently multiplied by."""
        return {name: weight * self.factors[name] for name, weight in self.task_weights.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"factors": dict(self.factors), "past": dict(self.reference_losses)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.factors, self.reference_losses = dict(state["factors"]), dict(state["past"])
