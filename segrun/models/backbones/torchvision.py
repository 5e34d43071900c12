"""Backbones out of torchvision, by walking their children: what differs between families is where the
stages are cut, and that stands in conf/backbone/*.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn
from torchvision import models

from segrun.errors import RequestError, suggest
from segrun.models.backbones.backbone import Backbone, deepest, measured_levels
from segrun.models.backbones.dilation import dilate, obstacle
from segrun.models.weights.adapting import fold_statistics, with_channels
from segrun.models.weights.loading import LoadReport, load_into
from segrun.models.weights.sources import Wheel, find, load_file, stored_normalisation


class TorchvisionBackbone(Backbone):
    """A torchvision classifier, cut into stages; of each stride the deepest stage's map is a level.

    model: torchvision's name; stages: part name → "child child.3 child[4:7]", run in that order;
    weights: "imagenet" (the enum that `imagenet` names), an enum's name, "coco" (the backbone inside torchvision's
    segmentation model `coco`), "none", a URL, a weights file, or a segrun run;
    output_stride: 8 or 16 keep the deepest maps at that stride by dilation; null: 32, or what the head asks for;
    in_channels: of the images, null for 3: the pretrained first kernel is folded to them;
    min_loaded: least share of the backbone that the weights must fill; nhwc: channels are last inside (Swin).

    Raises:
        RequestError: unknown model or weights, weights that do not fit, an output stride that cannot be had.
    """

    def __init__(
        self,
        model: str,
        weights: str | None,
        imagenet: str,
        min_loaded: float,
        stages: Mapping[str, str] = MappingProxyType({}),
        output_stride: int | None = None,
        in_channels: int | None = None,
        wheel: Mapping[str, str] | None = None,
        coco: str | None = None,
        nhwc: bool = False,
    ) -> None:
        super().__init__()
        self.nhwc = nhwc
        try:
            self.body: nn.Module = models.get_model(model, weights=None)
        except ValueError as error:
            raise RequestError(
                f"backbone.model={model}: torchvision has no such model. {suggest(model, models.list_models())}"
            ) from error
        self.stages = self.cut(stages)
        channels = 3 if in_channels is None else in_channels
        with_channels(self.body, channels)
        carried = Wheel(**wheel) if wheel else None
        known = models.get_model_weights(model).__members__
        self.published = (known[imagenet].url, carried) if imagenet in known else None
        self._load(model, weights or "none", imagenet, coco, min_loaded, carried)
        self.mean, self.std = (fold_statistics(values, channels) for values in (self.mean, self.std))
        self.taken = list(range(len(self.stages)))
        levels = measured_levels(self)
        self.taken = deepest(levels)
        self.levels = tuple(levels[place] for place in self.taken)
        if output_stride is not None:
            self.dilate(output_stride)

    def cut(self, stages: Mapping[str, str]) -> Mapping[str, list[str]]:
        """Stage → the paths it runs; what no stage runs (the classifier) is dropped."""
        paths = {part: list(_paths(self.body, words)) for part, words in stages.items()}
        _drop_unlisted(self.body, [path for group in paths.values() for path in group])
        return {part: [f"body.{path}" for path in group] for part, group in paths.items()}

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        for paths in self.stages.values():
            for path in paths:
                images = self.get_submodule(path)(images)
            maps.append(images.permute(0, 3, 1, 2) if self.nhwc else images)
        return [maps[place] for place in self.taken]

    def dilate(self, output_stride: int) -> None:
        if output_stride not in (8, 16, 32):
            raise RequestError(f"backbone.output_stride={output_stride}: choose 8, 16 or 32.")
        strides = dict(zip(self.taken, (level.stride for level in self.levels), strict=True))
        rate, before, todo = 1, 1, []
        for place, paths in enumerate(self.stages.values()):
            stride = strides.get(place, before)
            if stride > output_stride:
                todo.append((paths, rate, rate * stride // before))
                rate *= stride // before
            before = stride
        if why := next(filter(None, (obstacle(self, paths) for paths, _, _ in todo)), None):
            raise RequestError(
                f"backbone.output_stride={output_stride}: this backbone cannot be dilated ({why}). "
                "Leave it at null, or use a residual network."
            )
        for paths, rate, after in todo:
            dilate(self, paths, rate, after)
        self.levels = measured_levels(self)

    def _load(
        self, model: str, weights: str, imagenet: str, coco: str | None, min_loaded: float, wheel: Wheel | None
    ) -> None:
        if weights == "none":
            return
        entries: dict[str, Any] = {entry.name: entry for entry in models.get_model_weights(model)}
        if imagenet in entries:
            entries["imagenet"] = entries[imagenet]
        if coco is not None:
            entries["coco"] = next(iter(models.get_model_weights(coco)))
        name = imagenet if weights == "imagenet" else weights
        path, source = find(name, {key: entry.url for key, entry in entries.items()}, wheel, imagenet)
        state = load_file(path)
        if name in entries:
            transform = entries[name].transforms()
            self.mean, self.std = tuple(transform.mean), tuple(transform.std)
        else:
            self.mean, self.std = stored_normalisation(state) or (self.mean, self.std)
        self.report: LoadReport = load_into(self.body, state, source, min_loaded).prefixed("body.")


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
