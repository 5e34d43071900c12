"""Pretrained tensors into a network, with an account of every one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from segrun.errors import RequestError, join_names
from segrun.models.weights.adapting import fold_channels, input_kernel, resampled_square
from segrun.models.weights.fetching import fetch
from segrun.models.weights.files import Normalisation, load_file, stored_normalisation
from segrun.models.weights.matching import NameMatch, match_names
from segrun.models.weights.report import LoadReport
from segrun.models.weights.source import WeightSource

State = dict[str, Tensor]


def read_weights(source: WeightSource) -> tuple[State, str]:
    """The tensors of a source, and where they came from in words.

    Raises:
        RequestError: The file cannot be obtained or read.
    """
    path, origin = fetch(source)
    return load_file(path), origin


def load_weights(
    module: nn.Module,
    source: WeightSource | None,
    min_loaded: float,
    read: Callable[[WeightSource], tuple[State, str]] = read_weights,
) -> tuple[LoadReport, Normalisation | None]:
    """Load the weights of a source into a network.

    A network without storage (`Weightless`) takes no weights: nothing is downloaded or read, and the report says what a
    training expects.

    Args:
        module: The network.
        source: Its weights; None leaves the network as it was initialised.
        min_loaded: Smallest share of the network's values that the weights must fill, from 0 to 1.
        read: Gets the tensors of a source and where they came from.

    Returns:
        The report, and the normalisation of images that the file states, if any.

    Raises:
        RequestError: The weights cannot be obtained or read, or do not fit; see `load_into`.
    """
    if source is None:
        return LoadReport("none"), None
    if is_weightless(module):
        return LoadReport(str(source), loaded=tuple(module.state_dict()), share=1.0, expected=True), None
    state, origin = read(source)
    normalisation = stored_normalisation(state)
    return load_into(module, state, origin, min_loaded), normalisation


def load_into(
    module: nn.Module, state: Mapping[str, Tensor], source: str, min_loaded: float, sees_images: bool = True
) -> LoadReport:
    """Copy the tensors that fit by name and shape, whatever wrapper their names stand in (`module.`, `encoder.`, …).

    Position embeddings are resampled to the network's grid, and the kernel of the first convolution is folded to its
    channels. A network without storage gets the report alone.

    Args:
        module: The network.
        state: The tensors of the weights file.
        source: Where they came from, for the report and for messages.
        min_loaded: Smallest share of the network's values that the tensors must fill, from 0 to 1.
        sees_images: The network's first convolution sees images, so that its kernel may be folded.

    Raises:
        RequestError: The tensors fill less than `min_loaded`, the file has as much more for the same parts, or the
            first kernel does not fit.
    """
    network = module.state_dict()
    kernel = input_kernel(module) if sees_images else None
    match = match_names(state, network)
    loaded, adapted = _fitting(state, network, match, kernel)
    report = _report(module, network, state, match, loaded, adapted, source)
    _check_share(report, min_loaded)
    if min_loaded:
        _check_not_larger(report, module, state, match, min_loaded)
        _check_kernel(report, network, state, match, kernel)
    if not is_weightless(module):
        module.load_state_dict({**loaded, **adapted}, strict=False)
    return report


def is_weightless(module: nn.Module) -> bool:
    """Whether the module was built without storage (torch's meta device)."""
    return any(parameter.is_meta for parameter in module.parameters())


def _fitting(
    state: Mapping[str, Tensor], network: Mapping[str, Tensor], match: NameMatch, kernel: str | None
) -> tuple[State, State]:
    """The network's tensors that the file has: as they are, and after a change of shape."""
    loaded, adapted = {}, {}
    for name, value in network.items():
        candidate = state.get(match.files.get(name, ""))
        if candidate is None:
            continue
        if candidate.shape == value.shape:
            loaded[name] = candidate
            continue
        reshaped = _reshaped(candidate, value, name, is_kernel=name == kernel)
        if reshaped is not None:
            adapted[name] = reshaped
    return loaded, adapted


def _reshaped(candidate: Tensor, value: Tensor, name: str, is_kernel: bool) -> Tensor | None:
    """The file's tensor in the shape of the network's; None where that has no meaning."""
    if is_kernel and candidate.ndim == 4 and _without(candidate.shape, 1) == _without(value.shape, 1):
        return fold_channels(candidate, value.shape[1])
    if "pos" in name and candidate.ndim == 3:
        return resampled_square(candidate, value.shape)
    return None


def _report(
    module: nn.Module,
    network: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    match: NameMatch,
    loaded: State,
    adapted: State,
    source: str,
) -> LoadReport:
    filled = {*loaded, *adapted}
    used = {match.files[name] for name in filled}
    new = [name for name in network if name not in filled and not name.endswith("num_batches_tracked")]
    unused = [name for name in state if name not in used]
    share = _filled_values(module, filled) / max(1, sum(p.numel() for p in module.parameters()))
    return LoadReport(source, tuple(loaded), tuple(adapted), tuple(new), tuple(unused), share)


def _filled_values(module: nn.Module, names: set[str]) -> int:
    """How many parameter values the tensors of these names hold."""
    return sum(parameter.numel() for name, parameter in module.named_parameters() if name in names)


def _check_share(report: LoadReport, min_loaded: float) -> None:
    if report.share < min_loaded:
        raise RequestError(
            f"{report.source}: fills only {report.share:.0%} of the backbone's values "
            f"(backbone.min_loaded={min_loaded}); missing or of another shape: {join_names(report.new, 3)}. "
            "Is it the same architecture?"
        )


def _check_not_larger(
    report: LoadReport, module: nn.Module, state: Mapping[str, Tensor], match: NameMatch, min_loaded: float
) -> None:
    """A ResNet-34's weights fill a ResNet-18 completely, and are not its weights."""
    extra = [name for name in report.unused if match.covers(name)]
    filled = max(1, _filled_values(module, set(report.matched)))
    if sum(state[name].numel() for name in extra) > (1 - min_loaded) * filled:
        raise RequestError(
            f"{report.source}: has {len(extra)} tensors more for parts of this backbone ({join_names(extra, 3)}): it "
            "is another, larger architecture. Choose that one as backbone, or set backbone.min_loaded=0."
        )


def _check_kernel(
    report: LoadReport, network: Mapping[str, Tensor], state: Mapping[str, Tensor], match: NameMatch, kernel: str | None
) -> None:
    if kernel is None or kernel not in report.new:
        return
    candidate = state.get(match.files.get(kernel, ""))
    if candidate is not None:
        raise RequestError(
            f"{report.source}: its first kernel is {list(candidate.shape)}, the backbone's "
            f"{list(network[kernel].shape)}: another architecture."
        )


def _without(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])
