"""Figure 3: images that methods select in loop 1, without a prompt and with one, and what a prompt changes."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from vecaf.errors import ConfigError
from vecaf.reporting import bundle, figure, prompts, statistics
from vecaf.reporting.layout import ratio_title

LETTERS, LINES = 17, 3  # of a caption below its image
SIDE = 64  # pixels; smaller images are enlarged without smoothing


def build(layout: Mapping[str, Any], selected: Sequence[pd.DataFrame]) -> figure.Figure:
    """Return a row of images for each method, drawn at random from what it selects under the first seed.

    selected, layout: see ``prompts.measure``; one dataset. Images that the same method selects without its prompt, too,
    have a thin frame. Raises ConfigError for several datasets, which have no common picture. Source: Figure 3 of the
    VeCAF paper.
    """
    if len(selected) != 1:
        raise ConfigError(f"exhibits.{layout['exhibit']} shows images of one dataset, not of {len(selected)}")
    table = selected[0]
    found = prompts.measure(selected, layout)
    shown = table[table["drawn"]].assign(also_without=lambda rows: _also_without(rows, table, layout))
    records = [*_set_records(found, layout), *_sample_records(shown, layout)]
    return figure.Figure(_draw(shown, found, layout), tuple(records), _caption(shown, found, layout))


def _also_without(shown: pd.DataFrame, table: pd.DataFrame, layout: Mapping[str, Any]) -> list[bool | None]:
    """Return for each image whether its method selects it without its prompt, too; None for one that has none."""
    sets = {key: set(rows["id"]) for key, rows in table.groupby(["method", "seed"])}
    bases = {method: told["unprompted"] for method, told in layout["methods"].items()}
    return [
        None if bases[row.method] is None else row.id in sets.get((bases[row.method], row.seed), ())
        for row in shown.itertuples()
    ]


# --- numbers ------------------------------------------------------------------------------------------------------

_EMPTY = dict.fromkeys(
    (
        *("what", "method", "prompt", "seed", "k", "jaccard", "likeness", "likeness_without", "likeness_pool"),
        *("id", "class", "file", "caption", "similarity", "also_without"),
    )
)


def _set_records(found: Sequence[prompts.Chosen], layout: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    names = ("method", "seed", "k", "jaccard", "likeness", "likeness_without", "likeness_pool")
    for one in found:
        text = layout["methods"][one.method]["text"]
        yield _EMPTY | {"what": "set", "prompt": text} | {name: getattr(one, name) for name in names}


def _sample_records(shown: pd.DataFrame, layout: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for row in shown.to_dict("records"):
        told = layout["methods"][row["method"]]
        similarity = None if told["prompt"] is None else float(row[f"to_{told['prompt']}"])
        same = {name: row[name] for name in ("method", "seed", "id", "class", "file", "caption", "also_without")}
        yield _EMPTY | {"what": "sample", "prompt": told["text"], "similarity": similarity} | same


def _caption(shown: pd.DataFrame, found: Sequence[prompts.Chosen], layout: Mapping[str, Any]) -> str:
    first = found[0]
    told = layout["datasets"][first.dataset]
    said = []
    for method in dict.fromkeys(one.method for one in found):
        facts = layout["methods"][method]
        ours = [one for one in found if one.method == method]
        jaccard = statistics.mean(one.jaccard for one in ours if one.jaccard is not None)
        if jaccard is None:
            continue
        likeness, without = (
            statistics.mean(value for one in ours if (value := getattr(one, name)) is not None)
            for name in ("likeness", "likeness_without")
        )
        likened = f"captions' cosine to the prompt {likeness:.3f} against {without:.3f} without it"
        said.append(f"{facts['title']} (“{facts['text']}”): Jaccard {jaccard:.2f}, {likened}")
    seeds = len({one.seed for one in found})
    each = len(shown) // shown["method"].nunique()
    against = f"Against the set without the prompt, mean of {seeds} seed{'s' * (seeds > 1)}: {'; '.join(said)}"
    return figure.caption(
        f"{layout['title']}: selections of loop 1 on {told['title']} at {ratio_title(first.place[1])} (K = {first.k}), "
        f"from the pretrained backbone alone; {each} images of each, drawn at random (seed {shown['seed'].iloc[0]}), "
        f"with their captions ({told['captioner']}).",
        "A dashed frame: the method selects the image without its prompt, too.",
        against if said else "",
        bundle.said(shown),
        "Images are not published: ids stand in their place." if shown["thumbnail"].isna().any() else "",
        *layout["notes"],
        f"Configuration {layout['config_digest']}.",
    )


# --- drawing ------------------------------------------------------------------------------------------------------


def _draw(shown: pd.DataFrame, found: Sequence[prompts.Chosen], layout: Mapping[str, Any]):
    methods = list(dict.fromkeys(shown["method"]))
    wide = int(shown.groupby("method").size().max())
    canvas, axes = figure.canvas(figure.PAGE, 1.45 * len(methods), nrows=len(methods), ncols=wide, squeeze=False)
    canvas.get_layout_engine().set(h_pad=0.12)
    for panels, method in zip(axes, methods, strict=True):
        rows = shown[shown["method"] == method]
        for panel in panels:
            panel.set_xticks([])
            panel.set_yticks([])
            panel.grid(visible=False)
            panel.spines[:].set_visible(False)
        for panel, row in zip(panels, rows.itertuples(), strict=False):
            if row.thumbnail is None:
                panel.text(0.5, 0.5, f"id {row.id}", ha="center", va="center", fontsize=6, transform=panel.transAxes)
            else:
                panel.imshow(_pixels(row.thumbnail), interpolation="nearest")
            words = textwrap.wrap(row.caption, LETTERS, max_lines=LINES, placeholder=" …")
            panel.set_xlabel("\n".join(words), fontsize=4.6, labelpad=2)
            if row.also_without:
                panel.spines[:].set(visible=True, linestyle=(0, (3, 2)), linewidth=1.4, color=figure.COLOURS["blue"])
        # A title would count as its first panel's and widen it; this one runs over all panels of the row.
        above = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom", "fontsize": 8}
        panels[0].annotate(_title(method, found, layout), (0, 1), (0, 4), **above).set_in_layout(False)
    return canvas


def _title(method: str, found: Sequence[prompts.Chosen], layout: Mapping[str, Any]) -> str:
    told = layout["methods"][method]
    first = next(one for one in found if one.method == method)
    prompt = f" — “{told['text']}”" if told["text"] else ""
    jaccard = (
        f", {100 * first.jaccard:.0f} % shared with the set without it (Jaccard)" if first.jaccard is not None else ""
    )
    return f"{told['title']}{prompt}{jaccard}"


def _pixels(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    scale = max(1, SIDE // max(image.size))
    return np.asarray(image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST))
