"""Images a second of prediction: segrun's inference beside a plain forward pass, on the same network.

    python benchmarks/predict.py
    python benchmarks/predict.py --size 480 --device cuda

Ours goes from uint8 pictures through `segrun.inference.inference.Inference` to class indices, as `segrun
predict` does; reading and writing files is left out. Theirs is segmentation_models.pytorch (extra `bench`)
on pictures that are normalised already: `model(x).argmax(1)`, fp32, contiguous. As in train_step.py they
take turns in one process, whose freed memory is kept for both.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import train_step as bench
from torch import Tensor, nn

from segrun.device import autocast, memory_layout
from segrun.experiment import assemble
from segrun.inference.inference import Inference


def main() -> None:
    args = bench.options(__doc__.splitlines()[0], rounds=15, steps=3).parse_args()
    bench.heading("prediction", args)
    for row in bench.rows(args.device == "cuda"):
        values, accelerator = bench.ready(args, row)
        device = accelerator.device
        ours, theirs = (model.eval() for model in bench.networks(values, device))
        batches = bench.pictures(values, device)
        mine, plain = bench.endless(batches), bench.endless(bench.normalised(batches, ours))
        sizing = assemble.sizing(values, tile=max(1024, args.size))  # one window: a forward pass a batch
        context = partial(autocast, device, row.precision)
        inference = Inference(ours, sizing, device, context, memory_layout(row.channels_last, device.type == "cuda"))

        @torch.no_grad()
        def their_masks(model: nn.Module = theirs, turn: Iterator[Any] = plain) -> Tensor:
            return model(next(turn)[0]).argmax(1)

        def our_masks(inference: Inference = inference, turn: Iterator[Any] = mine) -> Tensor:
            return inference.logits(next(turn).images).argmax(1)

        bench.show(row.label, *bench.alternating(our_masks, their_masks, args))


if __name__ == "__main__":
    main()
