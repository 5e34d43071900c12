"""Images per second of a training step: segrun's loop beside a plain one, with the same network.

    python benchmarks/train_step.py
    python benchmarks/train_step.py --size 480 --batch 4 --device cuda --bf16-loss

Ours is `segrun.engine.step.train_step` with a model built from a config, called as `segrun train` calls it, on uint8
images. Theirs is segmentation_models.pytorch (extra `bench`) in a loop of four lines, fp32, contiguous, on images that
are normalised already. Both take turns in one process, round by round.

On a CPU, segrun makes glibc keep freed memory (`tune_malloc`). That holds for the whole process, so the plain loop
profits too: the ratio is smaller than between two separate programs.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import segmentation_models_pytorch as smp
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from segrun.commands.train import start_process
from segrun.config.compose import compose
from segrun.data.loader.collate import collate
from segrun.data.loader.seeds import derive_seed
from segrun.device import has_native_bf16, memory_layout
from segrun.engine.objective import Objective
from segrun.engine.optimizers import parameter_groups
from segrun.engine.step import train_step
from segrun.experiment.experiment import Experiment
from segrun.experiment.model import new_model
from segrun.experiment.plan import make_plan
from segrun.experiment.tasks import build_balance
from segrun.models.segmenter import Segmenter
from segrun.tasks.task import Task
from segrun.transfer.apply import set_modes, set_trainable
from segrun.types import Batch, Example

CLASSES = 11
DISTINCT_BATCHES = 8  # used again and again
Step = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        label: Its first column.
        precision: Precision of our step.
        channels_last: Memory format of our step.
    """

    label: str
    precision: str
    channels_last: bool | Literal["auto"]


def table_rows(cuda: bool) -> list[Row]:
    """The settings that are measured."""
    layout = "channels_last" if memory_layout("auto", cuda) is torch.channels_last else "contiguous"
    precision = "bf16" if has_native_bf16(cuda) else "fp32"
    return [
        Row("same precision and layout", "fp32", False),
        Row("channels_last", "fp32", True),
        Row(f"auto ({layout} + {precision} here)", "auto", "auto"),
    ]


def argument_parser(description: str, rounds: int, steps: int) -> argparse.ArgumentParser:
    """The arguments of this benchmark and of predict.py."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--batch", type=int, default=8, help="images per batch")
    parser.add_argument("--rounds", type=int, default=rounds, help="rounds of each, in turns")
    parser.add_argument("--steps", type=int, default=steps, help="batches per round")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    return parser


def set_up(args: argparse.Namespace, row: Row) -> tuple[Experiment, Accelerator]:
    """The experiment of a row, and the accelerator as a training would prepare it."""
    overrides = ["head=deeplabv3plus", "backbone.weights=none", f"dataset.size={args.size}"]
    overrides += [f"dataset.train={DISTINCT_BATCHES * args.batch}", f"trainer.batch_size={args.batch}"]
    overrides += [f"trainer.device={args.device}", f"trainer.precision={row.precision}"]
    experiment = Experiment.from_config(compose("train", [*overrides, f"trainer.channels_last={row.channels_last}"]))
    return experiment, start_process(experiment.trainer)


def build_networks(experiment: Experiment, device: torch.device) -> tuple[Segmenter, nn.Module]:
    """Ours and theirs, of the same size."""
    torch.manual_seed(0)
    ours = new_model(experiment.model, CLASSES).to(device)
    theirs = smp.DeepLabV3Plus("mobilenet_v2", encoder_weights=None, classes=CLASSES).to(device)
    sizes = [sum(p.numel() for p in model.parameters()) for model in (ours, theirs)]
    if abs(sizes[0] - sizes[1]) > 0.05 * sizes[1]:
        raise SystemExit(f"not the same network: {sizes} parameters")
    return ours, theirs


def make_batches(experiment: Experiment, device: torch.device) -> list[Batch]:
    """Batches of the dataset `shapes` on the device, so that neither side waits for a disk or a copy."""
    dataset, batch_size = experiment.data.dataset(), experiment.trainer.batch_size
    samples = [dataset.sample(name) for name in dataset.splits["train"]]
    examples = [Example(sample.name, sample.image, {"mask": sample.mask}) for sample in samples]
    batches = []
    for start in range(0, len(examples), batch_size):
        batch = collate(examples[start : start + batch_size])
        batches.append(Batch(batch.names, batch.images.to(device), {"mask": batch.targets["mask"].to(device)}))
    return batches


def normalised_batches(batches: Sequence[Batch], model: Segmenter) -> list[tuple[Tensor, Tensor]]:
    """What the plain loop is given: normalised floats and int64 targets."""
    return [(model.normalised(batch.images), batch.targets["mask"].long()) for batch in batches]


def make_our_step(
    model: Segmenter, experiment: Experiment, batches: Sequence[Batch], accelerator: Accelerator
) -> Callable[[], float]:
    """One optimizer step of segrun's loop on the next batch; returns its loss."""
    settings, factory = experiment.trainer, experiment.optimizer
    tasks = [Task("mask", experiment.loss())]
    objective = Objective(tasks, build_balance(experiment, tasks, accelerator.device))
    parts, phase = model.parts(), make_plan(experiment, model).phases[0]
    layout = memory_layout(settings.channels_last, accelerator.device.type == "cuda")
    model.to(memory_format=layout)  # type: ignore[call-overload]
    optimizer = factory(parameter_groups(model, set_trainable(model, parts, phase), factory, settings.decay_1d))
    set_modes(model, parts, phase)
    prepared_model, prepared_optimizer = accelerator.prepare(model, optimizer)
    stream = endless(batches)

    def step() -> float:
        window = [next(stream)]
        result = train_step(
            prepared_model, prepared_optimizer, objective, window, settings, accelerator, stopping=False, seed=0
        )
        return result.loss

    return step


def make_their_step(model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> Step:
    """One optimizer step of a plain loop on the next batch."""
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-3)
    stream = endless(batches)

    def step() -> None:
        images, target = next(stream)
        loss = F.cross_entropy(model(images), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def endless(items: Sequence[Any]) -> Iterator[Any]:
    """The items again and again."""
    return itertools.cycle(items)


def measure_in_turns(ours: Step, theirs: Step, args: argparse.Namespace) -> tuple[float, float]:
    """Images per second of each: the median over rounds that take turns, after a first one that does not count."""
    speeds: tuple[list[float], list[float]] = ([], [])
    for round_number in range(args.rounds + 1):
        for step, speed in zip((ours, theirs), speeds, strict=True):
            synchronize(args.device)
            start = time.perf_counter()
            for _ in range(args.steps):
                step()
            synchronize(args.device)
            if round_number > 0:
                speed.append(args.steps * args.batch / (time.perf_counter() - start))
    return statistics.median(speeds[0]), statistics.median(speeds[1])


def synchronize(device: str) -> None:
    """Wait until the GPU has finished."""
    if device == "cuda":
        torch.cuda.synchronize()


def print_heading(what: str, args: argparse.Namespace) -> None:
    """Describe what is measured, and print the table's header."""
    cpu = f"CPU, {torch.get_num_threads()} threads"
    where = torch.cuda.get_device_name() if args.device == "cuda" else cpu
    print(f"{what}: mobilenet_v2 + DeepLabV3+, batch {args.batch} of {args.size}×{args.size}, {where}")
    print(f"images/s, median of {args.rounds} rounds of {args.steps} batches; plain: always fp32, contiguous")
    if args.device == "cpu":
        print("freed memory is kept (tune_malloc) for both sides, because it holds for the whole process")
    print(f"{'':<38}{'ours':>10}{'plain':>10}{'ours/plain':>12}")


def print_row(label: str, ours: float, theirs: float) -> None:
    """Print a line of the table."""
    print(f"{label:<38}{ours:>10.2f}{theirs:>10.2f}{ours / theirs:>12.2f}", flush=True)


def loss_after_training(args: argparse.Namespace, precision: str) -> float:
    """The mean loss over the last pass of --loss-steps steps, with the same start, batches and dropout."""
    experiment, accelerator = set_up(args, Row("", precision, True))
    model, _ = build_networks(experiment, accelerator.device)
    step = make_our_step(model, experiment, make_batches(experiment, accelerator.device), accelerator)
    losses = []
    for number in range(args.loss_steps):
        torch.manual_seed(derive_seed(0, number))
        losses.append(step())
    return statistics.fmean(losses[-DISTINCT_BATCHES:])


def main() -> None:
    parser = argument_parser(__doc__.splitlines()[0], rounds=7, steps=3)
    parser.add_argument("--bf16-loss", action="store_true", help="also the loss after training in fp32 and in bf16")
    parser.add_argument("--loss-steps", type=int, default=50, help="steps of that training")
    args = parser.parse_args()
    print_heading("training step", args)
    for row in table_rows(args.device == "cuda"):
        experiment, accelerator = set_up(args, row)
        ours, theirs = build_networks(experiment, accelerator.device)
        batches = make_batches(experiment, accelerator.device)
        their_step = make_their_step(theirs, normalised_batches(batches, ours))
        our_step = make_our_step(ours, experiment, batches, accelerator)
        print_row(row.label, *measure_in_turns(our_step, their_step, args))
    if args.bf16_loss:
        if not has_native_bf16(args.device == "cuda"):
            print("this processor has no bf16: it is emulated, which takes very long", flush=True)
        fp32, bf16 = loss_after_training(args, "fp32"), loss_after_training(args, "bf16")
        print(f"loss after {args.loss_steps} steps (mean of the last {DISTINCT_BATCHES}): ", end="")
        print(f"fp32 {fp32:.4f}, bf16 {bf16:.4f}, relative difference {abs(bf16 - fp32) / fp32:.2%}")


if __name__ == "__main__":
    main()
