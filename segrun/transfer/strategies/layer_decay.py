"""Layer-wise learning-rate decay."""

from __future__ import annotations

from segrun.ranges import PositiveFraction
from segrun.transfer.strategies.discriminative import Discriminative


class LayerDecay(Discriminative):
    """The learning rate of the k-th part below the heads is multiplied by `decay`^k.

    The parts of a plain ViT are its blocks, those of other backbones their stages.

    Args:
        decay: BEiT (Bao et al., ICLR 2022) 0.9; MAE (He et al., CVPR 2022) 0.65.
    """

    def __init__(self, decay: PositiveFraction) -> None:
        super().__init__(factor=1 / decay)
