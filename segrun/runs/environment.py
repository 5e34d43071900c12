"""environment.json: the software and hardware that a run used."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from segrun.models.weights.report import LoadReport

PACKAGES = (
    "segrun",
    "torch",
    "torchvision",
    "accelerate",
    "torchmetrics",
    "hydra-core",
    "omegaconf",
    "numpy",
    "pillow",
)


def environment(device: torch.device, report: LoadReport) -> dict[str, object]:
    """Command line, versions, device, git commit, and the origin of the pretrained weights.

    Args:
        device: The device of the training.
        report: What became of the pretrained weights.
    """
    return {
        "command": shlex.join(sys.argv),
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": _device_name(device),
        "packages": {name: _installed_version(name) for name in PACKAGES},
        "git": _git_commit(),
        "weights": str(report),
        "tensors": report.names(),
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()})"


def _installed_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the clone that segrun runs from, None if it does not run from one."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip() or None
