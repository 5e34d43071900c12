"""What sweepers that choose by the score on val have in common."""

from __future__ import annotations

from collections.abc import Sequence

from hydra_plugins.segrun.sweepers import Jobs
from segrun.errors import RequestError, join_names

OBJECTIVES = ("miou_present", "miou", "mdice", "accuracy")
# what a score on val cannot choose between: other images, or chance
FIXED = ("seed", "labels", "dataset", "splits", "split", "experiment", "test")
UNSEEN = "test=false"  # of every run that is to be chosen from


class Choosing(Jobs):
    """objective: the score on val that is to be high."""

    objective: str

    def check(self, swept: Sequence[str], fixed: Sequence[str] = FIXED) -> None:
        """Raises segrun.errors.RequestError for an objective that there is not, and for what val does not choose."""
        if self.objective not in OBJECTIVES:
            raise RequestError(f"hydra.sweeper.objective={self.objective}: choose one of {join_names(OBJECTIVES)}.")
        if wrong := [key for key in swept if key in fixed or key.partition(".")[0] in fixed]:
            raise RequestError(f"{join_names(wrong)}: scores on val do not choose among these; give one value.")
