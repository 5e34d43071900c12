"""Run lengths to masks, against pycocotools."""

from __future__ import annotations

import numpy as np
import pytest

from segrun.data.sets.rle import parse_runs, runs_to_mask


def test_runs_go_down_the_columns_and_begin_outside() -> None:
    assert runs_to_mask(parse_runs([1, 2, 3], (2, 3)), (2, 3)).tolist() == [[False, True, False], [True, False, False]]
    assert runs_to_mask(parse_runs([0, 4], (2, 2)), (2, 2)).all()


@pytest.mark.parametrize("seed", range(12))
def test_compressed_runs_are_those_of_pycocotools(seed: int) -> None:
    api = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(seed)
    size = tuple(int(v) for v in rng.integers(1, 400, 2))
    coarse = rng.random((size[0] // 50 + 1, size[1] // 50 + 1)) < 0.5  # long runs as well as short ones
    mask = np.kron(coarse, np.ones((50, 50), bool))[: size[0], : size[1]] ^ (rng.random(size) < seed / 100)
    rle = api.encode(np.asfortranarray(mask, np.uint8))
    for counts in (rle["counts"], rle["counts"].decode()):
        runs = parse_runs(counts, size)
        assert sum(runs[1::2]) == mask.sum()
        assert (runs_to_mask(runs, size) == mask).all()


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([3, 4], "its runs cover 7 pixels of 12"),
        ([20], "its runs cover 20 pixels of 12"),
        ("33", "its runs cover 6 pixels of 12"),
        ("", "its runs cover 0 pixels of 12"),
        ([-1, 13], "not run lengths"),
        ([1.5, 10.5], "not run lengths"),
        ("é", "not run lengths"),
        ("PPPPPPPPPPPPPPPPPPPP", "not run lengths"),
        ("P", "end within a number"),
        ("O=", "not run lengths"),  # -1 and 13
        (None, "not run lengths"),
    ],
)
def test_runs_that_do_not_fill_the_mask_are_refused(counts: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_runs(counts, (3, 4))  # type: ignore[arg-type]
