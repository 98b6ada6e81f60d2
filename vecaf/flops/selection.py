"""MACs of selecting and augmenting by formula, from sizes and from what the selection's log says it did.

Sizes: N samples of the pool, K chosen, embeddings of width d, C classes, L labelled before. Formulas hold what the
implementations in ``vecaf.selection`` and ``vecaf.augmentation`` do, the evaluations of the objective for the log
included; sorting and what works element by element alone is left out. A selector without a formula here is reported as
not counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from vecaf.selection.alfa_mix import ITERATIONS as ALFA_MIX_ITERATIONS


@dataclass(frozen=True)
class Sizes:
    """Of one selection: pool N, chosen K, width d, classes C, labelled L (chosen by loops before)."""

    pool: int
    chosen: int
    width: int
    classes: int
    labelled: int = 0


# Takes sizes, parameters and the selection's log; returns part → MACs. What a log does not tell is assumed to be what
# the parameters allow at most, so that a selection that has not run has an upper bound.
Formula = Callable[[Sizes, Mapping[str, Any], Mapping[str, Any]], dict[str, int]]
FORMULAS: dict[str, Formula] = {}


def formula(*names: str):
    """Register a formula under the selectors that it counts."""

    def add(function: Formula) -> Formula:
        FORMULAS.update(dict.fromkeys(names, function))
        return function

    return add


def selection_macs(
    selector: str, sizes: Sizes, params: Mapping[str, Any], log: Mapping[str, Any] | None = None
) -> dict[str, int] | None:
    """Return the MACs of one selection by part, None for a selector without a formula.

    params: of the selector, complete. log: its diagnostics; without them iterations are those allowed at most.
    """
    known = FORMULAS.get(selector)
    return None if known is None else known(sizes, params, log or {})


@formula("class_balanced", "full", "learning_loss", "random", "top_k_loss")
def _ranks(sizes: Sizes, params: Mapping[str, Any], log: Mapping[str, Any]) -> dict[str, int]:
    """Nothing is multiplied: draws, labels or given losses are sorted."""
    return {}


def _centroids(sizes: Sizes, rows: int, repulsion: int) -> dict[str, int]:
    """One evaluation of an objective of K centroids, with its gradient, on some rows.

    assignment: ⟨e_i, θ_k⟩ of all pairs; lazy assignment makes fewer, and the log says how many. similarity and pull:
    of each sample with its own centroid, and back. repulsion: so many pairs of centroids.
    """
    k, d = sizes.chosen, sizes.width
    return {
        "assignment": rows * k * d,
        "repulsion": repulsion * d,
        "similarity": rows * d,
        "pull": rows * d,
    }


@formula("ods")
def _ods(sizes: Sizes, params: Mapping[str, Any], log: Mapping[str, Any]) -> dict[str, int]:
    """Every member's iterations on all rows or on those drawn, then whole evaluations for the log.

    Those are one for each member, one of the debiased centroids if they are no member's, one of the selected images and
    five of random sets.
    """
    steps = log.get("iterations", [params["iterations"]] * params["ensemble"])
    repulsion = 0 if not params["diversity"] else _repulsion(params["objective"], sizes.chosen)
    whole = len(steps) + (params["debias"] not in ("none", "best_member"))
    # Ids are chosen from the debiased centroids and, where those are others, from member 1's for comparison.
    debiasing = log.get("debiasing", {})
    alone = params["debias"] == "none" or (params["debias"] == "best_member" and debiasing.get("member") == 1)
    parts = _optimised(sizes, sum(steps), params["rows"], whole, repulsion, log, choices=1 if alone else 2)
    return parts | {"debiasing": _debiasing(sizes, len(steps), params["debias"])}


def _debiasing(sizes: Sizes, members: int, how: str) -> int:
    """The d × d covariance of all members, and the step by its inverse; matching, all similarities to member 1."""
    k, d = sizes.chosen, sizes.width
    covariance = (members + 1) * k * d**2 if how in ("literal", "released", "matched") else 0
    return covariance + ((members - 1) * k**2 * d if how in ("matched", "matched_mean") else 0)


@formula("activeft")
def _activeft(sizes: Sizes, params: Mapping[str, Any], log: Mapping[str, Any]) -> dict[str, int]:
    """As one member of ODS, evaluated whole when optimised, for the selected images and for five random sets."""
    repulsion = _repulsion(params["objective"], sizes.chosen)
    steps = log.get("iterations", params["iterations"])
    return _optimised(sizes, steps, params["rows"], 1, repulsion, log, choices=1)


def _repulsion(objective: str, k: int) -> int:
    """Return how many pairs of centroids an evaluation multiplies, for its value and for its gradient.

    Where the gradient is by both sides, value and sums are made of blocks on the diagonal and above, and once more
    where there is more than one.
    """
    from vecaf.selection.objectives import squares

    if objective == "released":
        return 2 * k * k
    sizes = [(rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in squares(k)]
    return 0 if k == 1 else k * k + sum(sizes) * (2 if len(sizes) > 1 else 1)


def _optimised(
    sizes: Sizes, steps: int, rows: int | None, whole: int, repulsion: int, log: Mapping[str, Any], choices: int
) -> dict[str, int]:
    """Return the parts of some steps, of ``whole`` evaluations when optimised, and of what is logged and chosen."""
    from vecaf.selection.engine import CANDIDATES, RANDOM_SETS

    whole += 1 + RANDOM_SETS  # the objective of the selected images and of random sets
    drawn = sizes.pool if rows is None else min(rows, sizes.pool)
    step, full = _centroids(sizes, drawn, repulsion), _centroids(sizes, sizes.pool, repulsion)
    parts = {name: steps * step[name] + whole * full[name] for name in step}
    ranked = log.get("pairs_ranked", 0) + choices * sizes.chosen * min(CANDIDATES, sizes.pool)
    if "pairs_multiplied" in log:
        parts["assignment"] = log["pairs_multiplied"] * sizes.width
    return parts | {"ranking": ranked * sizes.width, "nearest": choices * sizes.pool * sizes.chosen * sizes.width}


@formula("entropy", "margin", "least_confidence")
def _uncertainty(sizes: Sizes, params: Mapping[str, Any], log: Mapping[str, Any]) -> dict[str, int]:
    """Logits of the whole pool, made twice: to check that they are finite, and to score them."""
    return {"logits": 2 * sizes.pool * sizes.classes * sizes.width}


@formula("k_center")
def _k_center(sizes: Sizes, params: Mapping[str, Any], log: Mapping[str, Any]) -> dict[str, int]:
    """The distances of the whole pool to every centre, labelled or chosen."""
    return {"distances": (sizes.labelled + sizes.chosen) * sizes.pool * sizes.width}


@formula("typiclust")
def _typiclust(sizes: Sizes, params: Mapping[str, Any], log: Mapping[str, Any]) -> dict[str, int]:
    """Greedy k-means++, k-means, and all distances inside clusters, taken to be of one size.

    k-means stops by itself; scikit-learn's limit of 300 iterations is assumed where the log does not say.
    """
    n, d = sizes.pool, sizes.width
    clusters = min(sizes.labelled + sizes.chosen, params["max_clusters"])
    trials = min(n, 2 + int(math.log(clusters)))
    return {
        "start": (1 + (clusters - 1) * trials) * n * d,
        "k_means": log.get("iterations", 300) * n * clusters * d,
        "typicality": n * n // clusters * d,
    }


@formula("alfa_mix")
def _alfa_mix(sizes: Sizes, params: Mapping[str, Any], log: Mapping[str, Any]) -> dict[str, int]:
    """Four products of samples × classes × d: logits, gradient, its logits, anchors; then k-means of the candidates.

    k-means is counted at its limit of iterations, which the log does not tell: an upper bound.
    """
    if not sizes.labelled:
        return {}  # no anchors, so all are drawn
    k, d = sizes.chosen, sizes.width
    left = sizes.pool - sizes.labelled
    seen = log.get("subpool", left if params["subpool"] is None else min(left, int(params["subpool"] * k)))
    candidates = log.get("candidates", seen)
    if params["max_candidates"] is not None:
        candidates = min(candidates, int(params["max_candidates"] * k))
    clustered = candidates if candidates > k else 0
    return {"mixing": 4 * seen * sizes.classes * d, "k_means": ALFA_MIX_ITERATIONS * clustered * k * d}


@formula("ta_vaal")
def _ta_vaal(sizes: Sizes, params: Mapping[str, Any], log: Mapping[str, Any]) -> dict[str, int]:
    """The game of VAE and discriminator, each image of a training pass counted three times, then one pass to score.

    An iteration shows a batch of either side to the VAE and the discriminator, and to the encoder once more.
    """
    from vecaf.selection.ta_vaal import iterations_by_formula

    if not sizes.labelled:
        return {}
    left = sizes.pool - sizes.labelled
    seen = log.get("subpool", min(left, int(params["subpool"] * sizes.chosen)))
    planned = iterations_by_formula(sizes.labelled, seen, params["epochs"], params["batch_size"])
    steps = log.get("iterations", min(planned, params["max_iterations"] or planned))
    encode, decode, judge = _game(params["width"], params["latent"], params["image_size"])
    shown = 2 * steps * params["batch_size"]
    return {
        "vae": 3 * shown * (encode + decode + judge),
        "discriminator": shown * (encode + 3 * judge),
        "scores": (sizes.labelled + seen) * (encode + judge),
    }


@cache
def _game(width: int, latent: int, image_size: int) -> tuple[int, int, int]:
    """Return the MACs of one image in TA-VAAL's encoder, decoder and discriminator."""
    import torch

    from vecaf.flops.counting import count
    from vecaf.selection.adversarial import VAE, Discriminator

    vae, discriminator = VAE(width, latent, image_size), Discriminator(latent)
    image, mu, rank = torch.zeros(1, 3, image_size, image_size), torch.zeros(1, latent), torch.zeros(1)
    encode = count(vae, image, call=lambda vae, x: vae.encode(x))
    decode = count(vae, mu, rank, call=lambda vae, z, r: vae.decode(z, r))
    return encode.macs, decode.macs, count(discriminator, mu, rank).macs


def augmentation_macs(pool: int, width: int, text_width: int, readings: Mapping[str, Any]) -> dict[str, int]:
    """Return the MACs of CEA over a whole pool before a selection, by part: equations 8 and 9 and the projection.

    readings: of ``augmentation.Readings``. The text (N, t) is projected twice, for the attention and for the shift.
    """
    fitted = _fitted(pool, width, text_width, readings["projection"])
    return fitted | {
        "projection": 2 * _projected(pool, width, text_width, readings["projection"]),
        "cosines": 3 * pool * width,
        "shift": pool * width,
    }


def selection_augmentation_macs(
    pool: int, chosen: int, width: int, text_width: int, readings: Mapping[str, Any]
) -> dict[str, int]:
    """Return the MACs of making ready the text of K selected samples for finetuning, by part.

    A projection that is fitted is fitted on the pool again, or on the selection with ``ridge_fit: selected``.
    """
    own = readings["projection"] == "ridge" and readings["ridge_fit"] == "selected"
    fitted = _fitted(chosen if own else pool, width, text_width, readings["projection"])
    projected = _projected(chosen, width, text_width, readings["projection"])
    return fitted | {"projection": projected, "cosines": 3 * chosen * width}


def _fitted(rows: int, width: int, text_width: int, projection: str) -> dict[str, int]:
    """Second moments of the text, and with the image for ridge; solving (t × t) is cheap beside them and left out."""
    if projection not in ("ridge", "pca"):
        return {}
    return {"moments": rows * text_width * (text_width + (width if projection == "ridge" else 0))}


def _projected(rows: int, width: int, text_width: int, projection: str) -> int:
    return 0 if projection == "identity" else rows * text_width * width
