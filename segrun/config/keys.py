"""What is true of each config key: the one table that everything asks.

A row holds for its key and for all keys below it; the nearest row that says something decides. So a new strategy or
head needs no row.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Facts:
    """What is true of a key; None in a row: as for the prefix above it.

    Attributes:
        path: The value is a path. It is quoted before Hydra parses it, and `~` is expanded.
        path_per_split: The value may also be a mapping such as {train: path, val: path}.
        comma_list: The value is one word or several, separated by commas.
        multiple: A group of which any number of options may be chosen.
        affects_result: Two runs that differ in it may have different results.
        may_change_on_resume: A resumed run may change it.
        chosen_on_val: A search may choose its value by a score on val.
        budget: It says how long a training takes.
        replicate: Copies of one experiment differ in it.
        measured: Measured on the training images; two runs are compared by what was asked for.
        of_strategy: A strategy consists of it; a control run has its own.
        initial_weights: It names pretrained weights; a control run from random weights has none.
        locates_data: It says where or how the same data are stored; the stored split stays valid.
        shown_by_value: In tables of a comparison its value says enough without the key.
    """

    path: bool | None = None
    path_per_split: bool | None = None
    comma_list: bool | None = None
    multiple: bool | None = None
    affects_result: bool | None = None
    may_change_on_resume: bool | None = None
    chosen_on_val: bool | None = None
    budget: bool | None = None
    replicate: bool | None = None
    measured: bool | None = None
    of_strategy: bool | None = None
    initial_weights: bool | None = None
    locates_data: bool | None = None
    shown_by_value: bool | None = None


TRUE_BY_DEFAULT = ("affects_result", "chosen_on_val")
DEFAULT = Facts(**{field.name: field.name in TRUE_BY_DEFAULT for field in dataclasses.fields(Facts)})

# of groups that tables show by value, the order is that of the table's columns
KEYS: dict[str, Facts] = {
    # groups and what is below them
    "strategy": Facts(shown_by_value=True, of_strategy=True),
    "labels": Facts(shown_by_value=True, chosen_on_val=False),
    "backbone": Facts(shown_by_value=True),
    "backbone.weights": Facts(path=True, initial_weights=True),
    "head": Facts(shown_by_value=True),
    "dataset": Facts(shown_by_value=True, chosen_on_val=False),
    "dataset.root": Facts(path=True, locates_data=True, replicate=True),
    "dataset.voc": Facts(path=True, locates_data=True),
    "dataset.annotations": Facts(path=True, path_per_split=True),
    "dataset.images": Facts(path=True, path_per_split=True),
    "dataset.data": Facts(path=True),
    "dataset.backgrounds": Facts(path=True),
    "dataset.classes": Facts(locates_data=True),
    "dataset.masks": Facts(locates_data=True),
    "dataset.ignore_index": Facts(locates_data=True),
    "dataset.allow_unpaired": Facts(locates_data=True),
    "dataset.allow_outside": Facts(locates_data=True, affects_result=False),
    "dataset.channels": Facts(locates_data=True),
    "dataset.exif": Facts(locates_data=True),
    "dataset.download": Facts(locates_data=True, affects_result=False),
    "dataset.intensity": Facts(measured=True),
    "freeze": Facts(shown_by_value=True, of_strategy=True),
    "regularizer": Facts(shown_by_value=True, of_strategy=True, multiple=True),
    "auxiliary": Facts(shown_by_value=True, multiple=True),
    "auxiliary.segmentation.dataset.root": Facts(path=True),
    "auxiliary.image_labels.file": Facts(path=True),
    "balance": Facts(shown_by_value=True),
    "loss": Facts(shown_by_value=True),
    "augment": Facts(shown_by_value=True),
    "sizing": Facts(shown_by_value=True),
    "optimizer": Facts(shown_by_value=True),
    "schedule": Facts(shown_by_value=True),
    "splits": Facts(chosen_on_val=False),
    "split": Facts(chosen_on_val=False),
    "split.file": Facts(path=True),
    "split.groups": Facts(path=True),
    "split.seed": Facts(replicate=True),
    "split.fold": Facts(replicate=True),
    "trainer.epochs": Facts(budget=True),
    "trainer.steps": Facts(budget=True),
    "trainer.batch_size": Facts(budget=True),
    "trainer.accumulate": Facts(budget=True),
    "trainer.device": Facts(affects_result=False, may_change_on_resume=True),
    "trainer.workers": Facts(affects_result=False, may_change_on_resume=True),
    "trainer.timeout": Facts(affects_result=False, may_change_on_resume=True),
    "trainer.cache": Facts(affects_result=False, may_change_on_resume=True),
    "tracker": Facts(affects_result=False, may_change_on_resume=True, multiple=True),
    "tracker.mlflow.tracking_uri": Facts(path=True),
    "rules": Facts(affects_result=False),
    "experiment": Facts(affects_result=False, chosen_on_val=False),
    "search": Facts(affects_result=False),
    "hydra": Facts(affects_result=False),
    # keys of train and choose
    "seed": Facts(chosen_on_val=False, replicate=True),
    "init_from": Facts(path=True, initial_weights=True),
    "base": Facts(path=True, affects_result=False, chosen_on_val=False),
    "resume": Facts(path=True, affects_result=False, may_change_on_resume=True),
    "output": Facts(path=True, affects_result=False, may_change_on_resume=True),
    "trust": Facts(affects_result=False, may_change_on_resume=True),
    "test": Facts(affects_result=False, chosen_on_val=False),
    "retry": Facts(affects_result=False),
    "budget": Facts(affects_result=False),
    # written into the config by segrun: the chosen options and the overrides
    "names": Facts(affects_result=False),
    "asked": Facts(affects_result=False),
    # keys of other commands
    "checkpoint": Facts(path=True),
    "input": Facts(path=True),
    "name": Facts(path=True),
    "runs": Facts(comma_list=True),
    "by": Facts(comma_list=True),
    "choose": Facts(comma_list=True),
}


@functools.cache
def facts(key: str) -> Facts:
    """What is true of a key such as `optimizer.lr`, or of a group such as `optimizer`."""
    words = key.split(".")
    prefixes = [".".join(words[:count]) for count in range(len(words), 0, -1)]
    rows = [*(KEYS[prefix] for prefix in prefixes if prefix in KEYS), DEFAULT]
    names = [field.name for field in dataclasses.fields(Facts)]
    return Facts(**{name: next(v for row in rows if (v := getattr(row, name)) is not None) for name in names})


def keys_that(fact: str) -> list[str]:
    """The rows that say `fact`, in the order of the table."""
    return [key for key, row in KEYS.items() if getattr(row, fact)]


def flatten(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A nested config as pairs of dotted key and value."""
    if isinstance(values, Mapping) and values:
        for key, value in values.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, values
