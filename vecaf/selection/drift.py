"""How far centroids have turned since, and what that leaves of lower bounds on their angles to samples.

A centroid that turns by an angle δ comes no nearer to any sample than by δ. So a bound that held for some centroids
when it was made holds now, less the drift of the one that has turned furthest since. After some steps most hardly turn,
while a few that have no samples turn as fast as at the start, far from everything. They are *fast*: bounds on them are
kept apart, since they are cheap to make anew.
"""

from __future__ import annotations

import torch

PERIOD = 8  # steps after which the fast ones are chosen again
KEPT = 64  # latest steps whose turns are remembered


class Drift:
    """The sums of the turns of K centroids, in radians.

    turned: (K,) float64 sums of all turns. fast: (K,) bool. since: for each remembered step from ``first`` to ``step``,
    how far the one of the slow that turned furthest has turned since then. reach: the sum of the fast ones' largest
    turns.
    """

    def __init__(self, k: int, device: torch.device):
        self.turned = torch.zeros(k, dtype=torch.float64, device=device)
        self.fast = torch.zeros(k, dtype=torch.bool, device=device)
        self.step = self.first = 0
        self.reach = torch.zeros((), dtype=torch.float64, device=device)
        self._then = [self.turned.clone()]
        self._compare()

    def add(self, angles: torch.Tensor) -> None:
        """Note by which angles (K,) the centroids turned in one step."""
        self.step += 1
        self.turned += angles
        self.reach += angles.where(self.fast, 0.0).max()
        self._then.append(self.turned.clone())
        self._compare()

    def choose(self, fast: torch.Tensor) -> None:
        """Call these centroids fast, (K,) bool, and all others slow."""
        self.fast = fast
        self._compare()

    def forget(self) -> None:
        """Remember only the later half of the steps."""
        dropped = len(self._then) // 2
        self.first += dropped
        del self._then[:dropped]
        self._compare()

    def _compare(self) -> None:
        furthest = [(self.turned - then).where(~self.fast, 0.0).max() for then in self._then]
        self.since = torch.stack(furthest).float() + 1e-6

    def fastest(self) -> torch.Tensor:
        """Return which centroids to call fast, (K,) bool: by what they turned in the latest steps, if that saves much.

        All K are screened as often as the slow ones turn far; the fast ones are screened alone.
        """
        turns = self.turned - self._then[-1 - min(PERIOD, len(self._then) - 1)]
        ordered = turns.sort(descending=True).values
        shares = torch.arange(len(turns) // 4 + 1, device=turns.device) / len(turns)
        costs = ordered[: len(shares)] + shares * ordered[0]
        if costs.min() >= 0.7 * ordered[0]:
            return torch.zeros_like(self.fast)
        return turns > ordered[costs.argmin()]


class Bounds:
    """Lower bounds, in radians, on the angles of N samples to some centroids of each.

    slow: (N,) as they were at the step ``made`` (N,); fast: (N,) plus the reach of the fast by then.
    """

    def __init__(self, drift: Drift, size: int, value: float):
        self.drift = drift
        self.slow = torch.full((size,), value, device=drift.turned.device)
        self.made = torch.zeros(size, dtype=torch.int32, device=drift.turned.device)
        self.fast = torch.full((size,), torch.inf, device=drift.turned.device)

    def now(self, rows=slice(None)) -> torch.Tensor:
        """Return what the bounds of some samples are worth now, on fast and slow centroids together."""
        return torch.minimum(self.slow_now(rows), self.fast_now(rows))

    def slow_now(self, rows=slice(None)) -> torch.Tensor:
        """Return what the bounds on the slow centroids are worth now."""
        return self.slow[rows] - self.drift.since[self.made[rows] - self.drift.first]

    def fast_now(self, rows=slice(None)) -> torch.Tensor:
        """Return what the bounds on the fast centroids are worth now."""
        return self.fast[rows] - self.drift.reach.float()

    def set_slow(self, rows, values: torch.Tensor | float) -> None:
        """Note bounds on the slow centroids that hold at the present step."""
        self.slow[rows] = values
        self.made[rows] = self.drift.step

    def set_fast(self, rows, values: torch.Tensor | float) -> None:
        """Note bounds on the fast centroids that hold at the present step."""
        self.fast[rows] = values + self.drift.reach.float()

    def forget(self) -> None:
        """Make those of the earlier half of the remembered steps hold for now, whichever centroids are fast."""
        old = (self.made < self.drift.first + KEPT // 2).nonzero()[:, 0]
        self.set_slow(old, self.now(old))
