"""Device, precision and processes: one accelerator a run."""

from __future__ import annotations

import contextlib
import os
import re
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

from segrun.errors import RequestError


def torch_device(device: str) -> torch.device:
    """Raises RequestError: CUDA is asked for and is not there."""
    if device not in ("auto", "cpu", "cuda"):
        raise RequestError(f"device={device}: choose auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise RequestError("device=cuda: torch sees no CUDA device here. Use device=auto or cpu.")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def accelerator(device: str, precision: str) -> Accelerator:
    """The accelerator for a device (auto, cpu, cuda) and precision (auto, fp32, bf16, fp16).

    Jobs of one process may differ in both: what accelerate keeps for the process is reset.

    Raises:
        RequestError: CUDA without a GPU, fp16 on a CPU.
    """
    cuda = torch_device(device).type == "cuda"
    if precision == "fp16" and not cuda:
        raise RequestError("trainer.precision=fp16 needs CUDA. Use fp32, or bf16 where the processor has it.")
    if not cuda:
        tune_malloc()
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    mixed = {"auto": "bf16" if fast_bf16(cuda) else "no", "fp32": "no"}.get(precision, precision)
    return Accelerator(cpu=not cuda, mixed_precision=mixed)


def tune_malloc() -> None:
    """Have glibc keep freed memory instead of handing it back to the system: a training step frees and takes
    the same large blocks again, and faulting their pages in anew can cost as much as the arithmetic (twice
    the images a second at 360×480 on the machine of docs/results.md). Other C libraries are left as they are."""
    import ctypes

    m_trim_threshold, m_mmap_max = -1, -4
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, -1)


def fast_bf16(cuda: bool) -> bool:
    """Whether bf16 is done by the processor: emulated, it is many times slower than fp32."""
    if cuda:
        return torch.cuda.get_device_capability()[0] >= 8
    asks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(ask() for ask in asks if ask is not None)


def memory_layout(channels_last: bool | str, cuda: bool) -> torch.memory_format:
    """The order of images and weights in memory. auto: channels last where the kernels for it are the faster ones,
    on CUDA and on processors with AVX-512; with AVX2 alone, what norms gain by it the convolutions' gradients lose
    (docs/results.md)."""
    if channels_last == "auto":
        channels_last = cuda or "AVX512" in torch.backends.cpu.get_cpu_capability()
    return torch.channels_last if channels_last else torch.contiguous_format


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context in which a forward pass is computed at a precision (auto, fp32, bf16, fp16)."""
    cuda = device.type == "cuda"
    low = fast_bf16(cuda) if precision == "auto" else precision != "fp32"
    return torch.autocast(device.type, torch.float16 if precision == "fp16" else torch.bfloat16, enabled=low)


def loader_workers(asked: int, cuda: bool) -> int:
    """On a CPU the loader would only take cores from the network; a GPU waits for it."""
    if asked >= 0:
        return asked
    return min(8, os.cpu_count() or 1) if cuda else 0


def reset_peak_memory(cuda: bool) -> None:
    """Begin a new peak: several runs may share a process."""
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(cuda: bool) -> int | None:
    """Bytes since `reset_peak_memory`: of the GPU, or of this process (Linux only; None elsewhere)."""
    if cuda:
        return int(torch.cuda.max_memory_allocated())
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else None
