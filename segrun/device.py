"""Device, precision, memory and processes. Everything that depends on accelerate's or torch's internals is here."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from segrun.errors import RequestError

if TYPE_CHECKING:  # accelerate takes a second to import
    from accelerate import Accelerator

T = TypeVar("T")
WORKER_GRACE = 5.0  # seconds in which a loader's processes may end by themselves


def torch_device(device: str) -> torch.device:
    """The torch device for `auto`, `cpu` or `cuda`.

    Raises:
        RequestError: `cuda` without a CUDA device, or an unknown name.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise RequestError(f"device={device}: choose auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise RequestError("device=cuda: torch sees no CUDA device here. Use device=auto or cpu.")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def check_device(device: str, precision: str) -> torch.device:
    """The torch device, if this machine has it and it can compute at this precision.

    Raises:
        RequestError: CUDA without a GPU, or fp16 on a CPU.
    """
    found = torch_device(device)
    if precision == "fp16" and found.type != "cuda":
        raise RequestError("trainer.precision=fp16 needs CUDA. Use fp32, or bf16 where the processor has it.")
    return found


def make_accelerator(device: str, precision: str, timeout: float | None = None) -> Accelerator:
    """The accelerator of one command.

    Args:
        device: `auto`, `cpu` or `cuda`.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        timeout: Seconds that the processes of a training wait for one that does not respond; None: as torch chooses.

    Raises:
        RequestError: CUDA without a GPU, or fp16 on a CPU.
    """
    cuda = check_device(device, precision).type == "cuda"
    if not cuda:
        tune_malloc()
    _reset_accelerate()
    if precision == "auto":
        mixed_precision = "bf16" if has_native_bf16(cuda) else "no"
    else:
        mixed_precision = "no" if precision == "fp32" else precision
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    handlers = [] if timeout is None else [InitProcessGroupKwargs(timeout=timedelta(seconds=timeout))]
    return Accelerator(cpu=not cuda, mixed_precision=mixed_precision, kwargs_handlers=handlers)


def _reset_accelerate() -> None:
    from accelerate.state import AcceleratorState, GradientState

    # accelerate keeps device and precision in singletons and offers no public way to change them, but the jobs of a
    # sweep share a process and may differ in both
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def release_prepared(accelerator: Accelerator, model: nn.Module) -> None:
    """Undo `accelerator.prepare`, so that the next phase can prepare the same model with another optimizer.

    Args:
        accelerator: The accelerator that prepared the model.
        model: What `prepare` returned for the model.
    """
    accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    # `free_memory` would do it, but it also empties CUDA's cache and collects garbage, which costs time in each phase
    accelerator._models.clear()
    accelerator._optimizers.clear()


def sum_over_processes(accelerator: Accelerator, value: Tensor) -> Tensor:
    """The sum of a tensor over all processes; the tensor itself where there is one process."""
    return _reduced(accelerator, value, "sum")


def mean_over_processes(accelerator: Accelerator, value: Tensor) -> Tensor:
    """The mean of a tensor over all processes; the tensor itself where there is one process."""
    return _reduced(accelerator, value, "mean")


def _reduced(accelerator: Accelerator, value: Tensor, reduction: str) -> Tensor:
    if accelerator.num_processes == 1:
        return value
    reduced: Tensor = accelerator.reduce(value, reduction)
    return reduced


def copy_from_first_process(accelerator: Accelerator, tensors: Iterable[Tensor]) -> None:
    """Overwrite the tensors, in place, with those of the first process."""
    if accelerator.num_processes > 1:
        for tensor in tensors:
            torch.distributed.broadcast(tensor, 0)


def gather_objects(value: T) -> list[T]:
    """The value of each process, in the order of their indices, in all processes."""
    from accelerate.utils import gather_object

    return list(gather_object([value]))


def broadcast_object(value: T) -> T:
    """The value of the first process, in all processes."""
    from accelerate.utils import broadcast_object_list

    received: T = broadcast_object_list([value])[0]
    return received


def any_rank_stopping(stopping: bool, accelerator: Accelerator) -> bool:
    """Whether any process has received a signal to stop."""
    flag = torch.tensor(float(stopping), device=accelerator.device)
    return bool(sum_over_processes(accelerator, flag))


def tune_malloc() -> None:
    """Let glibc keep freed memory instead of returning it to the operating system. Other C libraries are not changed.

    A training step frees and allocates the same large blocks again and again. Without this, the page faults can cost as
    much as the arithmetic: twice the images per second at 360×480 on the machine of docs/results.md.
    """
    m_trim_threshold, m_mmap_max = -1, -4  # from malloc.h
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, -1)


def has_native_bf16(cuda: bool) -> bool:
    """Whether the processor computes in bf16 itself. Emulated, it is many times slower than fp32."""
    if cuda:
        return torch.cuda.get_device_capability()[0] >= 8
    # torch has no public test for these instruction sets, and the names of the private ones differ between versions
    tests = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return any(is_supported() for is_supported in tests if is_supported is not None)


def memory_layout(channels_last: bool | Literal["auto"], cuda: bool) -> torch.memory_format:
    """The memory format of images and weights.

    Args:
        channels_last: Whether to use channels last; `auto` where its kernels are faster, which is on CUDA and on
            processors with AVX-512. With AVX2 only, the convolutions' gradients lose what the norms gain
            (docs/results.md).
        cuda: Whether the device is a GPU.
    """
    if channels_last == "auto":
        channels_last = cuda or "AVX512" in torch.backends.cpu.get_cpu_capability()
    return torch.channels_last if channels_last else torch.contiguous_format


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context for a forward pass at a precision (`auto`, `fp32`, `bf16` or `fp16`)."""
    enabled = has_native_bf16(device.type == "cuda") if precision == "auto" else precision != "fp32"
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=enabled)


def loader_workers(workers: int, cuda: bool) -> int:
    """The number of loader processes.

    Args:
        workers: The setting; -1 chooses 0 on a CPU, where a loader would take cores from the network, and up to 8 on a
            GPU, which would wait for it.
        cuda: Whether the device is a GPU.
    """
    if workers >= 0:
        return workers
    return min(8, os.cpu_count() or 1) if cuda else 0


def end_workers(loader: Any) -> None:
    """End a loader's processes, even those that hang.

    Args:
        loader: The iterator of a torch DataLoader.
    """
    workers = getattr(loader, "_workers", [])
    if not workers:  # this process loads
        return

    def kill() -> None:
        for worker in workers:
            worker.kill()

    killer = threading.Timer(WORKER_GRACE, kill)
    with contextlib.suppress(RuntimeError):  # torch reports those that are killed; at its exit Python starts no thread
        killer.start()
        loader._shutdown_workers()
    killer.cancel()
    kill()  # at Python's exit, torch has done nothing


def reset_peak_memory(cuda: bool) -> None:
    """Start a new measurement for `peak_memory`, since several runs may share a process."""
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(cuda: bool) -> int | None:
    """Largest number of bytes in use since `reset_peak_memory`: on the GPU, or else of this process.

    For a process it is only known on Linux; elsewhere the result is None.
    """
    if cuda:
        return int(torch.cuda.max_memory_allocated())
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    high_water_mark = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(high_water_mark[1]) * 1024 if high_water_mark else None
