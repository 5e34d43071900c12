"""What a loss is."""

from __future__ import annotations

from torch import Tensor, nn

from segrun.tasks.losses.class_weights import ClassWeights, check_length, compute_class_weights
from segrun.types import VOID


class Loss(nn.Module):
    """forward(logits, target) / normalizers(target), componentwise, is the loss of the pixels of a batch.

    Class weights are set in two steps, because pixel counts are known only after the data was scanned: the constructor
    takes the rule, `set_class_weights` computes the numbers. Until then every class has the weight 1.

    Shapes: logits (B, C, H, W), target (B, H, W) with VOID; sums and normalizers (K,), where K is 1 unless a loss has
    several components. Every loss takes class weights into account.

    Args:
        class_weights: How the weights are computed from pixel counts, or one number per class; None for none.

    Attributes:
        weighting: The argument `class_weights`.
        class_weights: The weights (C,), or None.
    """

    class_weights: Tensor | None

    def __init__(self, class_weights: ClassWeights | None = None) -> None:
        super().__init__()
        self.weighting = class_weights
        self.register_buffer("class_weights", None, persistent=False)

    def check_class_count(self, classes: int) -> None:
        """Refuse a list of class weights that does not fit the number of classes; needs no pixel counts.

        Raises:
            RequestError: The list has another length.
        """
        if self.weighting is not None:
            check_length(self.weighting, classes)

    def set_class_weights(self, pixels: Tensor) -> None:
        """Compute the class weights.

        Args:
            pixels: (C,) labelled pixels of each class in the training data.

        Raises:
            RequestError: A list of class weights of another length.
        """
        if self.weighting is not None:
            self.class_weights = compute_class_weights(self.weighting, pixels)

    def class_prior(self, pixels: Tensor) -> Tensor:
        """The share of each class in these pixels as the loss weighs them.

        Args:
            pixels: (C,) labelled pixels of each class.

        Returns:
            (C,), adding up to 1; equal shares if there are no pixels.
        """
        weighted = pixels.float() * (1 if self.class_weights is None else self.class_weights)
        return (weighted + 1e-6) / (weighted + 1e-6).sum()

    def normalizers(self, target: Tensor) -> Tensor:
        """(K,): by default the number of images with a labelled pixel."""
        return (target != VOID).flatten(1).any(1).sum().float()[None]

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """(K,): the sums."""
        raise NotImplementedError

    def weights_or_ones(self, logits: Tensor) -> Tensor:
        """(C,): the class weights, 1 each if there are none."""
        return logits.new_ones(logits.shape[1]) if self.class_weights is None else self.class_weights.to(logits.device)
