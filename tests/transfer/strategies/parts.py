"""Parts of an imaginary model: names and kinds, no tensors."""

from __future__ import annotations

from segrun.models.parts import Kind, Parameter, Part, Parts

BACKBONE = ("backbone.stem", "backbone.layer1", "backbone.layer2", "backbone.layer3")
NEW = ("pyramid", "head.mask")
KINDS: tuple[Kind, ...] = ("weight", "bias", "norm_weight", "norm_bias")


def make_parts(loaded: bool = True) -> Parts:
    """A backbone whose parameters are loaded or not, and what is new."""
    return Parts(
        Part(name, tuple(Parameter(f"{name}.{k}", k, 9, loaded and name in BACKBONE) for k in KINDS), (name,))
        for name in (*BACKBONE, *NEW)
    )
