"""The model that a training starts or continues with, or its shapes alone."""

from __future__ import annotations

from dataclasses import replace

from segrun.checkpoints.checkpoint import Checkpoint
from segrun.experiment.checkpoint_model import initial_model, restored_model
from segrun.experiment.experiment import Experiment
from segrun.experiment.model import Auxiliaries, new_model
from segrun.models.backbones.backbone import Weightless
from segrun.models.segmenter import Segmenter
from segrun.models.weights.report import LoadReport
from segrun.types import ClassMap


def adapted_model(
    experiment: Experiment,
    classes: ClassMap,
    channels: int,
    auxiliary: Auxiliaries,
    resume: Checkpoint | None = None,
) -> tuple[Segmenter, list[str]]:
    """The initial model with what the strategy inserts, or the model as it was saved; and notes for the user."""
    if resume is None:
        origin, trusted, base = experiment.init_from, experiment.trusted, experiment.base
        model = initial_model(experiment.model, origin, trusted, classes, channels, auxiliary, base)
        return model, experiment.strategy.adapt(model)
    resume = replace(resume, config=experiment.config.to_dict())  # the run's own, also where a sweep found the file
    with resume.errors_name_it():
        model = restored_model(resume, experiment.trust, auxiliary)
    model.report = LoadReport(**resume.training["report"])  # type: ignore[index]  # read_request has checked it
    return model, []


def planned_model(
    experiment: Experiment,
    classes: ClassMap,
    channels: int,
    auxiliary: Auxiliaries,
    resume: Checkpoint | None = None,
) -> tuple[Segmenter, list[str]]:
    """`adapted_model` without storage: shapes and names only; its report says which weights are expected.

    `init_from` and a resumed run are read all the same: they are the user's files, and what fits depends on them.
    """
    if experiment.init_from is not None or resume is not None:
        model, notes = adapted_model(experiment, classes, channels, auxiliary, resume)
        return model.to("meta"), notes
    with Weightless():
        model = new_model(experiment.model, len(classes), channels, auxiliary).to("meta")
        return model, experiment.strategy.adapt(model)
