"""The Hugging Face client, which timm uses for its pretrained weights. All that segrun asks of it is in this file."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from urllib.parse import urlparse
from urllib.request import getproxies

from segrun.models.weights.fetching import TIMEOUT


@contextlib.contextmanager
def offline_if_unreachable() -> Iterator[None]:
    """Inside, the client looks into its cache only if its host cannot be reached.

    It retries for most of a minute otherwise. The client reads `constants.HF_HUB_OFFLINE` at each request; there is no
    public switch that works after its import.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def describe_repository(repository: str) -> str:
    """Where the client will find the weights of a model repository, in words. Asks no host."""
    from huggingface_hub import try_to_load_from_cache

    files = [try_to_load_from_cache(repository, name) for name in ("model.safetensors", "pytorch_model.bin")]
    cached = any(isinstance(path, str) for path in files)
    return f"{'Hugging Face cache' if cached else 'publisher'} ({repository})"


def _reachable(url: str) -> bool:
    if getproxies():
        return True  # a proxy may reach hosts that this machine does not
    address = urlparse(url)
    try:
        socket.create_connection((address.hostname, address.port or 443), TIMEOUT).close()
    except OSError:
        return False
    return True
