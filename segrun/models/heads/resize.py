"""Bringing maps to one size."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def resize_like(x: Tensor, like: Tensor) -> Tensor:
    """A map at the size of another, bilinearly.

    Args:
        x: (B, C, h, w).
        like: (B, D, H, W).

    Returns:
        (B, C, H, W).
    """
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)
