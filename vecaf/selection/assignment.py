"""Which centroid is nearest to each sample: exactly, at the cost of a fraction of the N×K products.

Two ideas. *Screening*: similarities in half precision, whose error has a bound, leave a short list of candidates; only
those are computed in full precision. *Laziness*: when a centroid turns by an angle δ, its angle to no sample changes by
more than δ; what lies further from a sample than its nearest centroid by more than centroids have turned needs no look
(after Hamerly, SDM 2010, and Ding et al., "Yinyang K-means", ICML 2015; angles, for which the triangle inequality is
tighter on the sphere than for similarities).
"""

from __future__ import annotations

import math

import torch

from vecaf.selection.drift import KEPT, PERIOD, Bounds, Drift
from vecaf.selection.objectives import rows_of, similarities, similarity

CANDIDATES = 32  # on the list of a sample: longer ones last longer, but take memory and time to make
GROUP = 8  # columns whose maximum stands for them while the largest are looked for
SLACK = 1e-5  # what float32 sums of some thousand products are off, and more


def screening(device: torch.device) -> tuple[torch.dtype, float]:
    """Return the precision in which to look for candidates, and the largest error of unit vectors' products in it.

    bfloat16 where the processor has units for it, several times as fast; emulated, it would be slower than float32.
    """
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        fast = any(getattr(torch.cpu, name, lambda: False)() for name in asked)
    if not fast:
        return torch.float32, SLACK
    # Eight significant bits, so 2⁻⁸ at most for each vector and for the result; a GPU may round sums in between.
    return torch.bfloat16, (6.05 if device.type == "cuda" else 3.05) * 2**-8


def brute_force(z: torch.Tensor, c: torch.Tensor, chunk: int | None = None) -> torch.Tensor:
    """Return the index of the most similar centroid of each sample by all N×K products, (N,) int64."""
    nearest = torch.empty(len(z), dtype=torch.int64, device=z.device)
    for rows in rows_of(len(z), len(c), chunk, z.device):
        nearest[rows] = (z[rows] @ c.T).argmax(dim=1)
    return nearest


class Assignment:
    """The nearest centroids of the same samples, asked for again and again while the centroids move.

    z: (N, d) unit samples. Calling it with unit centroids c (K, d), a fresh tensor each time, returns the index of the
    most similar one for each sample, (N,) int64, the lowest index on ties. It is what ``brute_force`` returns wherever
    the two largest similarities differ by more than their rounding.

    ``multiplied`` counts the pairs of sample and centroid whose similarities products of matrices have made so far
    (N×K a call, by brute force), ``ranked`` those that were made one by one for lists.

    Every sample keeps its nearest centroid, a list of candidates, and lower bounds on angles, in radians: to each
    candidate, to all that are not listed, and to all but the nearest.
    """

    def __init__(self, z: torch.Tensor, candidates: int = CANDIDATES, chunk: int | None = None):
        self.z, self.candidates, self.chunk = z, candidates, chunk
        self.precision, self.error = screening(z.device)
        self.last: torch.Tensor | None = None
        self.multiplied = self.ranked = 0

    def __call__(self, c: torch.Tensor) -> torch.Tensor:
        low = c.to(self.precision)
        if self.last is None:
            self._begin(len(c))
        else:
            self._move(_turned(self.last, c), low)
        self.last = c
        own = similarity(self.z, c, self.nearest)
        unsure = (_angle(own - SLACK) >= self.others.now()).nonzero()[:, 0]
        self._settle(unsure, c, low, own[unsure])
        return self.nearest.clone()

    def _begin(self, k: int) -> None:
        """Start from bounds that exclude nothing, or, with few centroids, from lists of all."""
        size, device = len(self.z), self.z.device
        # Of many centroids more are nearly as near; but a list of a good part of them costs what looking at all does.
        length = min(k, max(8, min(max(self.candidates, min(k // 200, 4 * CANDIDATES)), k // 16)))
        self.drift = Drift(k, device)
        self.nearest = torch.zeros(size, dtype=torch.int64, device=device)
        self.lists = torch.arange(length, dtype=torch.int32, device=device).repeat(size, 1)
        self.bounds = torch.zeros(size, length, device=device)  # plus how far each candidate had turned by then
        self.base = self.drift.turned.clone()
        self.others = Bounds(self.drift, size, 0.0)
        self.unlisted = Bounds(self.drift, size, 0.0 if length < k else torch.inf)

    def _move(self, angles: torch.Tensor, low: torch.Tensor) -> None:
        """Note by which angles the centroids turned, (K,); low: where they are now, to screen with."""
        self.drift.add(angles)
        if self.drift.step % PERIOD == 0:
            self._choose_fast(low)
        if self.drift.step - self.drift.first == KEPT:
            self.others.forget()
            self.unlisted.forget()
            self.drift.forget()
        # Before bounds lose digits that they need.
        if float(self.drift.reach) > 8:
            for bounds in (self.others, self.unlisted):
                bounds.fast -= self.drift.reach.float()
            self.drift.reach.zero_()
        if float((turned := self._turned()).max()) > 8:
            for rows in rows_of(len(self.z), self.lists.shape[1], self.chunk, self.z.device):
                self.bounds[rows] -= turned[self.lists[rows]]
            self.base = self.drift.turned.clone()

    def _choose_fast(self, low: torch.Tensor) -> None:
        before, fast = self.drift.fast, self.drift.fastest()
        if torch.equal(before, fast):
            return
        others, everyone = self.others.now(), torch.arange(len(self.z), device=self.z.device)
        self.drift.choose(fast)
        self.others.set_slow(everyone, others)
        self.others.set_fast(everyone, others)
        # Bounds on what is not listed held for slow and fast when they were made, so those that get slow need nothing.
        if not fast.any():
            self.unlisted.set_fast(everyone, torch.inf)
        for rows, bounds in self._nearest_unlisted(everyone, low, (fast & ~before).nonzero()[:, 0]):
            self.unlisted.set_fast(rows, torch.minimum(self.unlisted.fast_now(rows), bounds))

    def _turned(self) -> torch.Tensor:
        return (self.drift.turned - self.base).float()

    def _settle(self, rows: torch.Tensor, c: torch.Tensor, low: torch.Tensor, own: torch.Tensor) -> None:
        """Find the nearest centroid of these rows in their lists, else in new lists, else among all; own: (R,)."""
        widest = max(c.shape)
        left = self._rank(rows, c, low, own)
        for part in rows_of(len(left), widest, self.chunk, self.z.device):
            self._list(left[part], low)
        left = self._rank(left, c, low, torch.full((len(left),), -torch.inf, dtype=c.dtype, device=c.device))
        for part in rows_of(len(left), widest, self.chunk, self.z.device):
            self.nearest[left[part]] = brute_force(self.z[left[part]], c, self.chunk)
        self.multiplied += len(left) * len(c)
        self.others.set_slow(left, -torch.inf)

    def _list(self, rows: torch.Tensor, low: torch.Tensor) -> None:
        """Make the lists of these rows anew, with the bounds on what is not listed; low: centroids to screen with."""
        found = self._screened(rows, low)
        values, columns = largest(found, self.lists.shape[1])
        self.lists[rows] = columns.int().sort(dim=1).values
        self.bounds[rows] = -torch.inf
        self.unlisted.set_slow(rows, _angle(values.amin(dim=1).float() + self.error))
        fast = found.scatter_(1, columns, -torch.inf)[:, self.drift.fast]
        if fast.shape[1]:
            self.unlisted.set_fast(rows, self._beyond(fast))

    def _nearest_unlisted(self, rows: torch.Tensor, low: torch.Tensor, chosen: torch.Tensor):
        """Yield rows and bounds on their angles to those of the chosen centroids that are not on their lists."""
        place = torch.full((len(low),), len(chosen), device=low.device)
        place[chosen] = torch.arange(len(chosen), device=low.device)
        # Columns beyond the chosen stand for all others; a power of two, for the same reason as rows in ``_screened``.
        few = low.new_zeros(1 << len(chosen).bit_length(), low.shape[1])
        few[: len(chosen)] = low[chosen]
        for part in rows_of(len(rows) if len(chosen) else 0, max(few.shape), self.chunk, self.z.device):
            found = self._screened(rows[part], few)
            found[:, len(chosen) :] = -torch.inf
            yield rows[part], self._beyond(found.scatter_(1, place[self.lists[rows[part]]], -torch.inf))

    def _beyond(self, screened: torch.Tensor) -> torch.Tensor:
        """Return a bound on the angles to centroids of these screened similarities, (R,)."""
        return _angle(screened.amax(dim=1).float() + self.error)

    def _screened(self, rows: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
        """Return the similarities of these rows to centroids in the precision for screening."""
        # Of a power of two of rows, since a kernel is compiled for each number of them.
        samples = low.new_zeros(1 << (len(rows) - 1).bit_length(), low.shape[1])
        samples[: len(rows)] = self.z[rows]
        self.multiplied += len(samples) * len(low)
        return (samples @ low.T)[: len(rows)]

    def _rank(self, rows: torch.Tensor, c: torch.Tensor, low: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """Do what ``_unsettled`` does, by chunks."""
        parts = rows_of(len(rows), self.lists.shape[1], self.chunk, self.z.device)
        return torch.cat([rows[:0], *(self._unsettled(rows[part], c, low, own[part]) for part in parts)])

    def _unsettled(self, rows: torch.Tensor, c: torch.Tensor, low: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """Take the best of the lists of these rows; returns the rows for which one that is not listed may be better.

        own: (R,) the similarity of what was nearest: candidates whose bound is below it are not looked at.
        """
        columns, bounds = self.lists[rows], self.bounds[rows]
        turned = self._turned()[columns]
        bounds -= turned
        asked = bounds <= _angle(own - SLACK)[:, None]
        values = torch.full(bounds.shape, -torch.inf, dtype=self.z.dtype, device=self.z.device)
        values[asked] = similarities(self.z, c, rows, columns, asked)
        self.ranked += int(asked.sum())
        bounds = torch.where(asked, _angle(values + SLACK).float(), bounds)
        place = values.argmax(dim=1, keepdim=True)  # the first of equals, and lists are in the order of centroids
        best = _angle(values.gather(1, place)[:, 0] - SLACK)
        self.bounds[rows] = bounds + turned
        self.nearest[rows] = columns.gather(1, place)[:, 0].long()

        near = best >= self.unlisted.slow_now(rows)
        for part, angles in self._nearest_unlisted(
            rows[~near & (best >= self.unlisted.fast_now(rows))], low, self.drift.fast.nonzero()[:, 0]
        ):
            self.unlisted.set_fast(part, angles)
        bounds.scatter_(1, place, torch.inf)
        fast = self.drift.fast[columns]
        slow_second, fast_second = (bounds.masked_fill(mask, torch.inf).amin(dim=1) for mask in (fast, ~fast))
        self.others.set_slow(rows, torch.minimum(slow_second, self.unlisted.slow_now(rows)))
        self.others.set_fast(rows, torch.minimum(fast_second, self.unlisted.fast_now(rows)))
        return rows[near | (best >= self.unlisted.fast_now(rows))]


def _angle(similarity: torch.Tensor) -> torch.Tensor:
    """Return the angle that a similarity of unit vectors is the cosine of, in radians."""
    return similarity.clamp(-1.0, 1.0).acos()


def _turned(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Return bounds on the angles by which centroids turned, (K,), in radians: all of π where one has no direction."""
    chord = (after - before).norm(dim=1)
    angle = 1.00001 * 2 * (chord / 2).clamp_max(1.0).asin() + 1e-7
    return angle.where(torch.minimum(before.norm(dim=1), after.norm(dim=1)) >= 0.5, math.pi)


def largest(values: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the ``length`` largest values of each row and their columns, in any order, as ``Tensor.topk`` does.

    A row's largest values lie in the groups with the largest maxima, and maxima are cheap: topk itself looks at one
    column in eight, and at the groups of as many columns as are wanted.
    """
    rows, columns = values.shape
    each = columns // GROUP
    if each < 2 * length:
        return values.topk(length, dim=1, sorted=False)
    groups = values[:, : GROUP * each].view(rows, GROUP, each)  # a group is every each-th column
    best = groups.amax(dim=1).topk(length, dim=1, sorted=False).indices
    step = each * torch.arange(GROUP, device=values.device)
    rest = torch.arange(GROUP * each, columns, device=values.device).expand(rows, -1)
    looked_at = torch.cat([(best[:, :, None] + step).flatten(1), rest], dim=1)
    top = values.gather(1, looked_at).topk(length, dim=1, sorted=False)
    return top.values, looked_at.gather(1, top.indices)
