"""How the weights of a new head start."""

from __future__ import annotations

from torch import nn


def initialize_head(head: nn.Module, output: nn.Conv2d) -> None:
    """Convolutions as for ReLU networks (He et al., ICCV 2015); the last layer small, so that all scores start nearly
    equal.

    Args:
        head: The head. Layers that are no `nn.Conv2d` keep torch's initialisation.
        output: Its last layer.
    """
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.normal_(output.weight, std=0.01)
