"""The plan: what learns, when, and how fast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from segrun.errors import RequestError, listed
from segrun.models.parts import ALL, Kind, Parts


@dataclass(frozen=True)
class Learn:
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
    schedule: whether the learning-rate schedule goes on over the phases or begins anew.
    """

    name: str
    epochs: int
    learn: Mapping[str, Learn]
    schedule: Literal["continue", "restart"] = "continue"

    def learning(self, parts: Parts) -> dict[str, Learn]:
        """Parameter name → how it learns, for every parameter that does."""
        return {p.name: how for part, how in self.learn.items() for p in parts[part].parameters if p.kind in how.kinds}


@dataclass(frozen=True)
class Plan:
    """The phases in order. `check` refuses what could not be carried out or would ruin the transfer."""

    phases: tuple[Phase, ...]

    @property
    def epochs(self) -> int:
        return sum(phase.epochs for phase in self.phases)

    def check(self, parts: Parts) -> Plan:
        """Raises RequestError: unknown parts, a phase without epochs or without learning parameters, or
        tensors that are frozen although they were never loaded and have not learnt before."""
        learnt: set[str] = set()
        for phase in self.phases:
            if unknown := [name for name in phase.learn if name not in parts]:
                raise RequestError(f"the plan names {listed(unknown)}. The parts: {', '.join(parts)}.")
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
                        f"({listed(random, 2)}): random weights would stay. Load weights "
                        "(backbone.weights=imagenet), or let them learn (freeze=none)."
                    )
        return self
