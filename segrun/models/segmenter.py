"""The whole model: normalisation, a backbone, and a head a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segrun.errors import RequestError
from segrun.models.backbones.backbone import Backbone
from segrun.models.parts import Parts, parts_of
from segrun.models.weights.loading import LoadReport


class Output(NamedTuple):
    """features: one map a level; tasks: one entry a task, (B, outputs, H, W) at the images' size, or as the head made
    them where it has `full_size = False` or no map to give."""

    features: list[Tensor]
    tasks: dict[str, Tensor]


RARE = 0.01


class Segmenter(nn.Module):
    """images (B, C, H, W), uint8 or float in [0, 1] → Output. Normalisation happens inside, so that a
    checkpoint cannot be used with another one than it was trained with."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads)
        self.report: LoadReport = backbone.report.prefixed("backbone.")
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(backbone.std).view(1, -1, 1, 1))

    def init_bias_from_class_prior(self, shares: Tensor) -> None:
        """Let a mask head that is fresh begin at these shares of the classes, (C,), instead of at equal ones. Its first
        steps would otherwise teach every channel to speak for the frequent class, and a small one would be left with
        no channel of its own (Lin et al., ICCV 2017; RARE is the least that they begin at, too).

        A bias that was loaded is left as it is, and so is a head without a convolution `output`.
        """
        output = getattr(self.heads["mask"], "output", None)
        fresh = "heads.mask.output.bias" not in self.report.matched
        if isinstance(output, nn.Conv2d) and output.bias is not None and fresh:
            with torch.no_grad():
                output.bias.copy_((shares / shares.sum()).clamp(min=RARE).log())

    def forward(self, images: Tensor, features: list[Tensor] | None = None) -> Output:
        """`features` takes the place of the backbone's own, where they have been computed before.

        Raises:
            RequestError: the images are too small for the backbone.
        """
        size = images.shape[-2:]
        if features is None:
            try:
                features = self.backbone(self.normalised(images))
            except RuntimeError as error:
                stride = self.backbone.levels[-1].stride
                if min(size) >= stride:
                    raise
                raise RequestError(
                    f"images of {size[1]}×{size[0]} pixels are too small for this backbone, whose deepest map has "
                    f"stride {stride}: enlarge them, such as sizing=resize sizing.size=[{2 * stride},{2 * stride}]."
                ) from error
        tasks = {}
        for name, head in self.heads.items():
            scores = head(features)
            if scores.ndim == 4 and scores.shape[-2:] != size and getattr(head, "full_size", True):
                scores = F.interpolate(scores, size, mode="bilinear", align_corners=False)
            tasks[name] = scores
        return Output(features, tasks)

    def normalised(self, images: Tensor) -> Tensor:
        unit = 255.0 if images.dtype == torch.uint8 else 1.0
        return (images - self.mean * unit) / (self.std * unit)

    def drop_auxiliary(self) -> None:
        """Keep the head of the primary task, "mask", alone, and what it reads of the backbone."""
        mask = self.heads["mask"]
        self.heads = nn.ModuleDict({"mask": mask})
        self.backbone.keep_levels(getattr(mask, "levels_used", range(len(self.backbone.levels))))

    def parts(self) -> Parts:
        """backbone.<stage> from the input on, then what is new in it, then head.<task>."""
        modules = {
            f"backbone.{stage}": [f"backbone.{p}" for p in paths] for stage, paths in self.backbone.stages.items()
        }
        modules |= {name: [f"backbone.{p}" for p in paths] for name, paths in self.backbone.fresh.items()}
        modules |= {f"head.{task}": [f"heads.{task}"] for task in self.heads}
        return parts_of(self, modules, self.report.matched)
