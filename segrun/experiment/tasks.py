"""The tasks of a training: the mask first, then the auxiliary tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from segrun.experiment.experiment import Experiment
from segrun.experiment.prepare import PreparedData
from segrun.experiment.train_batches import check_own_dataset, train_names
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.balance.balance import Balance
from segrun.tasks.task import Task


def build_auxiliary(experiment: Experiment, data: PreparedData) -> dict[str, Auxiliary]:
    """The auxiliary tasks by name; data sets of their own are checked, and know what was measured on them.

    Raises:
        RequestError: A task cannot be learned from this data.
        DataError: Files of another data set are damaged.
    """
    tasks: dict[str, Auxiliary] = {}
    for name, waiting in experiment.auxiliary.items():
        task = waiting(image_labels=data.dataset.image_labels)
        if task.dataset is not None:
            check_own_dataset(name, task.dataset, data, experiment.data.sizing)
            fitted, _ = task.dataset.fit(train_names(task.dataset))
            task = waiting.replace(dataset=fitted)(image_labels=data.dataset.image_labels)
        tasks[name] = task
    return tasks


def build_tasks(experiment: Experiment, auxiliary: Mapping[str, Auxiliary], data: PreparedData) -> list[Task]:
    """All tasks, the mask first; its loss knows the class weights.

    Raises:
        RequestError: The class weights do not fit the classes.
    """
    loss = experiment.loss()
    loss.set_class_weights(data.class_counts.sum(0))
    others = [Task(n, a.loss, a.weight, primary=False, regression=a.regression) for n, a in auxiliary.items()]
    return [Task("mask", loss), *others]


def build_balance(experiment: Experiment, tasks: Sequence[Task], device: torch.device) -> Balance:
    """How the losses of the tasks are weighted.

    Raises:
        RequestError: There is one task, and nothing to weigh it against.
    """
    balance = experiment.balance()
    balance.start({t.name: t.regression for t in tasks}, {t.name: t.weight for t in tasks}, device)
    return balance
