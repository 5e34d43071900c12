"""Pretrained tensors into a network, with an account of every one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from segrun.errors import RequestError, join_names
from segrun.models.weights.adapting import fold_channels, input_kernel, resampled_square


@dataclass(frozen=True)
class LoadReport:
    """What became of the pretrained weights: names of tensors, and where they came from in words.

    adapted: loaded after a change of shape (another number of channels, another grid of positions); new: left as
    initialised; unused: in the file, not in the network; share: of the network's values that came from the file.
    """

    source: str
    loaded: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    share: float = 0.0

    @property
    def matched(self) -> tuple[str, ...]:
        return (*self.loaded, *self.adapted)

    def prefixed(self, prefix: str) -> LoadReport:
        """The same for the module that holds the network under a name."""
        loaded, adapted, new = (
            tuple(prefix + name for name in names) for names in (self.loaded, self.adapted, self.new)
        )
        return replace(self, loaded=loaded, adapted=adapted, new=new)

    def merge(self, other: LoadReport, sizes: tuple[int, int]) -> LoadReport:
        """Of two networks of these sizes, one of whose sources names both."""
        return LoadReport(
            self.source,
            self.loaded + other.loaded,
            self.adapted + other.adapted,
            self.new + other.new,
            self.unused + other.unused,
            (self.share * sizes[0] + other.share * sizes[1]) / max(1, sum(sizes)),
        )

    def __str__(self) -> str:
        if not self.matched:
            return "none: every weight starts at random"
        return (
            f"{self.source}: {len(self.loaded)} tensors loaded, {len(self.adapted)} adapted, "
            f"{len(self.new)} new, {len(self.unused)} unused; {self.share:.1%} of its values"
        )

    def names(self) -> dict[str, list[str]]:
        """What is not simply loaded, by name."""
        return {"adapted": list(self.adapted), "new": list(self.new), "unused": list(self.unused)}


def load_into(
    module: nn.Module, state: Mapping[str, Tensor], source: str, min_loaded: float, sees_images: bool = True
) -> LoadReport:
    """Copy what fits by name and shape, whatever wrapper the names stand in (`module.`, `encoder.`, …).

    Position embeddings are resampled to the module's grid and, where it `sees_images`, its first convolution's kernel
    is folded to its channels.

    Raises:
        RequestError: less than `min_loaded` of the module's values came from the file, the file has as much more
            for the same parts, the first kernel does not fit, or `min_loaded` is no share.
    """
    if not 0 <= min_loaded <= 1:
        raise RequestError(f"backbone.min_loaded={min_loaded}: a share between 0 and 1.")
    own = module.state_dict()
    kernel = input_kernel(module) if sees_images else None
    match = matched(state, own)
    loaded, adapted = {}, {}
    for name, value in own.items():
        found = state.get(match.files.get(name, ""))
        if found is None:
            continue
        if found.shape == value.shape:
            loaded[name] = found
        elif name == kernel and found.ndim == 4 and _without(found.shape, 1) == _without(value.shape, 1):
            adapted[name] = fold_channels(found, value.shape[1])
        elif "pos" in name and found.ndim == 3 and (positions := resampled_square(found, value.shape)) is not None:
            adapted[name] = positions
    sizes = {name: value.numel() for name, value in module.named_parameters()}
    filled = sum(size for name, size in sizes.items() if name in loaded or name in adapted)
    share = filled / max(1, sum(sizes.values()))
    used = {match.files[name] for name in (*loaded, *adapted)}
    report = LoadReport(
        source,
        tuple(loaded),
        tuple(adapted),
        tuple(n for n in own if n not in loaded and n not in adapted and not n.endswith("num_batches_tracked")),
        tuple(name for name in state if name not in used),
        share,
    )
    if share < min_loaded:
        raise RequestError(
            f"{source}: fills only {share:.0%} of the backbone's values (backbone.min_loaded={min_loaded}); "
            f"missing or of another shape: {join_names(report.new, 3)}. Is it the same architecture?"
        )
    more = [name for name in report.unused if match.inside(name)]
    if min_loaded and sum(state[name].numel() for name in more) > (1 - min_loaded) * max(1, filled):
        raise RequestError(
            f"{source}: has {len(more)} tensors more for parts of this backbone ({join_names(more, 3)}): it is another, "
            "larger architecture. Choose that one as backbone, or set backbone.min_loaded=0."
        )
    if kernel is not None and match.files.get(kernel) in state and kernel in report.new and min_loaded:
        shapes = [list(each.shape) for each in (state[match.files[kernel]], own[kernel])]
        raise RequestError(
            f"{source}: its first kernel is {shapes[0]}, the backbone's {shapes[1]}: another architecture."
        )
    module.load_state_dict({**loaded, **adapted}, strict=False)
    return report


@dataclass(frozen=True)
class Match:
    """files: the network's names → the file's, under `prefix`; children: the network's first words there."""

    files: Mapping[str, str]
    prefix: str
    children: frozenset[str]

    def inside(self, name: str) -> bool:
        """Whether a name of the file's belongs to a part that the network has."""
        return name.startswith(self.prefix) and name.removeprefix(self.prefix).partition(".")[0] in self.children


def matched(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Match:
    """Both may stand under a root of their own (`teacher.module.backbone.` there, `features.` here); the pair of roots
    that agrees on most values is taken, those of the same shape first. Of equals the first in the file, but the
    teacher or the moving average before what it was averaged from."""
    roots = {name.partition(".")[0] + "." for name in own}
    best: tuple[tuple[int, int, bool], Match] = ((0, 0, False), Match({}, "", frozenset()))
    for root in ("", *(roots if len(roots) == 1 else ())):
        wanted = {name.removeprefix(root): name for name in own}
        exact: Counter[str] = Counter()
        near: Counter[str] = Counter()
        for key, value in state.items():
            for start in [0, *(i + 1 for i, letter in enumerate(key) if letter == ".")]:
                name = wanted.get(key[start:])
                if name is not None and own[name].ndim == value.ndim:
                    exact[key[:start]] += value.numel() if own[name].shape == value.shape else 0
                    near[key[:start]] += min(own[name].numel(), value.numel()) or 1
        for prefix in near:
            rank = (exact[prefix], near[prefix], any(word in prefix for word in ("teacher", "ema", "average")))
            if rank > best[0]:
                files = {name: prefix + short for short, name in wanted.items()}
                best = (rank, Match(files, prefix, frozenset(short.partition(".")[0] for short in wanted)))
    return best[1]


def _without(shape: Sequence[int], place: int) -> tuple[int, ...]:
    return (*shape[:place], *shape[place + 1 :])
