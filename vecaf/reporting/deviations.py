"""The log of deviations: what this study chose where the paper says nothing or something else, and what that does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from vecaf.reporting import contrasts
from vecaf.reporting.comparison import Group
from vecaf.reporting.contrasts import Contrast, points, value_text
from vecaf.reporting.listing import Listing


class Deviation(NamedTuple):
    """readings: the keys of one decision, the first names it. paper: what its text says. why: ours differs or is so."""

    readings: tuple[str, ...]
    paper: str
    why: str


# In the order in which a reader of the paper meets them.
LOG = (
    Deviation(
        ("ods.objective", "ods.temperature"),
        "equation 7: a sum over N samples of weighted similarities and a sum over K centroids, no temperature",
        "both sums are made means and both terms divided by τ, since λ has no meaning between N terms and K; the "
        "released code's form gives samples with a large loss less weight, against principle 1",
    ),
    Deviation(
        ("ods.diversity",),
        "λ, without a value",
        "the largest λ on the tuning splits whose selections have a mean loss above random by more than 3 sd",
    ),
    Deviation(
        ("ods.debias", "ods.ensemble", "ods.shrinkage"),
        "θ* = θ₁ − Σ⁻¹(θ₁ − μ) over an ensemble whose members start from different random centroids",
        "centroids of two members do not correspond, so their mean and covariance are of unrelated things",
    ),
    Deviation(
        ("ods.iterations", "ods.until_convergence", "ods.rows", "ods.learning_rate"),
        "Adam with a learning rate of 0.001 until convergence",
        "convergence is not defined: relative change below 1e-4 over ten iterations, at most 300, all rows",
    ),
    Deviation(("ods.center",), "embeddings as they are, normalised", "as the text says"),
    Deviation(
        ("ods.first_loop", "top_k_loss.first_loop", "head"),
        "losses of the current model; in loop 1 nothing says which head has them",
        "the random head that is finetuned next, as released: its losses are close to ln C for every sample",
    ),
    Deviation(
        ("cea.attention",),
        "equation 8: softmax over the K selected",
        "it sums to one, so a weight is near 1/K and equation 9 moves nothing; times K its mean is one",
    ),
    Deviation(
        ("cea.step", "cea.noise"),
        "η, without a value",
        "test images have no captions: larger steps with a projection that is not fitted ruin test accuracy",
    ),
    Deviation(
        ("cea.projection", "cea.ridge_fit", "cea.ridge_penalty"),
        "none: text and image embeddings of one width are assumed",
        "widths differ for most pairs of table 5; a fitted projection carries labels of the whole pool",
    ),
    Deviation(
        ("cea.scope", "cea.in_finetune", "cea"),
        "section 3.2: augmented embeddings for data selection and finetuning; algorithm 1: of the selected",
        "the whole pool from loop 2 on, and in finetuning, as the text says",
    ),
    Deviation(
        ("captioner", "encoder", "prompt"),
        "captions that come with the dataset or from BLIP-2; CLIP, BERT, mT5 or GPT-2",
        "one captioner for all; a caption that names the class tells the label of images that nobody has selected, "
        "so captions without it, of other images and one-hot labels are run beside",
    ),
    Deviation(
        ("loop.accumulate", "loop.optimizer_state"),
        "“use this set for PVM finetuning during the whole loop”; nothing on the optimiser's state",
        "each loop trains on its latest selection; momentum is carried, since the cosine runs over all loops",
    ),
    Deviation(
        (
            *("recipe", "recipe.learning_rate", "recipe.batch_size", "recipe.head_lr_multiplier", "batches"),
            "precision",
        ),
        "SGD 5e-4, momentum 0.9, weight decay 1e-4, batch 256; from 750 to 12,500 batches",
        "as the text says in its own study; a small one has fewer and smaller batches and a learning rate of its own, "
        "chosen on the tuning split",
    ),
    Deviation(
        ("eval_transform", "input_size"),
        "images are resized to 224",
        "resized, not cropped, as the text says; a small study to fewer pixels",
    ),
    Deviation(("split_rule",), "no split of Caltech-101 is named", "80/20 in every class; usual is 30 a class"),
    Deviation(
        ("mislabelled",), "labels are taken to be right", "as the text says; the other value asks what wrong ones do"
    ),
    Deviation(
        ("objective.form", "objective.in_finetune", "objective.one_vs_all"),
        "a binary loss of one class against all others",
        "log-sum-exp of the other logits is the softmax's own marginal; their sum, as released, is no probability",
    ),
    Deviation(("activeft.objective",), "ActiveFT's own paper: two separate terms", "the form that its code minimises"),
    Deviation(
        (
            *("learning_loss.subpool", "ta_vaal.subpool", "ta_vaal.max_iterations", "ta_vaal.width", "ta_vaal.bn_eval"),
            *("alfa_mix.subpool", "alfa_mix.cap_step", "alfa_mix.fill"),
        ),
        "LearnLoss, TA-VAAL and ALFA-Mix by name",
        "their authors' values, but for the VAE's cap (and width, where a study has no GPU); its discriminator scores "
        "with running statistics, and no sample is drawn twice",
    ),
    Deviation(
        ("stylize.share", "stylize.quality", "stylize.styler", "stylize.text"),
        "CLIPstyler by name: neither its variant nor what it restyles",
        "the fast variant with a decoder of our own training, since the authors' has no licence, on a random set",
    ),
)
HEADER = ("Reading", "Paper", "Here", "Why", "Other values: points of accuracy against the default")


def build(rows: pd.DataFrame, layout: Mapping[str, Any]) -> Listing:
    """Return the log of deviations with the effects that an exhibit's cells measured.

    rows, layout: see ``contrasts.build``; layout also with ``choices``, reading → value of the default.
    """
    found = contrasts.build(rows, layout)
    records = tuple(_record(deviation, layout["choices"], found) for deviation in LOG)
    lines = tuple(tuple(record.values()) for record in records)
    return Listing(layout["title"], (Group("", HEADER, lines, len(HEADER)),), tuple(_notes(layout)), records)


def _record(deviation: Deviation, choices: Mapping[str, Any], found: Sequence[Contrast]) -> dict[str, str]:
    ours = [f"{key} = {value_text(choices[key])}" for key in deviation.readings if key in choices]
    return {
        "reading": deviation.readings[0],
        "paper": deviation.paper,
        "ours": ", ".join(ours) or "not chosen here: no method or dataset of this study asks",
        "why": deviation.why,
        "effect": "; ".join(_effects(deviation, found)) or "not measured by this study",
    }


def _effects(deviation: Deviation, found: Sequence[Contrast]) -> Iterator[str]:
    """Yield what each other value does; a contrast that changes several decisions is none of one alone."""
    several = len({contrast.spec["dataset"] for contrast in found if contrast.from_base}) > 1
    for contrast in found:
        changed = set(contrast.spec["changes"])
        measured = contrast.from_base is not None and contrast.from_base.estimate is not None
        if not measured or not changed or not changed <= set(deviation.readings):
            continue
        place = f" on {contrast.spec['dataset_title']}" if several else ""
        recall = "" if contrast.metric == "top1" else " of recall"
        yield f"{contrast.whose}{contrast.label}{place}: {points(contrast.from_base)}{recall}"


def _notes(layout: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "Effects are the lines of the table of readings: the accuracy of the other value minus that of the default, "
        "paired by seed, in points, with Student's 95 % interval where there are two seeds or more."
    )
    yield from layout.get("notes") or ()
    yield f"Digest of the configuration: {layout['config_digest']}."
