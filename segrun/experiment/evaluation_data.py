"""The data that a checkpoint is scored on: its own, or another data set of the same classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from segrun.checkpoints.checkpoint import Checkpoint
from segrun.config.build import partial, to_dataclass
from segrun.config.keys import facts
from segrun.config.legacy import translate
from segrun.config.recorded import RecordedConfig
from segrun.config.trust import Trust
from segrun.data.dataset import Dataset, Splits
from segrun.data.read.intensity import IntensitySettings
from segrun.data.scan.checks import refuse_mixed_masks
from segrun.data.split.splits import check_disjoint, check_names_exist
from segrun.errors import RequestError, join_names
from segrun.experiment.recorded_paths import print_paths

Values = Mapping[str, Any]


@dataclass(frozen=True)
class EvaluationData:
    """A data set and the splits that can be scored.

    Attributes:
        splits: The run's stored splits, those of the data set, or "all" where it has none.
        notes: What the user should know.
    """

    dataset: Dataset
    splits: Splits
    notes: Sequence[str]


def evaluation_data(config: Values, checkpoint: Checkpoint, trust: Trust) -> EvaluationData:
    """The run's own data at its stored splits, or the data set that is asked for.

    Args:
        config: Of `segrun eval`.
        checkpoint: Of the run.
        trust: Modules that the checkpoint's config may name.

    Raises:
        RequestError: The classes or channels are not the checkpoint's; the difference is named.
        DataError: Files are damaged.
    """
    if config.get("dataset") is None:
        values = translate(checkpoint.config)
        print_paths(values, "dataset")
        with checkpoint.errors_name_it():
            dataset = _opened(values["dataset"], trust)
            check_names_exist(checkpoint.splits, dataset.names)
        return EvaluationData(dataset, checkpoint.splits, dataset.notes)
    keys = RecordedConfig(config).overridden_keys
    dataset = _opened(_read_alike(config["dataset"], checkpoint, keys), None)
    _check_alike(dataset, checkpoint)
    refuse_mixed_masks(dataset, dataset.names)
    same_data = all(facts(key).locates_data for key in keys if key.startswith("dataset."))
    stored_names = {name for names in checkpoint.splits.values() for name in names}
    if same_data and stored_names <= set(dataset.names):
        note = "contains all images of the run's stored splits, which are used"
        return EvaluationData(dataset, checkpoint.splits, [*dataset.notes, note])
    return EvaluationData(dataset, dataset.splits or {"all": dataset.names}, dataset.notes)


def _opened(settings: Values, trust: Trust) -> Dataset:
    dataset: Dataset = partial(settings, "dataset", trust=trust, base=Dataset)()
    dataset.check()
    check_disjoint(dataset.splits)
    return dataset


def _read_alike(settings: Values, checkpoint: Checkpoint, keys: Sequence[str]) -> Values:
    """The data set with the checkpoint's channels and intensities, unless the user gives others.

    Raises:
        RequestError: Only one of them has an intensity, or one would be measured that is the training's.
    """
    if "channels" in settings and "dataset.channels" not in keys:
        settings = {**settings, "channels": checkpoint.weights["mean"].numel()}
    trained = _intensity_of(checkpoint)
    if trained and "intensity" not in settings:
        raise RequestError(
            "the checkpoint was trained on raw values that dataset.intensity scales; this data set has no intensity."
        )
    given = any(key.startswith("dataset.intensity") for key in keys)
    if "intensity" in settings and not given:
        settings = {**settings, "intensity": trained or settings["intensity"]}
    if (settings.get("intensity") or {}).get("scale") == "dataset":
        raise RequestError(
            "dataset.intensity.scale=dataset: is measured on training images, and this checkpoint holds no such "
            "numbers. Give dataset.intensity.scale=fixed or image, with low and high."
        )
    return settings


def _intensity_of(checkpoint: Checkpoint) -> Values | None:
    """The intensity of the training, as numbers and words: it becomes part of a config that is the user's own."""
    recorded = checkpoint.config["dataset"].get("intensity")
    return asdict(to_dataclass(recorded, IntensitySettings, "dataset.intensity")) if recorded else None


def _check_alike(dataset: Dataset, checkpoint: Checkpoint) -> None:
    channels = checkpoint.weights["mean"].numel()
    if dataset.channels != channels:
        raise RequestError(
            f"the checkpoint is for images of {channels} channels, those of the data set have {dataset.channels}."
        )
    trained, present = checkpoint.classes.names, dataset.classes.names
    if trained == present:
        return
    lacking = [name for name in trained if name not in present]
    unknown = [name for name in present if name not in trained]
    differences = []
    if lacking:
        differences.append(f"the data set lacks {join_names(lacking)}")
    if unknown:
        differences.append(f"the checkpoint lacks {join_names(unknown)}")
    raise RequestError(
        f"the checkpoint has {len(trained)} classes, the data set {len(present)}: "
        f"{'; '.join(differences) or 'the same ones in another order'}. Give dataset.classes in the checkpoint's order."
    )
