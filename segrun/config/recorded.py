"""The config of a run as a record: stored, hashed, compared and displayed, but not read for settings."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from segrun.config.keys import facts, flatten, keys_that
from segrun.names import shortened

LABEL_BYTES = 180  # of a folder's name, which begins with the time or ends in seed and hash
NONE = "none"  # the value of a setting that a run does not have


class RecordedConfig:
    """A resolved config with the chosen options (`names`) and the overrides (`asked`).

    Settings are read from a config by `segrun.config` and `segrun.experiment` only; everything else holds this record.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    @property
    def options(self) -> Mapping[str, str]:
        """The chosen option of each group."""
        return self._values.get("names") or {}

    @property
    def overrides(self) -> Sequence[str]:
        """The words of the command line that changed the config."""
        return self._values.get("asked") or ()

    @property
    def overridden_keys(self) -> list[str]:
        return [word.partition("=")[0].lstrip("+~") for word in self.overrides]

    @property
    def summary(self) -> dict[str, Any]:
        """What result.json repeats at its top."""
        return {"names": self.options, "seed": self._values["seed"], "labels": self._values["labels"]}

    @property
    def label(self) -> str:
        """<dataset>_<backbone>_<head>_<strategy>, for the name of a run folder."""
        words = (self.dataset_name, *(_word(self.options.get(group)) for group in ("backbone", "head", "strategy")))
        return shortened("_".join(words), LABEL_BYTES)

    @property
    def dataset_name(self) -> str:
        """The name of the data set; of the user's own images that of their root folder."""
        root, name = self._values["dataset"].get("root"), self.options.get("dataset")
        name = _word(Path(root).expanduser().resolve().name if root and name == "folder" else name)
        return shortened(name, LABEL_BYTES)

    @property
    def job_name(self) -> str:
        """The name of a sweep's job: equal for equal configs."""
        return f"{self.label}_seed{self._values['seed']}_{self.hash}"

    @property
    def hash(self) -> str:
        """Ten characters that two configs share when they ask for the same run."""
        text = json.dumps(self.identity(), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def identity(self) -> dict[str, Any]:
        """Every single key that can change the result, with its value."""
        return {key: value for key, value in flatten(self._values) if facts(key).affects_result}

    def comparable(self) -> dict[str, str]:
        """What tells experiments apart, by key: options and single values, without what copies of one differ in."""
        if not self.options:
            return {}
        settings = {k: v for k, v in self.identity().items() if not (facts(k).replicate or facts(k).measured)}
        settings |= dict(self._measured_overrides())
        settings |= {group: name for group, name in self.options.items() if facts(group).affects_result}
        several = (group for group in keys_that("multiple") if facts(group).affects_result)
        settings |= {group: "+".join(self._values[group]) for group in several if self._values.get(group)}
        # interned: thousands of runs repeat the same words
        return {sys.intern(k): sys.intern(NONE if v is None else str(v)) for k, v in settings.items()}

    def replicate(self) -> str:
        """What tells a run from copies of the same experiment: its seed, and how its splits were drawn."""
        split = self._values.get("split") or {}
        drawn = f", split {split['seed']}" if split.get("seed") else ""
        fold = f", fold {split['fold']}" if split.get("folds") else ""
        return f"{self._values.get('seed')}{drawn}{fold}"

    def with_measured(self, measured: Mapping[str, Any]) -> RecordedConfig:
        """With what was measured on the training images, so that it stays with the run."""
        return RecordedConfig({**self._values, "dataset": {**self._values["dataset"], **measured}})

    def to_dict(self) -> dict[str, Any]:
        """For JSON and checkpoints."""
        return dict(self._values)

    def to_yaml(self) -> str:
        return str(yaml.safe_dump(self._values, sort_keys=False, allow_unicode=True))

    def _measured_overrides(self) -> Iterator[tuple[str, str]]:
        for word in self.overrides:
            key, _, value = word.lstrip("+").partition("=")
            if facts(key).measured:
                yield key, value


def _word(name: str | None) -> str:
    """A name as part of a folder's name."""
    return re.sub(r"[^\w.-]+", "-", str(name or "own"))
