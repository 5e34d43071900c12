"""Strides into dilation: deep maps at a finer stride, computed by the same weights (Chen et al., 2017)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def obstacle(model: nn.Module, paths: Sequence[str]) -> str | None:
    """What in these modules would not compute the same after dilation, if anything."""
    for path in paths:
        for module in model.get_submodule(path).modules():
            kind = type(module).__name__
            if isinstance(module, nn.AvgPool2d) and _side(module.stride) > 1:
                return f"{kind} halves the map"
            if isinstance(module, nn.MaxPool2d) and module.ceil_mode:
                return f"{kind} rounds up"
            if isinstance(module, nn.Conv2d) and module.stride[0] > 1 and module.kernel_size[0] % 2 == 0:
                return f"{kind} has an even kernel of {module.kernel_size[0]}"
            if "PatchMerging" in kind or "Attention" in kind:
                return f"{kind} is no convolution"
    return None


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
    kernel, padding = _side(pool.kernel_size), _side(pool.padding)
    reach = (kernel - 1) * rate  # how far the window looks ahead
    before = padding * rate
    return nn.Sequential(
        nn.ConstantPad2d((before, reach - before, before, reach - before), float("-inf")),
        nn.MaxPool2d(kernel, stride=1, dilation=rate),
    )


def _side(value: int | tuple[int, ...]) -> int:
    return value[0] if isinstance(value, tuple) else int(value)
