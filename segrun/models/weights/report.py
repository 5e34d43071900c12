"""What became of pretrained weights: which tensors of a network came from where."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class LoadReport:
    """An account of every tensor of a network and of a weights file.

    Attributes:
        source: Where the weights came from, in words.
        loaded: The network's tensors that were copied as they are.
        adapted: The network's tensors that were loaded after a change of shape (another number of image channels,
            another grid of position embeddings).
        new: The network's tensors that keep their random initialisation.
        unused: Tensors of the file that the network does not have.
        share: Share of the network's parameter values that came from the file, from 0 to 1.
        expected: Nothing was read: `loaded` and `share` say what a training is expected to find.
    """

    source: str
    loaded: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    share: float = 0.0
    expected: bool = False

    @property
    def matched(self) -> tuple[str, ...]:
        """The network's tensors that came from the file."""
        return (*self.loaded, *self.adapted)

    def prefixed(self, prefix: str) -> LoadReport:
        """The same report for a module that holds the network under a name.

        Args:
            prefix: Put in front of the network's tensor names, with its final dot.
        """
        return replace(
            self,
            loaded=tuple(prefix + name for name in self.loaded),
            adapted=tuple(prefix + name for name in self.adapted),
            new=tuple(prefix + name for name in self.new),
        )

    def merge(self, other: LoadReport, sizes: tuple[int, int]) -> LoadReport:
        """One report for two networks. This report's source names both.

        Args:
            other: The second network's report.
            sizes: How many parameter values the first and the second network have.
        """
        return LoadReport(
            self.source,
            self.loaded + other.loaded,
            self.adapted + other.adapted,
            self.new + other.new,
            self.unused + other.unused,
            (self.share * sizes[0] + other.share * sizes[1]) / max(1, sum(sizes)),
            self.expected or other.expected,
        )

    def __str__(self) -> str:
        if not self.matched:
            return "none: every weight starts at random"
        if self.expected:
            return f"expected: {len(self.matched)} tensors from {self.source}; {self.share:.1%} of its values; not read"
        return (
            f"{self.source}: {len(self.loaded)} tensors loaded, {len(self.adapted)} adapted, "
            f"{len(self.new)} new, {len(self.unused)} unused; {self.share:.1%} of its values"
        )

    def names(self) -> dict[str, list[str]]:
        """The tensors that were not simply loaded, by what became of them."""
        return {"adapted": list(self.adapted), "new": list(self.new), "unused": list(self.unused)}
