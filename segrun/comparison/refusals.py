"""Refusing runs and keys that cannot be compared."""

from __future__ import annotations

from collections.abc import Sequence

from segrun.comparison.runs import Run
from segrun.errors import RequestError, join_names, suggest


def no_finished_run(runs: Sequence[Run]) -> RequestError:
    """The error for runs of which none has finished and has a config."""
    finished = next((run for run in runs if run.result), None)
    if finished is not None:
        return RequestError(
            f"none of the finished runs has a config: {finished.folder} has no config.yaml. Name other runs in runs=…"
        )
    first = runs[0]
    return RequestError(
        f"none of the runs has finished; {first.folder}: {first.error or 'no result.json'}. Wait until runs finish, or "
        "name others in runs=…"
    )


def check_one_split(runs: Sequence[Run]) -> None:
    """Refuse to compare runs scored on val with runs scored on test.

    Raises:
        RequestError: There are both.
    """
    run_by_split = {run.scored_split: run for run in runs if run.result}
    if len(run_by_split) > 1:
        raise RequestError(
            f"{run_by_split['val'].folder} was scored only on val, as the trials of a search are, and "
            f"{run_by_split['test'].folder} on test. Name runs of one kind in runs=…, or train what the search chose "
            "again to compare it on test."
        )


def check_known_keys(runs: Sequence[Run], by: Sequence[str], choose: Sequence[str]) -> None:
    """Refuse keys that no run has.

    Raises:
        RequestError: A key is unknown, or is in both `by` and `choose`.
    """
    known = {key for run in runs for key in run.settings}
    for option, keys in (("by", by), ("choose", choose)):
        unknown = [key for key in keys if key not in known]
        if unknown:
            raise RequestError(f"{option}={join_names(unknown)}: no run has this setting. {suggest(unknown[0], known)}")
    in_both = set(by) & set(choose)
    if in_both:
        raise RequestError(
            f"{join_names(in_both)} is in both by and choose: compare all its values, or let val choose one."
        )
