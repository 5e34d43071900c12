"""Imports go down only, and the command line is there before torch is."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import segrun

ROOT = Path(segrun.__file__).parent
MODULES = {
    ".".join(("segrun", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}

# what each room may see, besides itself; "data.dataset" is that module alone
BELOW = {
    "segrun": {"config", "commands", "engine"},
    "__main__": {"cli"},
    "cli": {"commands", "config", "overrides", "report", "errors", "segrun"},
    "config": {"overrides", "errors"},
    "overrides": {"errors"},
    "commands": {
        *("config", "comparison", "engine", "report", "tasks", "transfer", "models", "data", "metrics", "types"),
        "errors",
    },
    "comparison": {"config", "errors"},
    "report": {"config", "comparison", "engine", "data.dataset", "metrics", "models", "transfer", "types", "errors"},
    "engine": {"transfer", "tasks", "metrics", "data", "models", "types", "errors"},
    "rows": {"errors"},
    "tasks": {"rows", "models.heads", "models.backbone", "metrics", "types", "errors"},
    "transfer": {"models", "errors"},
    "models": {"types", "errors"},
    "data": {"rows", "types", "errors"},
    "metrics": {"types", "errors"},
    "types": set(),
    "errors": set(),
}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def imported(path: Path, everywhere: bool = True) -> Iterator[str]:
    """Full names of the modules that a file imports; everywhere=False: only those run by importing it."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            inside = [f"{node.module}.{name.name}" for name in node.names]
            modules = [name for name in inside if name in MODULES]
            yield from modules
            if len(modules) < len(inside):
                yield str(node.module)
        lazy = isinstance(node, ast.FunctionDef) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        )
        if everywhere or not lazy:
            waiting += ast.iter_child_nodes(node)


def test_every_room_has_its_rule() -> None:
    assert {room(module) for module in MODULES} == set(BELOW)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_what_lies_below_it(module: str) -> None:
    here = room(module)
    found = {name for name in imported(MODULES[module]) if name.split(".")[0] == "segrun" and room(name) != here}
    allowed = BELOW[here]
    up = {name for name in found if room(name) not in allowed and not any(
        f"{name}.".startswith(f"segrun.{one}.") for one in allowed if "." in one)}  # fmt: skip
    assert not up, f"{module} may not import {', '.join(sorted(up))}"


def test_only_the_front_door_knows_hydra_and_omegaconf() -> None:
    knows = {m for m, path in MODULES.items() if {n.split(".")[0] for n in imported(path)} & {"hydra", "omegaconf"}}
    assert knows == {"segrun.cli", "segrun.config", "segrun.overrides"}


def test_there_are_no_cycles() -> None:
    graph = {m: {n for n in imported(path, everywhere=False) if n in MODULES} - {m} for m, path in MODULES.items()}
    assert any(graph.values())
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


@pytest.mark.parametrize(
    "code", ["import segrun", "import segrun.cli", "from segrun.cli import main\nmain(['--help'])"]
)
def test_the_first_help_needs_neither_torch_nor_hydra(code: str) -> None:
    heavy = "torch torchvision hydra omegaconf numpy rich PIL matplotlib"
    script = f"import sys\ntry:\n    exec({code!r})\nexcept SystemExit as end:\n    assert not end.code\n"
    script += f"print('heavy:', *[name for name in {heavy!r}.split() if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy:"
    assert ("usage: segrun <command>" in done.stdout) == ("help" in code)
