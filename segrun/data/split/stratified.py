"""Drawing splits in which every class has its share of images."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from torch import Tensor

Unit = tuple[int, ...]  # indices of images that stay together
UNUSED = ""  # the split of what is left over


def stratified_split(
    units: Sequence[Unit], present: Tensor, fractions: Mapping[str, float], seed: int
) -> dict[str, list[int]]:
    """Iterative stratification (Sechidis et al., ECML PKDD 2011).

    The class in the fewest remaining units comes first. Each of its units goes to the split that lacks most images of
    that class. A class that is in every unit says nothing and is left out. The units that are left at the end, which
    hold no other class, go in the drawn order to the first split with room.

    Args:
        units: Images that stay together.
        present: (N, classes) bool, whether an image shows a class.
        fractions: Of the images, by split. They add up to 1 or less.
        seed: Seed of the order.

    Returns:
        Indices of images by split.
    """
    shuffled = list(units)
    random.Random(seed).shuffle(shuffled)
    assignment = _Assignment(shuffled, _classes_by_unit(shuffled, present), fractions)
    while (rarest := assignment.rarest_class()) is not None:
        for unit in assignment.remaining_with(rarest):
            assignment.assign(unit, assignment.split_lacking(rarest))
    for unit in assignment.remaining():
        assignment.assign(unit, assignment.split_with_room(unit))
    return {split: assignment.indices[split] for split in fractions}


def _classes_by_unit(units: Sequence[Unit], present: Tensor) -> list[frozenset[int]]:
    """The classes of each unit, without those that every unit has."""
    by_image = [frozenset(row.nonzero().flatten().tolist()) for row in present]
    by_unit = [frozenset[int]().union(*(by_image[index] for index in unit)) for unit in units]
    common = frozenset.intersection(*by_unit) if by_unit else frozenset[int]()
    return [classes - common for classes in by_unit]


class _Assignment:
    """The units assigned to splits so far, and what each split still needs.

    Attributes:
        indices: Indices of images by split.
    """

    def __init__(
        self, units: Sequence[Unit], classes: Sequence[frozenset[int]], fractions: Mapping[str, float]
    ) -> None:
        self._units = units
        self._classes = dict(enumerate(classes))  # of the remaining units
        self._remaining = Counter(label for labels in classes for label in labels)  # units, by class
        whole = {**fractions, UNUSED: max(0.0, 1 - sum(fractions.values()))}
        self._room = _image_counts(whole, sum(map(len, units)))
        self._lacking = {
            split: {label: fraction * count for label, count in self._remaining.items()}
            for split, fraction in whole.items()
        }
        self.indices: dict[str, list[int]] = {split: [] for split in whole}

    def rarest_class(self) -> int | None:
        """The class in the fewest remaining units; None if they hold none."""
        remaining = [label for label, count in self._remaining.items() if count]
        return min(remaining, key=lambda label: (self._remaining[label], label), default=None)

    def remaining(self) -> list[int]:
        return list(self._classes)

    def remaining_with(self, label: int) -> list[int]:
        return [unit for unit, classes in self._classes.items() if label in classes]

    def split_lacking(self, label: int) -> str:
        """The split that lacks most units of a class, of several that with most room."""
        return max(self._room, key=lambda split: (self._lacking[split][label], self._room[split]))

    def split_with_room(self, unit: int) -> str:
        """The first split that the unit fits into, otherwise that with most room."""
        size = len(self._units[unit])
        for split, room in self._room.items():
            if room >= size:
                return split
        return max(self._room, key=lambda split: self._room[split])

    def assign(self, unit: int, split: str) -> None:
        self.indices[split].extend(self._units[unit])
        self._room[split] -= len(self._units[unit])
        for label in self._classes.pop(unit):
            self._lacking[split][label] -= 1
            self._remaining[label] -= 1


def _image_counts(fractions: Mapping[str, float], count: int) -> dict[str, int]:
    """The number of images of each split; rounded cumulatively, so that none is lost."""
    counts: dict[str, int] = {}
    cumulative, end = 0.0, 0
    for split, fraction in fractions.items():
        start = end
        cumulative += fraction
        end = round(cumulative * count)
        counts[split] = end - start
    return counts
