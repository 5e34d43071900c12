"""The whole model: normalisation, a backbone, and one head per task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segrun.errors import RequestError
from segrun.models.backbones.backbone import Backbone
from segrun.models.heads.head import Head
from segrun.models.parts import Parts, parts_of
from segrun.models.weights.report import LoadReport

SMALLEST_PRIOR = 0.01  # of a class in `init_bias_from_class_prior`


class Output(NamedTuple):
    """What a model gives.

    Attributes:
        features: One feature map per level of the backbone, (B, channels, H / stride, W / stride).
        tasks: Task name → output: (B, outputs, H, W) at the images' size, or as the head gives it where its output is
            no map or its `full_size` is False.
    """

    features: list[Tensor]
    tasks: dict[str, Tensor]


class Segmenter(nn.Module):
    """Images → `Output`. Images are normalised inside, so that a checkpoint cannot be used with another normalisation
    than it was trained with.

    Args:
        backbone: Gives the feature maps.
        heads: Task name → head. "mask" is the primary task.

    Attributes:
        report: What became of the pretrained weights, for all tensors of the model.
        mean: (1, C, 1, 1), of the images, in [0, 1].
        std: (1, C, 1, 1), likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, heads: Mapping[str, Head]) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads)
        self.report: LoadReport = backbone.report.prefixed("backbone.")
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(backbone.std).view(1, -1, 1, 1))

    def head(self, task: str) -> Head:
        """The head of a task."""
        return cast(Head, self.heads[task])

    def init_bias_from_class_prior(self, shares: Tensor) -> None:
        """Start a new mask head at the shares of the classes instead of at equal ones (Lin et al., ICCV 2017).

        Its first steps would otherwise teach every channel the frequent class, and leave a rare class no channel of its
        own. A bias that was loaded stays, and so does a head whose last layer is no convolution with a bias.

        Args:
            shares: (C,), of the training pixels. A class starts at `SMALLEST_PRIOR` at least.
        """
        output = self.head("mask").output
        is_new = "heads.mask.output.bias" not in self.report.matched
        if isinstance(output, nn.Conv2d) and output.bias is not None and is_new:
            with torch.no_grad():
                output.bias.copy_((shares / shares.sum()).clamp(min=SMALLEST_PRIOR).log())

    def forward(self, images: Tensor, features: list[Tensor] | None = None) -> Output:
        """The features and the output of every task.

        Args:
            images: (B, C, H, W), uint8, or float in [0, 1].
            features: Feature maps that take the place of the backbone's, where they have been computed before.

        Raises:
            RequestError: The images are too small for the backbone.
        """
        if features is None:
            features = self._features(images)
        tasks = {name: self._task_output(name, features, images.shape[-2:]) for name in self.heads}
        return Output(features, tasks)

    def normalised(self, images: Tensor) -> Tensor:
        """(B, C, H, W), uint8, or float in [0, 1] → float, minus the mean, over the standard deviation."""
        unit = 255.0 if images.dtype == torch.uint8 else 1.0
        return (images - self.mean * unit) / (self.std * unit)

    def drop_auxiliary(self) -> None:
        """Keep only the head of the primary task, "mask", and the backbone's layers that it needs."""
        mask = self.head("mask")
        self.heads = nn.ModuleDict({"mask": mask})
        self.backbone.keep_levels(mask.levels_used)

    def parts(self) -> Parts:
        """backbone.<stage>, input side first, then the backbone's new parts, then head.<task>."""
        paths: dict[str, list[str]] = {}
        for stage, inside in self.backbone.stages.items():
            paths[f"backbone.{stage}"] = [f"backbone.{path}" for path in inside]
        for name, inside in self.backbone.fresh.items():
            paths[name] = [f"backbone.{path}" for path in inside]
        for task in self.heads:
            paths[f"head.{task}"] = [f"heads.{task}"]
        return parts_of(self, paths, self.report.matched)

    def _features(self, images: Tensor) -> list[Tensor]:
        try:
            features: list[Tensor] = self.backbone(self.normalised(images))
        except RuntimeError as error:
            height, width = images.shape[-2:]
            stride = self.backbone.levels[-1].stride
            if min(height, width) >= stride:
                raise
            raise RequestError(
                f"images of {width}×{height} pixels are too small for this backbone, whose deepest map has "
                f"stride {stride}: enlarge them, such as sizing=resize sizing.size=[{2 * stride},{2 * stride}]."
            ) from error
        return features

    def _task_output(self, task: str, features: list[Tensor], size: torch.Size) -> Tensor:
        head = self.head(task)
        output: Tensor = head(features)
        if output.ndim == 4 and output.shape[-2:] != size and head.full_size:
            return F.interpolate(output, size, mode="bilinear", align_corners=False)
        return output
