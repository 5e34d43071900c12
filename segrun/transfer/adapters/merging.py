"""Adapters that act on weights by torch's parametrizations, and merging them into these weights."""

from __future__ import annotations

from typing import Any

from torch.nn.utils import parametrize

from segrun.models.segmenter import Segmenter
from segrun.ranges import LRMultiplier
from segrun.transfer.strategies.finetune import Finetune


class MergedAdapters(Finetune):
    """The backbone's adapters and the heads are trained; the kept checkpoint has the adapters merged into the weights.

    Args:
        backbone_lr: LR multiplier of the adapters.
    """

    def __init__(self, backbone_lr: LRMultiplier) -> None:
        super().__init__(backbone_lr, kinds=("adapter",), statistics=False)

    def export(self, model: Segmenter) -> None:
        """Merge all adapters: the same function, with the parameter names of the plain model."""
        parametrized = [module for module in model.backbone.modules() if parametrize.is_parametrized(module)]
        for module in parametrized:
            _merge(module)


def _merge(module: Any) -> None:
    """Merge the parametrizations of one module into its parameters.

    torch's remove_parametrizations is no replacement: it deletes properties of the module's class, which a copy of the
    model shares and which hold that copy's weights.
    """
    merged = {name: getattr(module, name).detach() for name in module.parametrizations}
    originals = {name: parametrization.original for name, parametrization in module.parametrizations.items()}
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]
    for name, original in originals.items():
        original.data.copy_(merged[name])
        module.register_parameter(name, original)
