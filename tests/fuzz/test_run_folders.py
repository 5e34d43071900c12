"""A run folder with an altered file ends in a result or in one line that segrun knows, whatever command reads it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.fuzz.commands import forks, run_command
from tests.fuzz.run_folders import (
    READERS,
    Alteration,
    alterations,
    altered_run,
    commands,
    copy_run,
    source_of,
    write_sources,
)

pytest.importorskip("timm", reason="extra timm")

SAMPLE = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(8)]
OTHERS = [pytest.param(seed, marks=pytest.mark.long) for seed in range(8, 200)]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sources")
    before = Path.cwd()
    os.chdir(root)
    write_sources(root)
    os.chdir(before)
    return root


def check_commands(alteration: Alteration, root: Path) -> None:
    """Run what reads the altered folder root/run."""
    for words in commands(alteration, "run"):
        shutil.rmtree(root / "masks", ignore_errors=True)
        outcome = run_command(words, root)
        assert not outcome.faults(), f"{words[0]}, {alteration}: {outcome.faults()}\n{outcome.output}"


@forks
@pytest.mark.parametrize("seed", [*SAMPLE, *OTHERS])
def test_an_altered_file_ends_in_a_result_or_in_a_known_message(seed: int, sources: Path) -> None:
    check_commands(altered_run(sources, sources / "run", seed), sources)


@forks
@pytest.mark.long
@pytest.mark.parametrize("file", READERS)
def test_no_change_of_any_key_is_an_unknown_error(file: str, sources: Path) -> None:
    source = source_of(sources, file)
    for alteration in alterations(source, file):
        copy_run(source, sources / "run")
        alteration.apply(sources / "run")
        check_commands(alteration, sources)
