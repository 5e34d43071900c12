"""What a strategy is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from segrun.models.parts import Parts, Weights
from segrun.models.segmenter import Segmenter
from segrun.transfer.freeze import FreezeSchedule
from segrun.transfer.plan import Plan


class Strategy(ABC):
    """Makes the training plan from the names of parts; it never sees the optimizer or the training loop."""

    def adapt(self, model: Segmenter) -> list[str]:
        """Insert what the strategy adds to the model, such as adapters.

        Args:
            model: With its pretrained weights; changed in place.

        Returns:
            Notes for the user.
        """
        return []

    @abstractmethod
    def plan(self, parts: Parts, freeze: FreezeSchedule, epochs: int) -> Plan:
        """The training plan.

        Args:
            parts: The parts of the model, after `adapt`.
            freeze: The freeze schedule.
            epochs: Number of epochs of the run.

        Raises:
            RequestError: The freeze schedule or the model contradicts the strategy.
        """

    def export(self, model: Segmenter) -> None:  # noqa: B027 – most strategies insert nothing
        """Merge what `adapt` has inserted into the weights, where that is exact, for the checkpoint that is kept."""

    def candidates(self, kept: Sequence[Weights]) -> Iterator[tuple[str, Weights]]:
        """Weights to try after training.

        Their norm statistics are estimated again, they are scored on val, and the best ones are kept if they are
        better than those of every epoch.

        Args:
            kept: The weights at the ends of the phases with `keep_weights`, in order.

        Yields:
            Name and weights of each candidate.
        """
        yield from ()
