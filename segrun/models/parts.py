"""Parts: the named, ordered pieces of a model to which freezing, learning rates and regularizers refer.

Names only, no tensors.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from segrun.errors import RequestError

Weights = Mapping[str, Tensor]  # by parameter or buffer name
Kind = Literal["weight", "bias", "norm_weight", "norm_bias", "token", "adapter"]
ALL: frozenset[Kind] = frozenset(get_args(Kind))

NORMS = (
    nn.modules.batchnorm._NormBase,  # private to torch, but the only common base of batch and instance norms
    nn.GroupNorm,
    nn.LayerNorm,
    nn.LocalResponseNorm,
    nn.RMSNorm,
)


class Adapter(nn.Module):
    """Base class of modules that are inserted into a pretrained model to learn in its place.

    All parameters inside are of the kind "adapter".
    """


@dataclass(frozen=True)
class Parameter:
    """What is known of a parameter without its values.

    Attributes:
        name: Its full name in the model.
        kind: What it does; see `kind_of`.
        size: How many values it has.
        loaded: It came from pretrained weights.
    """

    name: str
    kind: Kind
    size: int
    loaded: bool


@dataclass(frozen=True)
class Part:
    """One part of a model.

    Attributes:
        name: Such as `backbone.layer1` or `head.mask`.
        parameters: Each parameter of the model is in exactly one part.
        modules: Paths of the part's topmost modules. Single parameters, such as a class token, are not among them.
    """

    name: str
    parameters: tuple[Parameter, ...]
    modules: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many parameter values the part has."""
        return sum(p.size for p in self.parameters)

    @property
    def loaded(self) -> float:
        """Share of the part's values that came from pretrained weights."""
        return sum(p.size for p in self.parameters if p.loaded) / max(1, self.size)


class Parts(Mapping[str, Part]):
    """The ordered parts of a model, input side first."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = {part.name: part for part in parts}

    def __getitem__(self, name: str) -> Part:
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def select(self, *globs: str) -> tuple[str, ...]:
        """The names of the parts that any of the globs matches, in model order.

        Args:
            globs: Shell patterns, such as `backbone.layer[34]`.

        Raises:
            RequestError: A glob matches no part. The message lists the parts.
        """
        for glob in globs:
            if not fnmatch.filter(self, glob):
                raise RequestError(f"no part of the model matches {glob!r}. The parts: {', '.join(self)}.")
        return tuple(name for name in self if any(fnmatch.fnmatchcase(name, glob) for glob in globs))

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters of all parts, in order."""
        return tuple(p for part in self.values() for p in part.parameters)

    @property
    def backbone(self) -> tuple[str, ...]:
        """The names of the backbone's stages, without its new parts."""
        return tuple(name for name in self if name.startswith("backbone."))


def parts_of(model: nn.Module, paths: Mapping[str, Sequence[str]], loaded: Iterable[str] = ()) -> Parts:
    """The parts of a model. A part without parameters, such as a stage that only pools, is left out.

    Args:
        model: The model.
        paths: Part name → paths of its modules and single parameters.
        loaded: Names of the tensors that came from pretrained weights.

    Raises:
        ValueError: A parameter is in no part, or in more than one.
    """
    loaded_names = set(loaded)
    module_names = {name for name, _ in model.named_modules()}
    owners = _owners(model, paths)
    parts = []
    for part, inside in paths.items():
        parameters = tuple(
            Parameter(name, _kind_in(model, name), parameter.numel(), plain_name(name) in loaded_names)
            for name, parameter in model.named_parameters()
            if owners[name] == part
        )
        if parameters:
            parts.append(Part(part, parameters, tuple(path for path in inside if path in module_names)))
    return Parts(parts)


def _owners(model: nn.Module, paths: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Parameter name → part name."""
    owners: dict[str, str] = {}
    for part, inside in paths.items():
        for name, _ in model.named_parameters():
            if not any(name == path or name.startswith(f"{path}.") for path in inside):
                continue
            if name in owners:
                raise ValueError(f"{name} is in both {owners[name]} and {part}")
            owners[name] = part
    orphans = [name for name, _ in model.named_parameters() if name not in owners]
    if orphans:
        raise ValueError(f"no part holds {', '.join(orphans[:5])}")
    return owners


def plain_name(name: str) -> str:
    """A parameter's name without a parametrization: torch turns `weight` into `parametrizations.weight.original`."""
    return re.sub(r"\bparametrizations\.(\w+)\.original$", r"\1", name)


def kind_of(module: nn.Module, name: str) -> Kind:
    """What a parameter does. Every parameter has exactly one kind.

    An adapter's parameter, a norm's scale or shift, another bias, a token (class token or position embedding, which
    belongs to a module that is no layer), or a weight.

    Args:
        module: The module that holds the parameter directly.
        name: The parameter's name in it.
    """
    if isinstance(module, Adapter):
        return "adapter"
    is_bias = name == "bias" or name.endswith("_bias")
    if isinstance(module, NORMS):
        return "norm_bias" if is_bias else "norm_weight"
    if is_bias:
        return "bias"
    if any(word in name for word in ("token", "pos_embed", "position")):
        return "token"
    return "weight"


def _kind_in(model: nn.Module, name: str) -> Kind:
    *path, parameter = plain_name(name).split(".")
    module = model
    for step in path:
        module = module.get_submodule(step)
        if isinstance(module, Adapter):  # also for layers inside an adapter
            return "adapter"
    return kind_of(module, parameter)
