"""What selectors take from a pool whose hard samples, copies and wrong labels are known; the table is printed.

Bounds are far from what six sets of pools gave, so that a failure means another behaviour and not another machine.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import planted
import pytest
from planted import GROUPS, LOOPS, PARTS, SEEDS, SIZE, K
from scipy.stats import binomtest

from vecaf import selection

DOC = Path(__file__).resolve().parents[2] / "docs" / "planted-truth.md"
LATER = range(2, LOOPS + 1)  # the loops with a trained classifier
# What tells a selector that a label is wrong.
LABEL_NEEDS = {"labels", "losses"}
BLIND = [name for name in selection.names() if not selection.get(name).needs & LABEL_NEEDS]

slow = pytest.mark.slow  # all that look at the simulation


@pytest.fixture(scope="module")
def found():
    return planted.simulate()


def share(found, name, part, loops):
    """Return which share of what a selector chose in some loops is of a planted part."""
    taken = [found[name][loop] for loop in loops]
    return sum(of_loop.parts[part] for of_loop in taken) / sum(of_loop.chosen for of_loop in taken)


@slow
def test_the_table(found, capsys):
    with capsys.disabled():
        print(f"\n{planted.table(found)}")
    assert list(found) == selection.names()


@slow
@pytest.mark.parametrize("name", selection.names())
def test_every_loop_has_k_distinct_samples_despite_copies(found, name):
    k = SIZE if name == "full" else K
    assert [of_loop.chosen for of_loop in found[name].values()] == [SEEDS * k] * LOOPS


@slow
@pytest.mark.parametrize("part", PARTS)
def test_random_is_the_pool_in_small(found, part):
    """The floor that all other rows are read against."""
    taken = found["random"].values()
    count, chosen = sum(of_loop.parts[part] for of_loop in taken), sum(of_loop.chosen for of_loop in taken)
    assert binomtest(count, chosen, PARTS[part]).pvalue > 1e-4


# Wrong labels


@slow
def test_balancing_classes_meets_no_more_wrong_labels(found):
    """Every class has the same share of them, and which of its samples is taken does not depend on its label."""
    taken = found["class_balanced"].values()
    count = sum(of_loop.parts["mislabelled"] for of_loop in taken)
    assert binomtest(count, LOOPS * SEEDS * K, PARTS["mislabelled"]).pvalue > 1e-4


@slow
def test_the_largest_losses_are_wrong_labels(found):
    """Four times the pool's share: a sample whose label contradicts the others of its kind has a large loss."""
    assert share(found, "top_k_loss", "mislabelled", LATER) > 2.5 * PARTS["mislabelled"]


@slow
def test_ods_takes_wrong_labels_once_losses_mean_something(found):
    """Equation 7 weighs a sample by its loss: half of its loop 2 has a wrong one."""
    ods = share(found, "ods", "mislabelled", LATER)
    assert ods > 3 * PARTS["mislabelled"]
    assert ods > 2 * share(found, "activeft", "mislabelled", LATER)
    # The losses of a random head are all alike, and know nothing of labels.
    assert share(found, "ods", "mislabelled", [1]) < 2 * PARTS["mislabelled"]


@slow
@pytest.mark.parametrize("name", BLIND)
def test_who_reads_no_label_cannot_look_for_wrong_ones(found, name):
    """Predicted losses and posteriors are functions of the image; 10 % would be four standard deviations and more."""
    assert share(found, name, "mislabelled", LATER) < 2 * PARTS["mislabelled"]


# The hard cluster


@slow
@pytest.mark.parametrize("name", ["entropy", "margin", "least_confidence", "alfa_mix"])
def test_uncertainty_finds_the_hard_cluster(found, name):
    """A classifier that learnt a random set is undecided between both classes: 3.7 times the share and more."""
    assert share(found, name, "hard", [2]) > 2 * PARTS["hard"]


@slow
def test_predicted_losses_find_the_hard_cluster(found):
    """Where a head has seen large losses it predicts large ones: 1.7 times the share and more."""
    assert share(found, "learning_loss", "hard", LATER) > 1.3 * PARTS["hard"]


@slow
def test_the_farthest_samples_are_not_between_classes(found):
    """k-center goes to the outskirts, and the hard cluster lies inside: it is a control that avoids it."""
    assert share(found, "k_center", "hard", range(1, LOOPS + 1)) < 0.5 * PARTS["hard"]


# Copies


@slow
@pytest.mark.parametrize("name", ["activeft", "k_center", "typiclust"])
def test_who_covers_the_pool_takes_no_sample_twice(found, name):
    """Copies are one point to centroids, distances and clusters; a random set of 60 holds one redundant copy or two."""
    redundant = {other: sum(of_loop.redundant for of_loop in found[other].values()) / SEEDS / LOOPS for other in found}
    assert redundant[name] < 0.7 < redundant["random"]


@slow
def test_activeft_takes_one_of_each_group_of_copies(found):
    """So many equal samples are a mode of the pool, and centroids match its distribution."""
    for of_loop in found["activeft"].values():
        assert of_loop.parts["copy"] - of_loop.redundant > 0.75 * GROUPS * SEEDS


# The pool, and the page


def test_the_pool_holds_what_is_planted():
    pool = planted.plant(0)
    parts = [getattr(pool, part) for part in PARTS]
    assert [part.mean() for part in parts] == pytest.approx(list(PARTS.values()))
    assert np.sum(parts, axis=0).max() == 1  # no sample is of two parts
    for group in range(GROUPS):
        copies = pool.inputs.embeddings[pool.group == group]
        assert np.linalg.norm(copies - copies.mean(axis=0), axis=1).max() < 0.02
    assert len(np.unique(pool.truth[pool.hard])) == 2


def test_the_page_has_a_row_for_every_selector():
    rows = re.findall(r"^\| `(\w+)` \|", DOC.read_text(), flags=re.MULTILINE)
    assert rows == selection.names(), "run python tests/selection/planted.py and copy its table into the page"
