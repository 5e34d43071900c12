"""Words of the command line become a config; what does not fit is refused by name."""

from __future__ import annotations

import pytest

from segrun.config.compose import compose
from segrun.errors import RequestError


def test_what_has_no_value_is_named_with_the_cure() -> None:
    with pytest.raises(RequestError, match=r"^dataset\.root has no value: give dataset\.root=…$"):
        compose("train", ["dataset=folder"])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trainer.epocs=3", r"no key 'trainer\.epocs'.*Did you mean trainer\.epochs"),
        ("strategy=finetun", r"strategy has no option 'finetun'.*Did you mean finetune"),
        ("backbon=resnet18", r"backbon"),
        ("trainer.epochs=[1", r"."),
    ],
)
def test_a_word_that_does_not_fit_is_a_request_error(word: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        compose("train", [word])


def test_words_that_ask_for_a_sweep_are_refused_where_one_training_is_expected() -> None:
    assert compose("train", ["search=rates"])["names"]["search"] == "rates"
    with pytest.raises(RequestError, match=r"search=rates: asks for several trainings.*segrun train -m"):
        compose("train", ["search=rates"], single=True)


def test_the_config_names_its_options_and_the_words_that_changed_it() -> None:
    values = compose("train", ["strategy=l2sp", "seed=3"])
    assert values["names"]["strategy"] == "l2sp" and values["asked"] == ["strategy=l2sp", "seed=3"]
