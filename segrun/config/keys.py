"""What is true of each config key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# what may differ between a run and its resumption, and between two runs that are the same run
INCIDENTAL = (
    "trainer.device", "trainer.workers", "trainer.cache", "dataset.download", "rules", "tracker", "resume", "output",
    "trust", "names", "asked", "test", "retry", "budget",
)  # fmt: skip


def identity(values: Mapping[str, Any]) -> dict[str, Any]:
    """The flat config without what cannot change the outcome."""
    every = dict(flat(values))
    inside = tuple(f"{key}." for key in INCIDENTAL)
    return {k: v for k, v in every.items() if k not in INCIDENTAL and not k.startswith(inside)}


def config_hash(values: Mapping[str, Any]) -> str:
    """Ten characters that two configs share when they ask for the same run."""
    text = json.dumps(identity(values), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def flat(values: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(values, Mapping) and values:
        return [pair for k, v in values.items() for pair in flat(v, f"{prefix}.{k}" if prefix else str(k))]
    return [(prefix, values)]
