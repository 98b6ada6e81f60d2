"""MACs of a whole cell, by loop and step, in full and in the unit of the paper's table 4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vecaf import augmentation, selection
from vecaf.errors import ArtifactError
from vecaf.flops import TRAINING_STEP, stylers
from vecaf.flops.selection import Sizes, augmentation_macs, selection_augmentation_macs, selection_macs
from vecaf.grid import EMBEDDED, SCORES
from vecaf.models.clipstyler.options import options
from vecaf.ratio import subset_size
from vecaf.training import recipes

# What models cost (``profile`` of the modules here) by (part, name); parts are backbone, encoder and captioner.
Counts = Mapping[tuple[str, str], Mapping[str, Any]]
ONCE = 0  # the loop of what is done once for a pool, however many loops and cells read it


@dataclass(frozen=True)
class Work:
    """One step of a cell. loop: from 1, or ``ONCE``. macs: of the step in full, None where it cannot be counted."""

    loop: int
    step: str
    macs: int | None


@dataclass(frozen=True)
class Profiles:
    """What one image or caption costs the models of a cell, as of ``Counts``; None where it has no text.

    backbone: with macs and training_step at the cell's input size.
    """

    backbone: Mapping[str, Any]
    encoder: Mapping[str, Any] | None = None
    captioner: Mapping[str, Any] | None = None


def by_model(profiles: Iterable[Mapping[str, Any]]) -> Counts:
    """Return the counts that ``scripts/profile_flops.py`` wrote by (part, name)."""
    return {(found["part"], found["name"]): found for found in profiles}


def profiles_of(backbone: str, parameters: Mapping[str, Any], counts: Counts) -> Profiles:
    """Return the counts of a cell's models, of its backbone those at its input size.

    parameters: as of ``Study.resolved``. Raises ArtifactError naming a model without a count.
    """
    text, side = parameters["text"] or {}, str(parameters["backbone"]["input_size"])
    named = {"backbone": backbone, **{part: text[part]["name"] for part in text}}
    for part, name in named.items():
        if (part, name) not in counts:
            raise ArtifactError(f"the {part} {name} has no count; run `snakemake flops`")
    found = {part: counts[part, name] for part, name in named.items()}
    if side not in found["backbone"]["sizes"]:
        raise ArtifactError(f"the backbone {backbone} is not counted at {side} px; run `snakemake flops`")
    return Profiles(**found | {"backbone": found["backbone"] | found["backbone"]["sizes"][side]})


def in_papers_unit(macs: float, batch_size: int) -> float:
    """Return G MACs as table 4 counts them: those of one image times the number of batches, not times their size."""
    return macs / batch_size / 1e9


def batch_size(parameters: Mapping[str, Any]) -> int:
    """Return the global batch size of a cell's finetuning; parameters: as of ``Study.resolved``."""
    training = parameters["finetune"][0]["training"]
    return recipes.resolve(training["recipe"], training["overrides"]).batch_size


def planned(parameters: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the selections of a cell that has not run, with nothing logged; None where the pool's size is unknown.

    parameters: as of ``Study.resolved``. ``work`` then assumes as many iterations as the parameters allow.
    """
    size = parameters["pool"]["pool_size"]
    if size is None:
        return None
    return [{"k": subset_size(told["ratio"], size), "pool_size": size} for told in parameters["selection"]]


def work(
    parameters: Mapping[str, Any], selections: Sequence[Mapping[str, Any]], profiles: Profiles, classes: int = 0
) -> list[Work]:
    """Return the MACs of every step of a cell, captions and text first.

    parameters: all that the configuration decides about it (``Study.resolved``). selections: of each loop k,
    pool_size and what its selector logged. classes: C of the head, without which its d·C for an image are left out.
    Captions, their embeddings, a styler and the first pass over the pool are counted in full, though cells share
    them. Looking at the curve and the final evaluation are no part of a method and not counted. Raises
    ArtifactError for a cell with text and no profile of it.
    """
    return list(_steps(parameters, selections, profiles, classes))


def _steps(
    parameters: Mapping[str, Any], selections: Sequence[Mapping[str, Any]], profiles: Profiles, classes: int
) -> Iterator[Work]:
    width = profiles.backbone["width"]
    image = profiles.backbone["macs"] + width * classes + loss_head_macs(parameters, profiles)
    cea, pool, labelled = parameters["cea"], selections[0]["pool_size"], 0
    in_finetune = cea is not None and cea["in_finetune"]
    if reads_text := in_finetune or any(augments(parameters, loop) for loop in range(1, len(selections) + 1)):
        if profiles.captioner is None or profiles.encoder is None:
            raise ArtifactError("a cell with captions has no count of its captioner and encoder; run `snakemake flops`")
        yield Work(ONCE, "caption", _times(profiles.captioner["macs"], pool))
        yield Work(ONCE, "embed_text", _times(profiles.encoder["macs"], pool))
    if (styling := parameters.get("stylize")) is not None:
        styler = options({key: value for key, value in styling["styler"].items() if key != "seed"})
        yield Work(ONCE, "train_styler", stylers.training_macs(styler))
    loops = zip(parameters["selection"], selections, parameters["finetune"], strict=True)
    for loop, (told, log, trained) in enumerate(loops, start=1):
        if in_finetune or selection.get(told["selector"]).needs & SCORES:
            yield Work(loop, "score", pool * image)
        if reads_text:
            yield Work(loop, "augment", _augmentation(parameters, loop, pool, log["k"], width, profiles.encoder))
        sizes = Sizes(pool, log["k"], width, classes, labelled)
        chosen = selection_macs(told["selector"], sizes, told["params"], log)
        yield Work(loop, "select", None if chosen is None else sum(chosen.values()))
        if styling is not None:
            shown = log["k"] + trained["accumulate"] * labelled
            yield Work(loop, "stylize", round(styling["share"] * shown) * stylers.image_macs(styler))
        drawn = (trained["stop"] - trained["start"]) * batch_size(parameters)
        yield Work(loop, "finetune", TRAINING_STEP * drawn * image)
        labelled += log["k"]


def _augmentation(
    parameters: Mapping[str, Any], loop: int, pool: int, chosen: int, width: int, encoder: Mapping[str, Any]
) -> int | None:
    """Return the MACs of equations 8 and 9 in one loop: over the pool before selection, and of the selected."""
    cea, macs = parameters["cea"], 0
    if encoder["width"] is None:
        return None
    if augments(parameters, loop):
        macs += sum(augmentation_macs(pool, width, encoder["width"], cea).values())
    if cea["in_finetune"]:
        macs += sum(selection_augmentation_macs(pool, chosen, width, encoder["width"], cea).values())
    return macs


def _times(macs: int | None, count: int) -> int | None:
    return None if macs is None else macs * count


def augments(parameters: Mapping[str, Any], loop: int) -> bool:
    """Say whether CEA shifts the pool before the selection of a loop, and that selection reads it."""
    needs = selection.get(parameters["selection"][loop - 1]["selector"]).needs
    if parameters["cea"] is None or not needs & EMBEDDED:
        return False
    readings = augmentation.Readings(**parameters["cea"])
    return augmentation.applies_to_pool(readings, loop, parameters["text"]["encoder"]["prompt"])


def loss_head_macs(parameters: Mapping[str, Any], profiles: Profiles) -> int:
    """Return what one image costs the loss-prediction head of a cell, 0 for a cell without one."""
    options = parameters["finetune"][0].get("loss_head")
    return 0 if options is None else profiles.backbone["loss_heads"][str(options["hidden"])]
