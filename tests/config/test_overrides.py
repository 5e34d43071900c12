"""What the user typed: paths are quoted before Hydra parses them, and unknown or old names are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from segrun.config.compose import compose
from segrun.config.overrides import quoted
from segrun.errors import RequestError


@pytest.mark.parametrize(
    "path", ["a b", "x=1", "(2)", "写真/", "it's", 'say "hi"', "back\\slash\\", "a,b", "[x]", "ü{y}", "#5", "a:b"]
)
def test_any_path_reaches_the_config_as_it_is(path: str) -> None:
    word = quoted(f"dataset.root={path}")
    assert OverridesParser.create().parse_override(word).value() == path


def test_a_home_is_expanded_and_a_sweep_over_paths_stays_one(monkeypatch: pytest.MonkeyPatch, elsewhere: Path) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    assert quoted("input=~/photos") == 'input="/home/anna/photos"'
    assert quoted("dataset.root=one,two", multirun=True) == 'dataset.root="one","two"'
    (elsewhere / "one,two").mkdir()
    assert quoted("dataset.root=one,two", multirun=True) == 'dataset.root="one,two"'
    assert quoted("seed=1,2") == "seed=1,2"


def test_fractions_of_a_split_are_numbers_and_lists_are_paths() -> None:
    assert quoted("split.train=0.8") == "split.train=0.8"
    assert quoted("dataset.images={train:a,val:b}") == "dataset.images={train:a,val:b}"
    assert quoted("dataset.images={a}") == 'dataset.images="{a}"'
    assert quoted("split.file=my list.json") == 'split.file="my list.json"'


def test_a_comma_list_becomes_a_list_of_quoted_words(elsewhere: Path) -> None:
    assert quoted("runs=a b,c") == 'runs=["a b","c"]'
    assert quoted("runs=[a,b]") == "runs=[a,b]"
    (elsewhere / "a,b").mkdir()
    assert quoted("runs=a,b") == 'runs=["a,b"]'


@pytest.mark.parametrize("word", ["term=[l2sp]", "+term=x", "~term", "term.l2sp.alpha=1"])
def test_an_old_group_is_refused_with_its_new_name(word: str) -> None:
    with pytest.raises(RequestError, match=r"term is now regularizer\. Use [+~]?regularizer"):
        compose("train", [word])


def test_an_added_key_that_nothing_reads_is_refused() -> None:
    with pytest.raises(RequestError, match=r"there is no key 'lables'.*Did you mean labels\?"):
        compose("train", ["+lables=3"])
