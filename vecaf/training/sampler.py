"""The endless order of training images: full batches, reshuffled passes, every batch computable on its own."""

from __future__ import annotations

import numpy as np

from vecaf.errors import TrainingError
from vecaf.seeds import derive, keyed_uniform


class Sampler:
    """An infinite sampler over ``size`` images, a pure function of (seed, size, batch_size, repeats, batch).

    Images come in passes, each a permutation of all of them; batches are cut from the endless sequence of passes, so
    every batch is full and a batch across a border is filled from the next pass. Images that such a batch already
    holds move a few places back in the new pass: an image occurs twice in a batch only where a batch needs more
    images than there are (size < batch_size / repeats), and then whole passes repeat within it. With ``repeats`` r
    each image of a pass is drawn r times in a row (repeated augmentation, Hoffer et al., 2020); a batch then holds
    about batch_size / r distinct images. Raises TrainingError for an empty set or an empty batch.
    """

    def __init__(self, seed: int, size: int, batch_size: int, repeats: int = 1):
        if size < 1 or batch_size < 1 or repeats < 1:
            raise TrainingError(
                f"cannot draw batches of {batch_size} from {size} images with {repeats} copies each; all must be ≥ 1"
            )
        self.seed, self.size, self.batch_size, self.repeats = seed, size, batch_size, repeats
        # The most images that one batch touches: with copies, its first and its last image may be cut.
        widest = batch_size // repeats if batch_size % repeats == 0 else -(-batch_size // repeats) + 1
        self._borders = size >= widest
        # A border changes only the first `widest` places of a pass. Where a pass is twice as long, its last places,
        # all that the next border looks at, are those of the raw permutation, and no pass depends on earlier ones.
        self._chained = self._borders and size < 2 * widest
        self._known: dict[int, np.ndarray] = {}

    def __getitem__(self, batch: int) -> np.ndarray:
        """Return the positions (batch_size,) int64 in 0 … size − 1 of one batch, counted from 0 without end."""
        if batch < 0:
            raise IndexError(f"batch {batch}: batches count from 0")
        images = np.arange(batch * self.batch_size, (batch + 1) * self.batch_size) // self.repeats
        first, last = int(images[0] // self.size), int(images[-1] // self.size)
        passes = np.concatenate([self._pass(number) for number in range(first, last + 1)])
        return passes[images - first * self.size]

    def _pass(self, number: int) -> np.ndarray:
        """Return the order (size,) int64 of one pass; the last two are remembered."""
        if number not in self._known:
            start = max((known + 1 for known in self._known if known < number), default=0) if self._chained else number
            for step in range(start, number + 1):
                self._known[step] = self._settled(step)
                self._known = {known: order for known, order in self._known.items() if step - 1 <= known <= step}
        return self._known[number]

    def _permutation(self, number: int) -> np.ndarray:
        # Sorting hashed positions and not numpy's shuffle: the order is the same in every version of numpy.
        return np.argsort(keyed_uniform(derive(self.seed, number), np.arange(self.size)), kind="stable")

    def _settled(self, number: int) -> np.ndarray:
        """Return a pass whose first places hold no image that the batch across its border has drawn already."""
        order = self._permutation(number)
        border = number * self.size
        batch, cut = divmod(border * self.repeats, self.batch_size)
        if number == 0 or cut == 0 or not self._borders:
            return order
        before = border - batch * self.batch_size // self.repeats
        after = ((batch + 1) * self.batch_size - 1) // self.repeats + 1 - border
        previous = self._known[number - 1] if self._chained else self._permutation(number - 1)
        zone = order[: before + after]
        drawn = np.isin(zone, previous[self.size - before :])
        ahead = np.flatnonzero(~drawn)[:after]
        order[: before + after] = np.concatenate([zone[ahead], np.delete(zone, ahead)])
        return order
