"""Several jobs in one command: each in a folder of its own that its config decides, so that the same line
again skips what is done and goes on with what is not."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from segrun.engine.files import write_text
from segrun.errors import SegrunError
from segrun.report.console import console
from segrun.report.tables import percent

ERROR = "error.txt"


@dataclass(frozen=True)
class Outcome:
    """One job: what was asked of it, its folder, and how it ended (done, skipped or failed)."""

    asked: tuple[str, ...]
    folder: Path
    ended: str
    error: str = ""


_outcomes: list[Outcome] = []


def job(asked: list[str], folder: Path, run: Callable[[], Any]) -> Outcome:
    """Run one job of a sweep. Only an interruption ends the sweep; a failure is kept for the end."""
    words = tuple(asked)
    console().rule(escape(" ".join(words)) or "defaults", style="dim")
    if (folder / "result.json").is_file():
        console().print(f"done before: {escape(str(folder))}")
        return _kept(Outcome(words, folder, "skipped"))
    try:
        run()
    except Exception as error:
        if os.environ.get("SEGRUN_DEBUG") == "1":
            traceback.print_exc()
        text = str(error) if isinstance(error, SegrunError) else f"{type(error).__name__}: {error}"
        if folder.is_dir():
            write_text(folder / ERROR, text + "\n")
        console().print(f"failed: {text}", style="red", markup=False)
        return _kept(Outcome(words, folder, "failed", text))
    (folder / ERROR).unlink(missing_ok=True)
    return _kept(Outcome(words, folder, "done"))


def _kept(outcome: Outcome) -> Outcome:
    _outcomes.append(outcome)
    return outcome


def summary() -> int:
    """Print one table over the jobs; returns the exit status."""
    if not _outcomes:
        return 0
    table = Table(
        "job", "val mIoU", "test mIoU", "trained", "seconds", "", title=f"{len(_outcomes)} jobs", title_justify="left"
    )
    failed = [outcome for outcome in _outcomes if outcome.ended == "failed"]
    common = set.intersection(*(set(outcome.asked) for outcome in _outcomes)) if len(_outcomes) > 1 else set()

    def name(outcome: Outcome) -> str:
        """What sets a job apart from the others."""
        return escape(" ".join(word for word in outcome.asked if word not in common)) or "defaults"

    for outcome in _outcomes:
        if outcome.ended == "failed":
            table.add_row(name(outcome), "", "", "", "", "[red]failed[/]")
            continue
        result = json.loads((outcome.folder / "result.json").read_text(encoding="utf-8"))
        cost = result["cost"]
        scores = [percent((result[split] or {}).get("miou")) for split in ("val", "test")]
        table.add_row(
            name(outcome), *scores, f"{cost['parameters_trained']:,}", f"{cost['seconds']:.0f}", outcome.ended
        )
    console().print(table)
    for outcome in failed:
        console().print(f"failed: {name(outcome)}: {escape(outcome.error)}", style="red")
    if failed:
        console().print(f"{len(failed)} of {len(_outcomes)} jobs failed; the same line again tries them anew.")
    console().print(f"run folders: {escape(str(_outcomes[0].folder.parent))}")
    _outcomes.clear()
    return 1 if failed else 0
