"""Parts: the named, ordered pieces of a model that freezing, rates and terms speak of. Names only, no tensors."""

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
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.LocalResponseNorm,
    nn.RMSNorm,
)


class Adapter(nn.Module):
    """Marks what is inserted into a pretrained model to learn in its place: all parameters inside are adapters'."""


@dataclass(frozen=True)
class Parameter:
    """What is known of a parameter without its values. loaded: it came from pretrained weights."""

    name: str
    kind: Kind
    size: int
    loaded: bool


@dataclass(frozen=True)
class Part:
    """parameters: each parameter of the model is in exactly one part; modules: the roots of its modules, without
    those of parameters that belong to the model itself (a class token)."""

    name: str
    parameters: tuple[Parameter, ...]
    modules: tuple[str, ...]

    @property
    def size(self) -> int:
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
        """The names of the parts that any of the globs matches, in order.

        Raises:
            RequestError: a glob that matches nothing; the names are listed.
        """
        for glob in globs:
            if not fnmatch.filter(self, glob):
                raise RequestError(f"no part of the model matches {glob!r}. The parts: {', '.join(self)}.")
        return tuple(name for name in self if any(fnmatch.fnmatchcase(name, glob) for glob in globs))

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Of all parts, in order."""
        return tuple(p for part in self.values() for p in part.parameters)

    @property
    def backbone(self) -> tuple[str, ...]:
        return tuple(name for name in self if name.startswith("backbone."))


def parts_of(model: nn.Module, modules: Mapping[str, Sequence[str]], loaded: Iterable[str] = ()) -> Parts:
    """Parts from part name → paths of modules and single parameters.

    Raises:
        ValueError: a parameter that no part, or more than one, would hold.
    """
    came = set(loaded)
    held = {name for name, _ in model.named_modules()}
    owner: dict[str, str] = {}
    parts = []
    for part, paths in modules.items():
        inside = []
        for name, parameter in model.named_parameters():
            if not any(name.startswith(f"{path}.") or name == path for path in paths):
                continue
            if name in owner:
                raise ValueError(f"{name} is in both {owner[name]} and {part}")
            owner[name] = part
            inside.append(Parameter(name, _kind_in(model, name), parameter.numel(), plain(name) in came))
        if inside:  # a stage that only pools is no part
            parts.append(Part(part, tuple(inside), tuple(path for path in paths if path in held)))
    if orphans := [name for name, _ in model.named_parameters() if name not in owner]:
        raise ValueError(f"no part holds {', '.join(orphans[:5])}")
    return Parts(parts)


def plain(name: str) -> str:
    """The parameter's name without a parametrization: torch makes `parametrizations.weight.original` of `weight`."""
    return re.sub(r"\bparametrizations\.(\w+)\.original$", r"\1", name)


def kind_of(module: nn.Module, name: str) -> Kind:
    """Every parameter is of exactly one kind: an adapter's, a norm's own scale or shift, a bias, a token (class token,
    position embedding: held by a module that is no layer), or a weight."""
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
    *path, own = plain(name).split(".")
    module = model
    for step in path:
        module = module.get_submodule(step)
        if isinstance(module, Adapter):  # whatever it is inside
            return "adapter"
    return kind_of(module, own)
