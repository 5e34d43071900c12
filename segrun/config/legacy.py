"""Configs that older versions of segrun recorded: old names become the present ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED_GROUPS = {"term": "regularizer"}
RENAMED_KEYS = {
    "rules.exchanged": "rules.swapped",
    "rules.unlearnt": "rules.not_in_train",
    "rules.absent": "rules.class_absent",
}

# classes of version 0.1, without "segrun."
MOVED = {
    "data.augment.Augment": "data.augment.augment.Augment",
    "data.sets.coco_maps.Panoptic": "data.sets.coco_panoptic.CocoPanoptic",
    "data.sets.coco_maps.Stuff": "data.sets.coco_stuff.CocoStuff",
    "data.sets.folder.CamVid": "data.sets.camvid.CamVid",
    "data.sets.geo.GeoTiff": "data.sets.geotiff.GeoTiff",
    "data.sets.voc.SBD": "data.sets.sbd.SBD",
    "models.timm.TimmBackbone": "models.backbones.timm.TimmBackbone",
    "models.torchvision.TorchvisionBackbone": "models.backbones.torchvision.TorchvisionBackbone",
    "models.vit.TorchvisionViT": "models.backbones.vit.TorchvisionViT",
    "report.mlflow.MLflow": "report.trackers.mlflow.MLflow",
    "report.tensorboard.TensorBoard": "report.trackers.tensorboard.TensorBoard",
    "report.wandb.WeightsAndBiases": "report.trackers.wandb.WeightsAndBiases",
    "tasks.balance.DWA": "tasks.balance.dwa.DWA",
    "tasks.balance.Fixed": "tasks.balance.fixed.Fixed",
    "tasks.balance.GradNorm": "tasks.balance.gradnorm.GradNorm",
    "tasks.balance.PCGrad": "tasks.balance.pcgrad.PCGrad",
    "tasks.balance.Uncertainty": "tasks.balance.uncertainty.Uncertainty",
    "tasks.boundary.Boundary": "tasks.auxiliary.boundary.Boundary",
    "tasks.detection.Detection": "tasks.auxiliary.detection.Detection",
    "tasks.distance.Distance": "tasks.auxiliary.distance.Distance",
    "tasks.image_labels.ImageLabels": "tasks.auxiliary.image_labels.ImageLabels",
    "tasks.losses.CrossEntropy": "tasks.losses.cross_entropy.CrossEntropy",
    "tasks.losses.Focal": "tasks.losses.focal.Focal",
    "tasks.losses.Lovasz": "tasks.losses.lovasz.Lovasz",
    "tasks.losses.Sum": "tasks.losses.sum.Sum",
    "tasks.losses.Tversky": "tasks.losses.tversky.Tversky",
    "tasks.presence.Presence": "tasks.auxiliary.presence.Presence",
    "tasks.reconstruction.Reconstruction": "tasks.auxiliary.reconstruction.Reconstruction",
    "tasks.segmentation.Segmentation": "tasks.auxiliary.segmentation.Segmentation",
    "transfer.adapter_modules.AdaptFormer": "transfer.adapters.adaptformer.AdaptFormer",
    "transfer.adapter_modules.ConvAdapter": "transfer.adapters.conv_adapter.ConvAdapter",
    "transfer.adapters.LoRA": "transfer.adapters.lora.LoRA",
    "transfer.adapters.SSF": "transfer.adapters.ssf.SSF",
    "transfer.ensemble.WiseFT": "transfer.strategies.wise_ft.WiseFT",
    "transfer.feature_terms.BSS": "transfer.regularizers.bss.BSS",
    "transfer.feature_terms.Delta": "transfer.regularizers.delta.Delta",
    "transfer.feature_terms.Distill": "transfer.regularizers.distill.Distill",
    "transfer.rates.AutoRGN": "transfer.strategies.auto_rgn.AutoRGN",
    "transfer.rates.Discriminative": "transfer.strategies.discriminative.Discriminative",
    "transfer.rates.LayerDecay": "transfer.strategies.layer_decay.LayerDecay",
    "transfer.strategies.FeatureExtraction": "transfer.strategies.feature_extraction.FeatureExtraction",
    "transfer.strategies.Finetune": "transfer.strategies.finetune.Finetune",
    "transfer.strategies.Scratch": "transfer.strategies.scratch.Scratch",
    "transfer.terms.L2SP": "transfer.regularizers.l2sp.L2SP",
}


def translate(config: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded config in the present names; one of this version stays as it is."""
    values = {RENAMED_GROUPS.get(key, key): _renamed(value) for key, value in config.items()}
    if "names" in values:
        values["names"] = {RENAMED_GROUPS.get(group, group): option for group, option in values["names"].items()}
    if isinstance(values.get("backbone"), Mapping):  # the data set decides its channels
        values["backbone"] = {key: value for key, value in values["backbone"].items() if key != "in_channels"}
    return values


def _renamed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _class(item) if key == "_target_" else _renamed(item) for key, item in value.items()}
    return [_renamed(item) for item in value] if isinstance(value, list) else value


def _class(path: Any) -> Any:
    package, _, rest = str(path).partition(".")
    return f"segrun.{MOVED[rest]}" if package == "segrun" and rest in MOVED else path
