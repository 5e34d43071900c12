"""Strides into dilation: deep maps at a finer stride, computed by the same weights (Chen et al., 2017)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def find_obstacle(model: nn.Module, paths: Sequence[str]) -> str | None:
    """Why these modules would not compute the same after dilation; None where they would.

    Args:
        model: The module that holds them.
        paths: Their paths in it.
    """
    for path in paths:
        for module in model.get_submodule(path).modules():
            reason = _obstacle(module)
            if reason is not None:
                return f"{type(module).__name__} {reason}"
    return None


def _obstacle(module: nn.Module) -> str | None:
    if isinstance(module, nn.AvgPool2d) and _side(module.stride) > 1:
        return "halves the map"
    if isinstance(module, nn.MaxPool2d) and module.ceil_mode:
        return "rounds up"
    if isinstance(module, nn.Conv2d) and module.stride[0] > 1 and module.kernel_size[0] % 2 == 0:
        return f"has an even kernel of {module.kernel_size[0]}"
    if any(word in type(module).__name__ for word in ("PatchMerging", "Attention")):
        return "is not a convolution"
    return None


def dilate(model: nn.Module, paths: Sequence[str], before: int, after: int) -> None:
    """Replace the stride of a stage by dilation: at the positions that remain it computes exactly what it did.

    Args:
        model: The module that holds the stage.
        paths: The paths of the stage's modules.
        before: Dilation of the kernels up to and including the one with the stride.
        after: Dilation of the kernels behind it.
    """
    stride_removed = False
    for path in _module_paths(model, paths):
        module = model.get_submodule(path)
        if isinstance(module, nn.MaxPool2d):
            model.set_submodule(path, _dilated_pool(module, before))
            stride_removed = True
        elif isinstance(module, nn.Conv2d):
            has_stride = module.stride[0] > 1
            _dilate_convolution(module, before if has_stride or not stride_removed else after)
            stride_removed = stride_removed or has_stride


def _module_paths(model: nn.Module, paths: Sequence[str]) -> list[str]:
    """The paths of all modules at and below `paths`; a list, since the caller replaces modules."""
    all_paths = []
    for path in paths:
        for name, _ in model.get_submodule(path).named_modules():
            all_paths.append(f"{path}.{name}" if name else path)
    return all_paths


def _dilate_convolution(conv: nn.Conv2d, dilation: int) -> None:
    conv.stride = (1, 1)
    conv.dilation = (conv.dilation[0] * dilation, conv.dilation[1] * dilation)
    if isinstance(conv.padding, tuple):
        conv.padding = (int(conv.padding[0]) * dilation, int(conv.padding[1]) * dilation)


def _dilated_pool(pool: nn.MaxPool2d, dilation: int) -> nn.Module:
    kernel, padding = _side(pool.kernel_size), _side(pool.padding)
    reach = (kernel - 1) * dilation  # from the first to the last position of the window
    before = padding * dilation
    return nn.Sequential(
        nn.ConstantPad2d((before, reach - before, before, reach - before), float("-inf")),
        nn.MaxPool2d(kernel, stride=1, dilation=dilation),
    )


def _side(value: int | tuple[int, ...]) -> int:
    return value[0] if isinstance(value, tuple) else int(value)
