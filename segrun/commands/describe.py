"""`segrun describe`: a model's parts, maps, operations and memory, without making it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from segrun.config.compose import Config, to_dict
from segrun.errors import RequestError
from segrun.experiment import assemble
from segrun.models.backbones.backbone import Weightless
from segrun.models.segmenter import Segmenter
from segrun.report.models import Cost, cost_lines, part_table
from segrun.report.terminal import console

PAIR = 2  # images: batch norm after pooling cannot learn from one


def run(cfg: Config) -> None:
    values = to_dict(cfg)
    size = values["size"]
    if not (isinstance(size, list) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size)):
        raise RequestError(f"size={size}: give [height,width] in pixels, such as size=[512,512].")
    for key in ("channels", "classes", "batch_size"):
        if not isinstance(values[key], int) or values[key] < 1:
            raise RequestError(f"{key}={values[key]}: a whole number from 1 on.")
    report = assemble.segmenter(values, values["classes"], values["channels"]).report if values["load"] else None
    values["backbone"] = {**values["backbone"], "weights": "none"}
    with Weightless():
        model = assemble.segmenter(values, values["classes"], values["channels"])
        found = cost(model.to("meta"), (PAIR, values["channels"], *size))
    parts = model.parts()
    out = console()
    out.print(part_table(parts, found))
    for line in cost_lines(parts, found, values["batch_size"], size):
        out.print(line, highlight=False)
    if report is not None:
        out.print(f"weights: {report}", highlight=False, markup=False)
        for kind, names in report.names().items():
            out.print(f"{kind}: {', '.join(names) or 'none'}", highlight=False, markup=False)


def cost(model: Segmenter, shape: tuple[int, ...]) -> Cost:
    """Count a forward pass of a pair of images. The model refuses images that are too small for it."""
    held: dict[int, int] = {}
    own = {p.untyped_storage()._cdata for p in model.parameters()}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage._cdata not in own:
            held[storage._cdata] = storage.nbytes()
        kept.append(value)  # a freed storage's place may be another's next
        return value

    kept: list[Tensor] = []
    images = torch.zeros(shape, device=next(model.parameters()).device)
    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda value: value):
        output = model.train()(images)
    counts = counter.get_flop_counts()
    root = type(model).__name__
    operations = {
        part.name: sum(sum(counts.get(f"{root}.{path}", {}).values()) for path in part.modules) // (2 * PAIR)
        for part in model.parts().values()
    }
    maps = [tuple(m.shape[1:]) for m in (*output.features, *output.tasks.values())]
    return Cost(operations, sum(held.values()) // PAIR, maps)
