"""The plan: what learns, when, and how fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from segrun.errors import RequestError, join_names
from segrun.models.parts import ALL, Kind, Parts

if TYPE_CHECKING:
    from segrun.transfer.regularizers.regularizer import Regularizer

# (weights, mean gradients), by parameter → the share of the rate of each
Rates = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Mapping[str, float]]


@dataclass(frozen=True)
class PartSettings:
    """How one part learns during a phase.

    kinds: which of its parameters; lr_scale: of the base rate; decay: of the weight decay;
    statistics: whether its norms collect batch statistics (False: eval mode, their affine parameters may
    learn all the same).
    """

    kinds: frozenset[Kind] = ALL
    lr_scale: float = 1.0
    decay: float = 1.0
    statistics: bool = True


@dataclass(frozen=True)
class Phase:
    """A run of epochs in which what learns, the rates' scales and the terms stay the same.

    A part absent from `learn` gets no gradient *and* is in eval mode: statistics and dropout stand still.
    terms: what is added to the loss. rates: asked at each epoch's start for a scale a tensor, on top of lr_scale.
    schedule: whether the learning-rate schedule goes on over the phases or begins anew. keep: the weights at
    the phase's end are stored, for the strategy's candidates.
    """

    name: str
    epochs: int
    learn: Mapping[str, PartSettings]
    terms: tuple[Regularizer, ...] = ()
    rates: Rates | None = None
    schedule: Literal["continue", "restart"] = "continue"
    keep: bool = False

    def learning(self, parts: Parts) -> dict[str, PartSettings]:
        """Parameter name → how it learns, for every parameter that does. What a term holds is not decayed besides."""
        held = frozenset().union(*(term.holds(parts) for term in self.terms))
        return {
            p.name: replace(how, decay=0.0) if p.name in held else how
            for part, how in self.learn.items()
            for p in parts[part].parameters
            if p.kind in how.kinds
        }


@dataclass(frozen=True)
class Plan:
    """The phases in order. `check` refuses what could not be carried out or would ruin the transfer."""

    phases: tuple[Phase, ...]

    @property
    def epochs(self) -> int:
        return sum(phase.epochs for phase in self.phases)

    def with_regularizers(self, terms: Sequence[Regularizer], parts: Parts, batch: int) -> Plan:
        """The same plan with each term in the phases in which something learns that it watches. batch: images in
        one.

        Raises:
            RequestError: there is no such phase, or a term cannot work on this model or plan.
        """
        if not terms:
            return self
        phases = list(self.phases)
        loaded = any(p.loaded for p in parts.parameters)
        for term in terms:
            watched = term.watches(parts)
            acts = [not watched.isdisjoint(phase.learning(parts)) for phase in self.phases]
            if not loaded:
                raise RequestError(f"regularizer={term.name}: holds on to pretrained weights, and none were loaded.")
            if not any(acts):
                raise RequestError(f"regularizer={term.name}: nothing that it would hold learns in this plan.")
            term.check(parts, self.phases[: acts.index(True)], batch)
            phases = [
                replace(phase, terms=(*phase.terms, term)) if act else phase
                for phase, act in zip(phases, acts, strict=True)
            ]
        return Plan(tuple(phases))

    def check(self, parts: Parts) -> Plan:
        """Raises RequestError: unknown parts, a phase without epochs or without learning parameters, or
        tensors that are frozen although they were never loaded and have not learnt before."""
        learnt: set[str] = set()
        for phase in self.phases:
            if unknown := [name for name in phase.learn if name not in parts]:
                raise RequestError(f"the plan names {join_names(unknown)}. The parts: {', '.join(parts)}.")
            if phase.epochs < 1:
                raise RequestError(f"phase {phase.name!r} has {phase.epochs} epochs; every phase needs one.")
            learning = phase.learning(parts)
            if not learning:
                raise RequestError(f"nothing learns in phase {phase.name!r}.")
            learnt |= learning.keys()
            for part in parts.values():
                if random := [p.name for p in part.parameters if not p.loaded and p.name not in learnt]:
                    raise RequestError(
                        f"phase {phase.name!r} freezes {len(random)} tensors of {part.name} that were never loaded "
                        f"({join_names(random, 2)}): random weights would stay. Load weights "
                        "(backbone.weights=imagenet), or let them learn (freeze=none)."
                    )
        return self
