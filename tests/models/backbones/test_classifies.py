"""Real weights really classify: a wrong normalisation or key map cannot pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segrun.models.segmenter import Segmenter
from segrun.models.weights.files import load_file
from tests.models.segmenters import model_config, segmenter_of

CACHE = Path(torch.hub.get_dir()) / "checkpoints"  # the user's own, before a test looks elsewhere
CATS = set(range(281, 286))  # tabby, tiger cat, Persian, Siamese, Egyptian


def cat() -> Tensor:
    """scikit-image's chelsea, her face, 224×224."""
    data = pytest.importorskip("skimage.data", reason="extra test")
    image = torch.from_numpy(data.chelsea()).permute(2, 0, 1)[None, :, :, 75:375].float() / 255
    return F.interpolate(image, (224, 224), mode="bilinear", antialias=True)


def loaded(monkeypatch: pytest.MonkeyPatch, backbone: str, file: str) -> tuple[Segmenter, Mapping[str, Tensor]]:
    path = CACHE / file
    if not path.is_file():
        pytest.skip(f"{file} is not in the hub cache")
    monkeypatch.setenv("TORCH_HOME", str(CACHE.parents[1]))
    model = segmenter_of(model_config(f"backbone={backbone}", "head=fcn"), 2)
    return model.eval(), load_file(path)


def test_mobilenet_v2_sees_a_cat(monkeypatch: pytest.MonkeyPatch) -> None:
    model, state = loaded(monkeypatch, "mobilenet_v2", "mobilenet_v2-b0353104.pth")
    with torch.no_grad():
        pooled = model.backbone(model.normalised(cat()))[-1].mean((2, 3))
        scores = pooled @ state["classifier.1.weight"].T + state["classifier.1.bias"]
    assert int(scores.argmax()) in CATS


def test_efficientnet_lite0_sees_a_cat(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm", reason="extra timm")
    model, state = loaded(monkeypatch, "efficientnet_lite0", "efficientnet-lite0-57934424.pth")
    whole = timm.create_model("tf_efficientnet_lite0").eval()
    values = [value for name, value in state.items() if not name.endswith("num_batches_tracked")]
    names = [name for name in whole.state_dict() if not name.endswith("num_batches_tracked")]
    tail = {n: v for n, v in zip(names, values, strict=True) if n.startswith(("conv_head", "bn2", "classifier"))}
    whole.load_state_dict(tail, strict=False)
    with torch.no_grad():
        deep = model.backbone(model.normalised(cat()))[-1]
        scores = whole.classifier(whole.global_pool(whole.bn2(whole.conv_head(deep))))
    assert int(scores.argmax()) in CATS
