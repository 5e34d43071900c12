"""Re-estimation of batch-norm statistics, for weights that were mixed."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # torch has no public base class of its batch norms

NUM_BATCHES = 16  # of training images, for the candidates of a strategy


@torch.no_grad()
def update_batch_norm(model: nn.Module, images: Iterable[Tensor], norms: Iterable[str]) -> None:
    """Replace the statistics of batch norms by those over `images`.

    Args:
        model: It is left in eval mode. All other modules, dropout and the other norms too, are in eval mode throughout.
        images: Batches (B, C, H, W), each with the same weight in the mean.
        norms: Names of the batch norms to update.
    """
    model.eval()
    modules: list[_BatchNorm] = []
    for name in norms:
        module = model.get_submodule(name)
        if not isinstance(module, _BatchNorm):
            raise TypeError(f"{name} is a {type(module).__name__}, not a batch norm")
        modules.append(module)
    momenta = [module.momentum for module in modules]
    for module in modules:
        module.reset_running_stats()
        module.momentum = None  # for torch, the plain mean over all batches
        module.train()
    for batch in images:
        model(batch)
    for module, momentum in zip(modules, momenta, strict=True):
        module.momentum = momentum
    model.eval()


def batch_norm_names(model: nn.Module) -> list[str]:
    """The names of the batch norms that have statistics."""
    return [
        name for name, module in model.named_modules() if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
