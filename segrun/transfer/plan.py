"""The training plan: which parameters are trained in which epochs, at which learning rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from segrun.errors import RequestError, join_names
from segrun.models.parts import ALL, Kind, Parts, Weights
from segrun.transfer.regularizers.regularizer import Regularizer

# (weights, mean gradients), both by parameter name → LR multiplier by parameter name
LRMultipliers = Callable[[Weights, Weights], Mapping[str, float]]


@dataclass(frozen=True)
class PartSettings:
    """How one part of the model is trained during a phase.

    Attributes:
        kinds: The kinds of parameters that are trained.
        lr_multiplier: Factor on the base learning rate.
        decay_multiplier: Factor on the weight decay.
        statistics: Whether its norms collect batch statistics. If not, they are in eval mode; their scale and shift
            can be trained all the same.
    """

    kinds: frozenset[Kind] = ALL
    lr_multiplier: float = 1.0
    decay_multiplier: float = 1.0
    statistics: bool = True


@dataclass(frozen=True)
class Phase:
    """Consecutive epochs in which the trained parameters, LR multipliers and regularizers stay the same.

    Attributes:
        name: Shown in the plan and in reports.
        epochs: Number of epochs, at least 1.
        trainable: The trained parts by name. A part that is missing gets no gradient and is in eval mode, so that its
            norm statistics do not change and its dropout is off.
        regularizers: Penalties that are added to the loss.
        lr_multipliers: Called at the start of each epoch for an LR multiplier per tensor, on top of those of the parts.
        schedule: Whether the learning-rate schedule continues from the previous phase or restarts.
        keep_weights: Whether the weights at the end of the phase are stored for `Strategy.candidates`.
    """

    name: str
    epochs: int
    trainable: Mapping[str, PartSettings]
    regularizers: tuple[Regularizer, ...] = ()
    lr_multipliers: LRMultipliers | None = None
    schedule: Literal["continue", "restart"] = "continue"
    keep_weights: bool = False

    def trainable_parameters(self, parts: Parts) -> dict[str, PartSettings]:
        """The settings of each trained parameter, by its name.

        Weight decay is off for parameters whose weight decay a regularizer replaces.
        """
        undecayed: set[str] = set()
        for regularizer in self.regularizers:
            undecayed |= regularizer.decay_replaced(parts)
        trained: dict[str, PartSettings] = {}
        for part_name, settings in self.trainable.items():
            for parameter in parts[part_name].parameters:
                if parameter.kind not in settings.kinds:
                    continue
                without_decay = parameter.name in undecayed
                trained[parameter.name] = replace(settings, decay_multiplier=0.0) if without_decay else settings
        return trained


@dataclass(frozen=True)
class Plan:
    """The phases in order.

    Attributes:
        phases: At least one.
    """

    phases: tuple[Phase, ...]

    @property
    def epochs(self) -> int:
        """Number of epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    def with_regularizers(self, regularizers: Sequence[Regularizer], parts: Parts, batch_size: int) -> Plan:
        """The same plan, with each regularizer in the phases that train one of its target parameters.

        Args:
            regularizers: In the order in which they are added to the loss.
            parts: The parts of the model.
            batch_size: Images per batch and process.

        Raises:
            RequestError: No phase trains a target parameter, no weights were loaded, or the regularizer refuses the
                model or the plan.
        """
        plan = self
        for regularizer in regularizers:
            plan = plan._with_regularizer(regularizer, parts, batch_size)
        return plan

    def _with_regularizer(self, regularizer: Regularizer, parts: Parts, batch_size: int) -> Plan:
        if not any(parameter.loaded for parameter in parts.parameters):
            raise RequestError(
                f"regularizer={regularizer.name}: it needs pretrained weights, and none were loaded. "
                "Load weights (backbone.weights=imagenet), or leave the regularizer out."
            )
        targets = regularizer.target_parameters(parts)
        active = [not targets.isdisjoint(phase.trainable_parameters(parts)) for phase in self.phases]
        if not any(active):
            raise RequestError(
                f"regularizer={regularizer.name}: this plan trains none of the parameters that it acts on. "
                "Let the backbone learn (freeze=none), or leave the regularizer out."
            )
        trained_before: set[str] = set()
        for phase in self.phases[: active.index(True)]:
            trained_before |= phase.trainable_parameters(parts).keys()
        regularizer.check(parts, trained_before, batch_size)
        phases = []
        for phase, is_active in zip(self.phases, active, strict=True):
            added = (regularizer,) if is_active else ()
            phases.append(replace(phase, regularizers=(*phase.regularizers, *added)))
        return Plan(tuple(phases))

    def check(self, parts: Parts) -> Plan:
        """Refuse a plan that cannot be carried out or would ruin the transfer.

        Returns:
            The plan itself.

        Raises:
            RequestError: An unknown part, a phase without epochs or without trained parameters, or parameters that are
                frozen although they were neither loaded nor trained before.
        """
        trained: set[str] = set()
        for phase in self.phases:
            if unknown := [name for name in phase.trainable if name not in parts]:
                raise RequestError(f"the plan names {join_names(unknown)}. The parts: {', '.join(parts)}.")
            if phase.epochs < 1:
                raise RequestError(f"phase {phase.name!r} has {phase.epochs} epochs. Every phase needs at least one.")
            trained_now = phase.trainable_parameters(parts).keys()
            if not trained_now:
                raise RequestError(f"phase {phase.name!r} trains no parameter.")
            trained |= trained_now
            _check_no_random_weights_frozen(phase, parts, trained)
        return self


def _check_no_random_weights_frozen(phase: Phase, parts: Parts, trained: set[str]) -> None:
    """Refuse a phase that freezes random weights. trained: the parameters trained up to the end of this phase."""
    for part in parts.values():
        random = [p.name for p in part.parameters if not p.loaded and p.name not in trained]
        if random:
            raise RequestError(
                f"phase {phase.name!r} freezes {len(random)} tensors of {part.name} that were never loaded "
                f"({join_names(random, 2)}): random weights would stay. Load weights "
                "(backbone.weights=imagenet), or let them learn (freeze=none)."
            )
