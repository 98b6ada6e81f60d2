"""Planted truth: what each selector takes from a pool of which it is known which samples are hard, copied, mislabelled.

A pool of clustered embeddings holds a cluster between two classes, many copies of a few samples, and flipped labels.
Each registered selector chooses in three loops; after each a linear classifier learns what was chosen, wrong labels and
all, and scores the pool anew. Prints the Markdown table of docs/planted-truth.md:

    python tests/selection/planted.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

sys.path.append(str(Path(__file__).resolve().parents[2]))

from vecaf import selection
from vecaf.models import head, loss_prediction
from vecaf.seeds import derive
from vecaf.training.sampler import Sampler

SIZE, WIDTH, CLASSES, K, LOOPS, SEEDS = 1500, 32, 6, 60, 3, 5
HARD, GROUPS, COPIES, MISLABELLED = 75, 10, 15, 75  # 5, 10 and 5 % of the pool
PARTS = {"hard": HARD / SIZE, "copy": GROUPS * COPIES / SIZE, "mislabelled": MISLABELLED / SIZE}
DISTANCE, OFFSET = 3.5, 4.0  # of the class means from their centre, and of that from the origin
SPREADS = np.linspace(0.5, 0.9, CLASSES)  # within a class, per dimension: from easy to hard
# The hard cluster is as wide as a class, so that it is hard and not dense as well, but for the line between both means.
HARD_SPREAD, HARD_LINE, COPY_SPREAD = 0.6, 0.12, 1e-3
# What makes a selector fast enough for a test; all others run with their defaults.
SHORTENED = {"ta_vaal": {"width": 4, "max_iterations": 30, "batch_size": 32}}
BATCHES, BATCH_SIZE, LEARNING_RATE, MOMENTUM = 120, 30, 1e-2, 0.9  # of a loop's training


@dataclass(frozen=True)
class Planted:
    """A pool whose truth is known. inputs: what a selector may see, with flipped labels; its ids are its rows.

    truth: (N,) int64, the labels before any was flipped. hard: (N,) bool. group: (N,) int64, copies of one sample have
    one group, and all other samples −1.
    """

    inputs: selection.Inputs
    truth: np.ndarray
    hard: np.ndarray
    group: np.ndarray

    @property
    def copy(self) -> np.ndarray:
        return self.group >= 0

    @property
    def mislabelled(self) -> np.ndarray:
        return self.truth != self.inputs.labels


# The pool


def plant(seed: int) -> Planted:
    """Return a pool with its rows in a random order; no sample is of two planted parts."""
    generator = np.random.default_rng(seed)
    directions = np.linalg.qr(generator.normal(size=(WIDTH, CLASSES + 1)))[0].T
    means = DISTANCE * directions[:CLASSES] + OFFSET * directions[CLASSES]  # not centred, as those of real backbones
    truth = generator.integers(CLASSES, size=SIZE)
    embeddings = means[truth] + SPREADS[truth, None] * generator.normal(size=(SIZE, WIDTH))
    hard, copies, flipped, _ = np.split(generator.permutation(SIZE), np.cumsum([HARD, GROUPS * COPIES, MISLABELLED]))

    pair = generator.permutation(CLASSES)[:2]
    truth[hard] = pair[generator.integers(2, size=HARD)]  # of either class, whatever the embedding
    embeddings[hard] = between(*means[pair], generator)

    copies = copies.reshape(GROUPS, COPIES)
    truth[copies] = truth[copies[:, :1]]
    embeddings[copies] = embeddings[copies[:, :1]] + COPY_SPREAD * generator.normal(size=(GROUPS, COPIES, WIDTH))

    labels = truth.copy()
    labels[flipped] = (truth[flipped] + generator.integers(1, CLASSES, size=MISLABELLED)) % CLASSES

    group = np.full(SIZE, -1)
    group[copies] = np.arange(GROUPS)[:, None]
    inputs = selection.Inputs(
        ids=np.arange(SIZE, dtype=np.int64),
        labels=labels,
        embeddings=embeddings.astype(np.float32),
        images=render(embeddings, generator),
        device="cpu",
    )
    return Planted(inputs, truth, np.isin(inputs.ids, hard), group)


def between(first: np.ndarray, second: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return the hard cluster (HARD, d): halfway between two class means (d,), narrow along their line."""
    line = (first - second) / np.linalg.norm(first - second)
    noise = generator.normal(size=(HARD, WIDTH))
    along = (noise @ line)[:, None] * line
    return (first + second) / 2 + HARD_SPREAD * (noise - along) + HARD_LINE * along


def render(embeddings: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return images (N, 32, 32, 3) uint8 that carry the embeddings (N, d): 4 × 4 coarse pixels, and noise."""
    mixed = (embeddings - embeddings.mean(axis=0)) @ generator.normal(size=(WIDTH, 48)) / WIDTH**0.5
    coarse = (128 + 50 * mixed).reshape(-1, 4, 4, 3).repeat(8, axis=1).repeat(8, axis=2)
    return (coarse + 8 * generator.normal(size=coarse.shape)).clip(0, 255).astype(np.uint8)


# Three loops


class Learner:
    """A linear classifier on embeddings and, where a selector asks for it, the head that predicts its losses.

    loss_head: the selector's parameters of that head, or None. Both go on from loop to loop, as finetuning does.
    """

    def __init__(self, seed: int, loss_head):
        self.seed, self.loss_head = seed, loss_head
        self.predictor: loss_prediction.LossPrediction | None = None
        self.weight, self.bias = head.random_head(CLASSES, WIDTH, derive(seed, "head"))

    def train(self, embeddings: np.ndarray, labels: np.ndarray, loop: int) -> None:
        """Learn what was chosen, embeddings (K, d) and seen labels (K,), for a fixed number of batches."""
        x, y = torch.from_numpy(embeddings), torch.from_numpy(labels)
        parameters = [self.weight.requires_grad_(), self.bias.requires_grad_()]
        if self.loss_head:
            if self.predictor is None or not self.loss_head.carry:
                self.predictor = loss_prediction.build([WIDTH] * 4, self.loss_head.hidden, derive(self.seed, loop))
            parameters += self.predictor.parameters()
        sgd = torch.optim.SGD(parameters, lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=1e-4)
        sampler = Sampler(derive(self.seed, "batches", loop), len(x), BATCH_SIZE)
        for batch in range(BATCHES):
            drawn = torch.from_numpy(sampler[batch])
            losses = F.cross_entropy(F.linear(x[drawn], self.weight, self.bias), y[drawn], reduction="none")
            loss = losses.mean()
            if self.loss_head:
                predicted, options = self.predictor([x[drawn]] * 4), self.loss_head
                pairs = loss_prediction.pair_loss(predicted, losses, options.criterion, options.margin)
                loss = loss + options.weight * pairs
            sgd.zero_grad()
            loss.backward()
            sgd.step()

    @torch.no_grad()
    def score(self, inputs: selection.Inputs) -> selection.Inputs:
        """Return the pool as this classifier sees it."""
        weight, bias = self.weight.detach(), self.bias.detach()
        x = torch.from_numpy(inputs.embeddings)
        return replace(
            inputs,
            losses=head.losses_from_embeddings(inputs.embeddings, weight, bias, inputs.labels),
            logits=F.linear(x, weight, bias).numpy(),
            head=(weight.numpy().copy(), bias.numpy().copy()),
            predicted_losses=self.predictor([x] * 4).numpy() if self.predictor else None,
        )


def loops(name: str, pool: Planted, seed: int) -> Iterator[tuple[int, np.ndarray, float]]:
    """Yield each loop, the rows that a selector chooses in it and how much of the truth the classifier behind it knew.

    A selector that cannot start chooses at random in loop 1.
    """
    chooser = selection.build(name, SHORTENED.get(name))
    learner, inputs = Learner(seed, getattr(chooser.params, "loss_head", None)), pool.inputs
    k = len(inputs) if name == "full" else K
    for loop in range(1, LOOPS + 1):
        inputs = replace(learner.score(inputs), loop=loop)
        now = chooser if loop > 1 or chooser.cold_start else selection.build("random")
        # As in a study: random sets differ from loop to loop, first centroids do not.
        seeds = {"random_set": derive(seed, "random_set", loop), "centroids": derive(seed, "centroids")}
        rows, _ = selection.choose(now, inputs, k, seeds)
        yield loop, rows, float((inputs.logits.argmax(axis=1) == pool.truth).mean())
        learner.train(inputs.embeddings[rows], inputs.labels[rows], loop)
        inputs = replace(inputs, earlier=(*inputs.earlier, rows))


# What was taken


@dataclass
class Taken:
    """What a selector chose in one loop, summed over seeds.

    chosen: distinct samples. parts: those of each planted part. redundant: copies of a sample that was chosen already.
    accuracy: of the classifier behind the choice, on the true labels of the pool.
    """

    seeds: int = 0
    chosen: int = 0
    parts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    redundant: int = 0
    accuracy: float = 0.0

    def add(self, pool: Planted, rows: np.ndarray, accuracy: float) -> None:
        self.seeds += 1
        self.chosen += len(np.unique(rows))
        for part in PARTS:
            self.parts[part] += int(getattr(pool, part)[rows].sum())
        groups = pool.group[rows][pool.copy[rows]]
        self.redundant += len(groups) - len(np.unique(groups))
        self.accuracy += accuracy

    def share(self, part: str) -> float:
        """Return which share of the chosen samples is of a planted part."""
        return self.parts[part] / self.chosen

    def ratio(self, part: str) -> float:
        """Return that share over the pool's."""
        return self.share(part) / PARTS[part]


Found = dict[str, dict[int, Taken]]  # by selector and loop


def simulate(first: int = 0, seeds: int = SEEDS) -> Found:
    """Return what every registered selector takes in each loop, over seeds that have a pool of their own each."""
    found: Found = {name: {loop: Taken() for loop in range(1, LOOPS + 1)} for name in selection.names()}
    for seed in range(first, first + seeds):
        pool = plant(seed)
        for name, taken in found.items():
            for loop, rows, accuracy in loops(name, pool, seed):
                taken[loop].add(pool, rows, accuracy)
    return found


COLUMNS: dict[str, Callable[[Taken], str]] = {
    "hard cluster, × its share": lambda taken: f"{taken.ratio('hard'):.1f}",
    "copies, × their share": lambda taken: f"{taken.ratio('copy'):.1f}",
    "redundant copies": lambda taken: f"{taken.redundant / taken.seeds:.1f}",
    "mislabelled, %": lambda taken: f"{100 * taken.share('mislabelled'):.1f}",
    "classifier before it, % right": lambda taken: f"{100 * taken.accuracy / taken.seeds:.0f}",
}


def table(found: Found) -> str:
    """Return a Markdown table: a row for every selector, loops 1 / 2 / 3 in a cell, – where loop 1 is a random set."""
    lines = [f"| selector | {' | '.join(COLUMNS)} |", "|---" * (1 + len(COLUMNS)) + "|"]
    for name, taken in found.items():
        own = [loop > 1 or selection.get(name).cold_start for loop in taken]
        cells = (
            " / ".join(show(of_loop) if is_own else "–" for is_own, of_loop in zip(own, taken.values(), strict=True))
            for show in COLUMNS.values()
        )
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(simulate()))
