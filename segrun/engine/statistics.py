"""The statistics of batch norms, estimated anew: after weights were mixed, or for other data than was learnt from."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

BATCHES = 16


@torch.no_grad()
def estimate_statistics(model: nn.Module, images: Iterable[Tensor], norms: Iterable[str]) -> None:
    """Means and variances over `images` (batches of (B, C, H, W)), each batch counting the same. norms: names of the
    batch norms; everything else is in eval mode, dropout and the other norms too."""
    model.eval()
    chosen = [model.get_submodule(name) for name in norms]
    was = [module.momentum for module in chosen]
    for module in chosen:
        assert isinstance(module, nn.modules.batchnorm._BatchNorm)
        module.reset_running_stats()
        module.momentum = None  # torch's word for the plain mean over batches
        module.train()
    for batch in images:
        model(batch)
    for module, momentum in zip(chosen, was, strict=True):
        module.momentum = momentum
    model.eval()


def batch_norms(model: nn.Module) -> list[str]:
    """The names of the norms that hold statistics."""
    norms = nn.modules.batchnorm._BatchNorm
    return [name for name, m in model.named_modules() if isinstance(m, norms) and m.track_running_stats]
