"""What sweepers that choose by the score on val have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from hydra_plugins.segrun.sweepers import JobSweeper
from segrun.config.keys import facts
from segrun.errors import RequestError, join_names

Objective = Literal["miou_present", "miou", "mdice", "accuracy"]
NO_TEST = "test=false"  # of every run that is chosen from: no image of the test split is read


class ChoosingSweeper(JobSweeper):
    """Chooses by a score on val.

    Attributes:
        objective: The score that should be high.
    """

    objective: Objective

    def check_choice(self, keys: Sequence[str], fixed_budget: bool = False) -> None:
        """Check what is chosen.

        Args:
            keys: With several values.
            fixed_budget: All runs take the same number of steps.

        Raises:
            segrun.errors.RequestError: A score on val cannot choose between the values of a key: they mean other
                images, or chance.
        """
        about = {key: facts(key.lstrip("+~")) for key in keys}
        wrong = [key for key, fact in about.items() if not fact.chosen_on_val or (fixed_budget and fact.budget)]
        if wrong:
            raise RequestError(f"{join_names(wrong)}: a score on val cannot choose between these. Give one value.")
