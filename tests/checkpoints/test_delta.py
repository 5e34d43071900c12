"""Checkpoints of what has changed alone: the hash of their base, what counts as changed, and filling a model again."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from segrun.checkpoints.delta import base_hash, changed_tensors, load_delta
from segrun.errors import RequestError

LOADED = ("body.weight", "body.bias")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 2)


def weights() -> dict[str, Tensor]:
    return {name: value.clone() for name, value in Net().state_dict().items()}


def with_one_bit_flipped(value: Tensor) -> Tensor:
    other = value.clone()
    other.view(torch.int32).flatten()[-1] ^= 1
    return other


@pytest.mark.parametrize("name", LOADED)
def test_one_bit_of_a_loaded_tensor_changes_the_hash(name: str) -> None:
    start = weights()
    assert base_hash({**start, name: with_one_bit_flipped(start[name])}, LOADED) != base_hash(start, LOADED)


def test_the_hash_tells_zero_from_minus_zero_and_types_and_shapes_and_names_apart() -> None:
    value = torch.zeros(2, 2)
    others = [{"a": -value}, {"a": value.double()}, {"a": value.view(4)}, {"b": value}, {}]
    assert len({base_hash(each, "ab") for each in ({"a": value}, *others)}) == 6


def test_the_hash_sees_neither_what_is_new_nor_the_order_nor_the_memory_layout() -> None:
    start = weights()
    base = base_hash(start, LOADED)
    assert base_hash({**start, "head.bias": torch.ones(2)}, LOADED) == base
    assert base_hash(dict(reversed(start.items())), reversed(LOADED)) == base
    kernel = torch.randn(2, 3, 5, 5)
    channels_last = kernel.contiguous(memory_format=torch.channels_last)
    assert base_hash({"a": kernel}, "a") == base_hash({"a": channels_last}, "a")


def test_a_parametrized_weight_is_hashed_under_its_plain_name() -> None:
    value = torch.randn(2)
    inserted = {"body.parametrizations.weight.original": value, "body.parametrizations.weight.0.a": torch.ones(1)}
    assert base_hash(inserted, ["body.weight"]) == base_hash({"body.weight": value}, ["body.weight"])


def test_integers_and_half_precision_can_be_hashed() -> None:
    kinds = [torch.tensor(3), torch.ones(2, dtype=torch.bfloat16), torch.tensor([True]), torch.empty(0)]
    assert len({base_hash({"a": value}, "a") for value in kinds}) == 4


def test_changed_is_what_differs_by_a_bit_and_what_never_was_loaded() -> None:
    start = weights()
    now = {**start, "body.bias": with_one_bit_flipped(start["body.bias"]), "body.extra": torch.zeros(1)}
    assert changed_tensors(start, start, LOADED).keys() == {"head.weight", "head.bias"}
    assert changed_tensors(now, start, LOADED).keys() == {"head.weight", "head.bias", "body.bias", "body.extra"}


def test_what_changed_and_the_base_make_the_model_again() -> None:
    start, net = weights(), Net()
    now = {**start, "body.bias": torch.ones(4), "head.bias": torch.ones(2)}
    net.load_state_dict({**start, "head.weight": torch.zeros(2, 4)})  # the head is new in the process that loads
    load_delta(net, changed_tensors(now, start, LOADED), base_hash(start, LOADED), LOADED)
    assert all(torch.equal(value, now[name]) for name, value in net.state_dict().items())


def test_another_base_is_refused_with_both_hashes() -> None:
    start, net = weights(), Net()
    wanted, found = base_hash(start, LOADED), base_hash(net.state_dict(), LOADED)
    with pytest.raises(RequestError, match=f"{wanted[:12]}.*{found[:12]}"):
        load_delta(net, start, wanted, LOADED)


@pytest.mark.parametrize("lost", ["head.bias", None])
def test_tensors_that_are_in_neither_or_too_many_are_refused(lost: str | None) -> None:
    net = Net()
    held = {name: value for name, value in net.state_dict().items() if name not in LOADED and name != lost}
    more = {} if lost else {"head.extra": torch.zeros(1)}
    with pytest.raises(RequestError, match="do not fit the model"):
        load_delta(net, {**held, **more}, base_hash(net.state_dict(), LOADED), LOADED)
