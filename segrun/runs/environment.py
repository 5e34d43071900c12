"""environment.json: on what a run was made."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from segrun.models.weights.loading import LoadReport

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
    """Versions, device, git commit and command line; where the pretrained weights came from."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "command": shlex.join(sys.argv),
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": gpu or f"cpu ({torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()})",
        "packages": {name: _version(name) for name in PACKAGES},
        "git": _commit(),
        "weights": str(report),
        "tensors": report.names(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Of segrun's own clone, if it runs from one."""
    try:
        here = Path(__file__).parent
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, timeout=5
        )
        return done.stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
