"""Fixed task weights."""

from __future__ import annotations

from segrun.tasks.balance.balance import Balance


class Fixed(Balance):
    """Σ wᵢ Lᵢ."""

    allows_single_task = True
