"""Images per second of prediction: segrun's inference beside a plain forward pass, with the same network.

    python benchmarks/predict.py
    python benchmarks/predict.py --size 480 --device cuda

Ours goes from uint8 images through `segrun.inference.inference.Inference` to class indices, as `segrun predict` does,
without reading and writing files. Theirs is segmentation_models.pytorch (extra `bench`) on images that are normalised
already: `model(x).argmax(1)`, fp32, contiguous. As in train_step.py they take turns in one process, whose freed memory
is kept for both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
import train_step as bench
from torch import Tensor, nn

from segrun.device import autocast, memory_layout
from segrun.inference.inference import Inference
from segrun.types import Batch


def make_our_prediction(inference: Inference, batches: Sequence[Batch]) -> Callable[[], Tensor]:
    """Class indices of the next batch."""
    stream = bench.endless(batches)
    return lambda: inference.logits(next(stream).images).argmax(1)


def make_their_prediction(model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> Callable[[], Tensor]:
    """Class indices of the next batch."""
    stream = bench.endless(batches)

    @torch.no_grad()
    def predict() -> Tensor:
        masks: Tensor = model(next(stream)[0]).argmax(1)
        return masks

    return predict


def main() -> None:
    args = bench.argument_parser(__doc__.splitlines()[0], rounds=15, steps=3).parse_args()
    bench.print_heading("prediction", args)
    for row in bench.table_rows(args.device == "cuda"):
        experiment, accelerator = bench.set_up(args, row)
        device = accelerator.device
        ours, theirs = (model.eval() for model in bench.build_networks(experiment, device))
        batches = bench.make_batches(experiment, device)
        sizing = replace(experiment.data.sizing, tile=max(1024, args.size))  # one window, so one forward pass per batch
        layout = memory_layout(row.channels_last, device.type == "cuda")
        ours.to(memory_format=layout)
        inference = Inference(ours, sizing, device, partial(autocast, device, row.precision), layout)
        our_prediction = make_our_prediction(inference, batches)
        their_prediction = make_their_prediction(theirs, bench.normalised_batches(batches, ours))
        bench.print_row(row.label, *bench.measure_in_turns(our_prediction, their_prediction, args))


if __name__ == "__main__":
    main()
