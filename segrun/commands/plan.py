"""`segrun plan`: what would be trained, when and how fast."""

from __future__ import annotations

import torch

from segrun.config.build import to_dataclass
from segrun.config.compose import Config, to_dict
from segrun.engine.settings import TrainerSettings
from segrun.experiment import assemble, networks
from segrun.report.plan import plan_text
from segrun.report.terminal import console


def run(cfg: Config) -> None:
    values = to_dict(cfg)
    to_dataclass(cfg.trainer, TrainerSettings, "trainer")
    data = assemble.dataset(values)
    torch.manual_seed(values["seed"])
    model = networks.new_segmenter(
        values, data.classes, data.channels, auxiliary=assemble.auxiliary(values, data.labels)
    )
    strategy = assemble.strategy(values)
    notes = strategy.adapt(model)
    text = plan_text(
        assemble.plan(values, model, strategy), model.parts(), values["optimizer"]["lr"], model.report, notes
    )
    console().print(text, end="", soft_wrap=True, markup=False, highlight=False)
