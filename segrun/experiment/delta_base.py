"""The pretrained weights that a delta checkpoint was trained from: the user's, or published ones that segrun knows.

A path or URL in the checkpoint's config is never opened. What is loaded has to have the recorded hash.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segrun.checkpoints.checkpoint import Checkpoint
from segrun.config.build import Partial, partial
from segrun.config.compose import compose
from segrun.config.legacy import translate
from segrun.config.options import conf_dir
from segrun.errors import RequestError
from segrun.models.backbones.backbone import Backbone
from segrun.models.weights.source import Published

OWN_SETTINGS = ("name", "output_stride", "min_loaded")  # of a backbone: they name nothing to fetch


def base_start(
    checkpoint: Checkpoint, backbone: Partial[Backbone], base: str | None
) -> tuple[Partial[Backbone], str | None]:
    """Where to load the base from.

    Args:
        checkpoint: A delta checkpoint.
        backbone: Of its config, without weights.
        base: The user's own weights file, run folder or checkpoint.

    Returns:
        The backbone with the base's weights, and the run or checkpoint whose whole model is the base, if any.

    Raises:
        RequestError: The base is not published, and the user gives none.
    """
    values = translate(checkpoint.config)
    if base is not None:
        from_model = values.get("init_from") is not None
        return (backbone, base) if from_model else (backbone.replace(weights=base), None)
    published = None if values.get("init_from") is not None else published_backbone(values)
    if published is None:
        name = checkpoint.base_name or values.get("init_from") or values["backbone"].get("weights")
        raise RequestError(
            f"{checkpoint.path}: holds only what differs from {name} (sha256 {str(checkpoint.base)[:12]}…).\n"
            "Give these weights: base=<weights file, run folder or checkpoint>."
        )
    return published, None


def published_backbone(values: Mapping[str, Any]) -> Partial[Backbone] | None:
    """The shipped backbone that a recorded config was made from, with its published weights.

    Everything that says where they are comes from segrun's own config.

    Returns:
        None where the config records no shipped backbone, or weights that are not published.
    """
    recorded, option = values["backbone"], (values.get("names") or {}).get("backbone")
    weights = recorded.get("weights")
    if not isinstance(weights, str) or not weights.isidentifier():  # a path or URL
        return None
    if option not in {file.stem for file in (conf_dir() / "backbone").glob("*.yaml")}:
        return None
    shipped = compose("describe", [f"backbone={option}", "++backbone.name="])["backbone"]  # timm's has no default
    settings = {key: value for key, value in shipped.items() if value != ""}
    settings |= {key: recorded[key] for key in OWN_SETTINGS if key in recorded}
    if any(value != recorded.get(key) for key, value in settings.items() if key not in ("weights", "wheel")):
        return None  # not the shipped backbone, or that of another version of segrun
    found: Partial[Backbone] = partial(settings, "backbone", base=Backbone)
    return found.replace(weights=Published(weights))
