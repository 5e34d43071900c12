"""What a regularizer is: a penalty on the distance to the pretrained model, or on its features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Set
from typing import ClassVar

from torch import Tensor

from segrun.models.parts import Parts, Weights
from segrun.models.segmenter import Output, Segmenter

# preview(n): the next n training batches, without consuming them: images (B, C, H, W), and the mask task's loss as a
# function of the model's output for them
BatchPreview = Callable[[int], Iterator[tuple[Tensor, Callable[[Output], Tensor]]]]
# (images (B, C, H, W), the model's output for them) → the penalty, a scalar
Penalty = Callable[[Tensor, Output], Tensor]


class Regularizer(ABC):
    """A penalty that is added to the loss in the phases that train one of its target parameters.

    When the first of these phases starts, `prepare_memory` may store tensors, such as the weights of a teacher. They
    are saved with the run, so that a resumed run uses the same ones. At the start of each phase, `build_penalty` makes
    the function that the training step calls.

    Attributes:
        name: As in the config group `regularizer`.
    """

    name: ClassVar[str]

    def target_parameters(self, parts: Parts) -> frozenset[str]:
        """The parameters that the penalty is meant to constrain; by default, those of the backbone."""
        return frozenset(parameter.name for name in parts.backbone for parameter in parts[name].parameters)

    def decay_replaced(self, parts: Parts) -> frozenset[str]:
        """The parameters whose weight decay the penalty replaces; by default, none."""
        return frozenset()

    def check(self, parts: Parts, trained_before: Set[str], batch_size: int) -> None:  # noqa: B027 – most accept all
        """Refuse a model or plan that the penalty cannot work with.

        Args:
            parts: The parts of the model.
            trained_before: The parameters that were trained before the penalty's first phase.
            batch_size: Images per batch and process.

        Raises:
            RequestError: The penalty cannot work here.
        """

    def prepare_memory(self, model: Segmenter, preview: BatchPreview) -> Weights:
        """Tensors to remember of the model as it is when the penalty's first phase starts.

        Args:
            model: In eval mode.
            preview: Gives the next training batches without consuming them.

        Returns:
            Tensors by name, which are saved with the run.
        """
        return {}

    @abstractmethod
    def build_penalty(self, model: Segmenter, initial_weights: Weights, memory: Weights) -> Penalty:
        """The penalty for one phase.

        Args:
            model: The model that is trained, with `requires_grad` set for the phase.
            initial_weights: All weights before the first training step.
            memory: What `prepare_memory` returned.
        """


def loaded_weights(parts: Parts) -> frozenset[str]:
    """The parameters of kind "weight" that were loaded: no bias, norm parameter or token."""
    return frozenset(p.name for p in parts.parameters if p.kind == "weight" and p.loaded)


def mask_head_trained(parts: Parts, trained: Set[str]) -> bool:
    """Whether each parameter of the mask's head was loaded, or is in `trained`."""
    return all(p.loaded or p.name in trained for p in parts["head.mask"].parameters)
