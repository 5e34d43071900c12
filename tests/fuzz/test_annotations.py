"""200 damaged annotation, volume and raster files end in a result or in a message that segrun knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.annotations import FORMATS, write_set
from tests.fuzz.commands import forks, run_command

SAMPLE = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(len(FORMATS))]
OTHERS = [pytest.param(seed, marks=pytest.mark.long) for seed in range(len(FORMATS), 200)]


@forks
@pytest.mark.parametrize("seed", [*SAMPLE, *OTHERS])
def test_a_damaged_file_ends_in_a_result_or_in_a_known_message(seed: int, tmp_path: Path) -> None:
    damaged = write_set(tmp_path / "data", seed)
    plan = ["plan", "strategy=scratch", "sizing=pad", "sizing.size=[64,64]"]
    command = plan if seed // len(FORMATS) % 2 else ["check"]
    outcome = run_command([*command, *damaged.words], tmp_path)
    context = f"{damaged.file} ({damaged.change}), {command[0]}: {outcome.faults()}\n{outcome.output}"
    assert not outcome.faults() and outcome.output.strip(), context
