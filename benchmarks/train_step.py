"""Images a second of a training step: segrun's loop beside a plain one, on the same network.

    python benchmarks/train_step.py
    python benchmarks/train_step.py --size 480 --batch 4 --device cuda --bf16-loss

Ours is `segrun.engine.step.step` on a model that the config made, as `segrun train` calls it, from uint8
pictures. Theirs is segmentation_models.pytorch (extra `bench`) in a loop of four lines, fp32, contiguous,
from pictures that are normalised already. Both take turns in one process, round by round.

On a CPU, segrun has glibc keep freed memory (`tune_malloc`). That holds for the whole process, so the plain
loop profits from it too: the ratio is smaller than between two separate programs.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import segmentation_models_pytorch as smp
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from segrun.config.build import build, to_dataclass
from segrun.config.compose import compose, to_dict
from segrun.data.loader.batches import collate, mixed
from segrun.device import fast_bf16, memory_layout
from segrun.engine.optimizers import grouped
from segrun.engine.settings import TrainerSettings
from segrun.engine.step import step
from segrun.experiment import assemble
from segrun.experiment.training import prepare
from segrun.models.segmenter import Segmenter
from segrun.transfer.apply import set_modes, set_trainable
from segrun.types import Batch

CLASSES = 11
DISTINCT = 8  # batches, gone through again and again
Step = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """A line of the table: at which precision and memory layout ours runs."""

    label: str
    precision: str
    channels_last: bool | str


def rows(cuda: bool) -> list[Row]:
    layout = "channels_last" if memory_layout("auto", cuda) is torch.channels_last else "contiguous"
    auto = f"auto ({layout} + {'bf16' if fast_bf16(cuda) else 'fp32'} here)"
    same = Row("same precision and layout", "fp32", False)
    return [same, Row("channels_last", "fp32", True), Row(auto, "auto", "auto")]


def options(description: str, rounds: int, steps: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--batch", type=int, default=8, help="images a batch")
    parser.add_argument("--rounds", type=int, default=rounds, help="rounds of each, in turns")
    parser.add_argument("--steps", type=int, default=steps, help="batches a round")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    return parser


def ready(args: argparse.Namespace, row: Row) -> tuple[dict[str, Any], Accelerator]:
    """The config of a row, and the accelerator as a training would prepare it."""
    overrides = ["head=deeplabv3plus", "backbone.weights=none", f"dataset.size={args.size}"]
    overrides += [f"dataset.train={DISTINCT * args.batch}", f"trainer.batch_size={args.batch}"]
    overrides += [f"trainer.device={args.device}", f"trainer.precision={row.precision}"]
    values = to_dict(compose("train", [*overrides, f"trainer.channels_last={row.channels_last}"]))
    return values, prepare(to_dataclass(values["trainer"], TrainerSettings, "trainer"))


def networks(values: dict[str, Any], device: torch.device) -> tuple[Segmenter, nn.Module]:
    """Ours and theirs, of the same size."""
    torch.manual_seed(0)
    ours = assemble.segmenter(values, CLASSES).to(device)
    theirs = smp.DeepLabV3Plus("mobilenet_v2", encoder_weights=None, classes=CLASSES).to(device)
    sizes = [sum(p.numel() for p in model.parameters()) for model in (ours, theirs)]
    assert abs(sizes[0] - sizes[1]) <= 0.05 * sizes[1], f"not the same network: {sizes} parameters"
    return ours, theirs


def pictures(values: dict[str, Any], device: torch.device) -> list[Batch]:
    """Batches of data set shapes on the device, so that neither side waits for a disk or a copy."""
    data, batch = assemble.dataset(values), values["trainer"]["batch_size"]
    names = data.splits["train"]
    made = [collate([data.sample(n) for n in names[i : i + batch]]) for i in range(0, len(names), batch)]
    return [Batch(b.names, b.images.to(device), {"mask": b.targets["mask"].to(device)}) for b in made]


def normalised(batches: Sequence[Batch], like: Segmenter) -> list[tuple[Tensor, Tensor]]:
    """What the plain loop is given: finished floats and int64 targets."""
    return [(like.normalised(batch.images), batch.targets["mask"].long()) for batch in batches]


def our_step(
    model: Segmenter, values: dict[str, Any], batches: Sequence[Batch], accelerator: Accelerator
) -> Callable[[], float]:
    """One optimizer step of segrun's loop on the next batch; returns its loss."""
    settings = to_dataclass(values["trainer"], TrainerSettings, "trainer")
    task, optimizer = assemble.task(values), build(values["optimizer"], "optimizer")
    parts, phase = model.parts(), assemble.plan(values, model).phases[0]
    layout = memory_layout(settings.channels_last, accelerator.device.type == "cuda")
    model.to(memory_format=layout)  # type: ignore[call-overload]
    made = optimizer(grouped(model, set_trainable(model, parts, phase), optimizer, settings.decay_1d))
    set_modes(model, parts, phase)
    trained, prepared = accelerator.prepare(model, made)
    turn = endless(batches)
    return lambda: step(trained, prepared, [task], [next(turn)], settings, accelerator, False)[0]


def their_step(model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> Step:
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-3)
    turn = endless(batches)

    def once() -> None:
        images, target = next(turn)
        loss = F.cross_entropy(model(images), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return once


def endless(items: Sequence[Any]) -> Iterator[Any]:
    return itertools.cycle(items)


def alternating(ours: Step, theirs: Step, args: argparse.Namespace) -> tuple[float, float]:
    """Images a second of each: the median over rounds that take turns, after one that does not count."""
    speeds: tuple[list[float], list[float]] = ([], [])
    for number in range(args.rounds + 1):
        for once, speed in zip((ours, theirs), speeds, strict=True):
            settle(args.device)
            began = time.perf_counter()
            for _ in range(args.steps):
                once()
            settle(args.device)
            if number:
                speed.append(args.steps * args.batch / (time.perf_counter() - began))
    return statistics.median(speeds[0]), statistics.median(speeds[1])


def settle(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def heading(what: str, args: argparse.Namespace) -> None:
    cpu = f"CPU, {torch.get_num_threads()} threads"
    where = torch.cuda.get_device_name() if args.device == "cuda" else cpu
    print(f"{what}: mobilenet_v2 + DeepLabV3+, batch {args.batch} of {args.size}×{args.size}, {where}")
    print(f"images/s, median of {args.rounds} rounds of {args.steps} batches; plain: always fp32, contiguous")
    if args.device == "cpu":
        print("freed memory is kept (tune_malloc) for both sides: it holds for the whole process")
    print(f"{'':<38}{'ours':>10}{'plain':>10}{'ours/plain':>12}")


def show(label: str, ours: float, theirs: float) -> None:
    print(f"{label:<38}{ours:>10.2f}{theirs:>10.2f}{ours / theirs:>12.2f}", flush=True)


def loss_after(args: argparse.Namespace, precision: str) -> float:
    """The mean loss over the last pass of --loss-steps steps; start, batches and dropout the same."""
    values, accelerator = ready(args, Row("", precision, True))
    model, _ = networks(values, accelerator.device)
    once = our_step(model, values, pictures(values, accelerator.device), accelerator)
    losses = []
    for number in range(args.loss_steps):
        torch.manual_seed(mixed(0, number))
        losses.append(once())
    return statistics.fmean(losses[-DISTINCT:])


def main() -> None:
    parser = options(__doc__.splitlines()[0], rounds=7, steps=3)
    parser.add_argument("--bf16-loss", action="store_true", help="also the loss after a training in each")
    parser.add_argument("--loss-steps", type=int, default=50, help="steps of that training")
    args = parser.parse_args()
    heading("training step", args)
    for row in rows(args.device == "cuda"):
        values, accelerator = ready(args, row)
        ours, theirs = networks(values, accelerator.device)
        batches = pictures(values, accelerator.device)
        plain = normalised(batches, ours)
        mine = our_step(ours, values, batches, accelerator)
        show(row.label, *alternating(mine, their_step(theirs, plain), args))
    if args.bf16_loss:
        if not fast_bf16(args.device == "cuda"):
            print("this processor has no bf16: it is emulated, which takes very long", flush=True)
        full, low = loss_after(args, "fp32"), loss_after(args, "bf16")
        print(f"loss after {args.loss_steps} steps (mean of the last {DISTINCT}): ", end="")
        print(f"fp32 {full:.4f}, bf16 {low:.4f}, relative difference {abs(low - full) / full:.2%}")


if __name__ == "__main__":
    main()
