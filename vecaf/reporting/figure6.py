"""Figure 6: a map of the pool with what two methods select on the same scores, and how close that is to boundaries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vecaf.errors import ConfigError
from vecaf.reporting import bundle, figure, margins, statistics
from vecaf.reporting.contrasts import signed

SUBJECT = "vecaf"
RANDOM_BAND = 1.96  # standard deviations: 95 % of random sets
NAMED_CLASSES = 12  # more would cover the map


@dataclass(frozen=True)
class Seed:
    """The margins of one seed. sets: method → (K,) rows; alone: method → rows that it alone selects."""

    seed: int
    margin: np.ndarray
    sets: Mapping[str, np.ndarray]

    def alone(self, method: str) -> np.ndarray:
        others = [rows for name, rows in self.sets.items() if name != method]
        return np.setdiff1d(self.sets[method], np.concatenate(others))

    @property
    def shared(self) -> np.ndarray:
        first, second = self.sets.values()
        return np.intersect1d(first, second)


def build(samples: pd.DataFrame, layout: Mapping[str, Any]) -> figure.Figure:
    """Return the map of the first seed beside the margins of all.

    samples: a row per seed and sample of the pool: seed, id, class, margin (p₁ − p₂ of the scored model), x, y (of the
    first seed, NaN for others) and by_{method} (bool) for each of two methods. layout: as ``Study.map_layout`` says it.
    Raises ConfigError unless the methods are VeCAF and one other. Source: Figure 6 of the VeCAF paper.
    """
    methods = list(layout["names"])
    if len(methods) != 2 or SUBJECT not in methods:
        raise ConfigError(f"exhibits.{layout['exhibit']} compares {SUBJECT} with one other method, not {methods}")
    methods.sort(key=lambda method: method == SUBJECT)
    seeds = [_seed(int(seed), rows, methods) for seed, rows in samples.groupby("seed", sort=False)]
    drawn = samples[samples["seed"] == seeds[0].seed].reset_index(drop=True)
    records = [*_set_records(seeds), *_sample_records(drawn, seeds[0], methods)]
    caption = _caption(seeds, methods, layout, bundle.said(samples))
    return figure.Figure(_draw(drawn, seeds, methods, layout), tuple(records), caption)


def _seed(seed: int, rows: pd.DataFrame, methods: Sequence[str]) -> Seed:
    sets = {method: np.flatnonzero(rows[f"by_{method}"].to_numpy()) for method in methods}
    return Seed(seed, rows["margin"].to_numpy(), sets)


# --- numbers ------------------------------------------------------------------------------------------------------


def _set_records(seeds: Sequence[Seed]) -> Iterator[dict[str, Any]]:
    for seed in seeds:
        for method, rows in seed.sets.items():
            other = next(name for name in seed.sets if name != method)
            random = margins.against_random(seed.margin, rows)
            rest = np.setdiff1d(np.arange(len(seed.margin)), rows)
            against = margins.compare(seed.margin[seed.alone(method)], seed.margin[seed.alone(other)])
            yield _EMPTY | {
                "what": "set",
                "seed": seed.seed,
                "chosen_by": method,
                "n": len(rows),
                "n_alone": len(seed.alone(method)),
                "mean_margin": random.mean,
                "median_margin": float(np.median(seed.margin[rows])),
                "random_mean_margin": random.random_mean,
                "random_sd": random.random_sd,
                "z_against_random": random.z,
                "p_against_random": random.p,
                "delta_against_rest": margins.compare(seed.margin[rows], seed.margin[rest]).delta,
                "delta_alone_against_other": against.delta,
                "p_alone_against_other": against.p,
            }


def _sample_records(drawn: pd.DataFrame, seed: Seed, methods: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the samples on the map that any method selects; the others stand in the samples' own file."""
    for chosen, rows in _groups(seed, methods).items():
        for sample in drawn.iloc[rows][["id", "class", "x", "y", "margin"]].to_dict("records"):
            yield _EMPTY | {"what": "sample", "seed": seed.seed, "chosen_by": chosen, **sample}


_EMPTY = dict.fromkeys(
    (
        *("what", "seed", "chosen_by", "n", "n_alone", "mean_margin", "median_margin", "random_mean_margin"),
        *("random_sd", "z_against_random", "p_against_random", "delta_against_rest"),
        *("delta_alone_against_other", "p_alone_against_other", "id", "class", "x", "y", "margin"),
    )
)


def _groups(seed: Seed, methods: Sequence[str]) -> dict[str, np.ndarray]:
    return {"both": seed.shared} | {method: seed.alone(method) for method in methods}


def difference(seeds: Sequence[Seed], other: str) -> statistics.Difference:
    """Return the mean margin of VeCAF's set minus that of another method's, paired by seed."""
    means = {
        method: {seed.seed: float(seed.margin[seed.sets[method]].mean()) for seed in seeds}
        for method in (SUBJECT, other)
    }
    return statistics.paired_difference(means[SUBJECT], means[other])


def _caption(seeds: Sequence[Seed], methods: Sequence[str], layout: Mapping[str, Any], origin: str) -> str:
    other, names = methods[0], layout["names"]
    first = seeds[0]
    told, paired = layout["map"], difference(seeds, other)
    against = margins.compare(first.margin[first.alone(SUBJECT)], first.margin[first.alone(other)])
    interval = "" if paired.low is None else f" (95 % interval {signed(paired.low, 3)} to {signed(paired.high, 3)})"
    z = {method: margins.against_random(first.margin, first.sets[method]).z for method in methods}
    far = ", ".join(f"{names[m]} {signed(value, 1)}" for m, value in z.items())
    return figure.caption(
        f"{layout['title']}: UMAP ({told['metric']}, {told['neighbors']} neighbours, minimal distance "
        f"{told['min_distance']:g}, seeded) of the pool as the weights of {layout['weights_of']} after its first loop "
        f"see it, seed {first.seed}; both methods select on these very scores. Pale colours are classes; axes have no "
        "meaning.",
        "Right: distribution of p₁ − p₂, the margin between the two most probable classes under that model; below, "
        "mean of each set in every seed, with the range of 95 % of random sets of its size.",
        f"Selected by both: {len(first.shared)}; by {names[SUBJECT]} alone: {len(first.alone(SUBJECT))}; by "
        f"{names[other]} alone: {len(first.alone(other))}.",
        f"Mean margin of {names[SUBJECT]} minus {names[other]}, paired by seed (n = {paired.n}): "
        f"{signed(paired.estimate, 3)}{interval}.",
        f"What one of them alone selects in seed {first.seed}: Cliff's δ {signed(against.delta)}, Mann–Whitney "
        f"p = {'—' if against.p is None else f'{against.p:.2g}'} (negative: {names[SUBJECT]} is closer to boundaries).",
        f"Against random sets, in standard deviations of their mean: {far}.",
        *layout["notes"],
        origin,
        f"Configuration {layout['config_digest']}.",
    )


# --- drawing ------------------------------------------------------------------------------------------------------


def _draw(drawn: pd.DataFrame, seeds: Sequence[Seed], methods: Sequence[str], layout: Mapping[str, Any]):
    canvas, axes = figure.canvas_of(
        figure.PAGE, 4.3, [["map", "distribution"], ["map", "means"]], width_ratios=[1.75, 1], height_ratios=[1.25, 1]
    )
    looks = figure.looks(methods, {method: method for method in methods})
    _draw_map(axes["map"], drawn, seeds[0], methods, layout, looks)
    _draw_distribution(axes["distribution"], seeds[0], methods, layout, looks)
    _draw_means(axes["means"], seeds, methods, looks)
    return canvas


def _draw_map(
    panel: Any,
    drawn: pd.DataFrame,
    seed: Seed,
    methods: Sequence[str],
    layout: Mapping[str, Any],
    looks: Mapping[str, figure.Look],
) -> None:
    classes = sorted(drawn["class"].unique())
    for number, name in enumerate(classes):
        inside = drawn[drawn["class"] == name]
        colour = figure.PALE[number % len(figure.PALE)]
        size = 9 if len(drawn) < 5000 else 2
        panel.scatter(inside["x"], inside["y"], s=size, color=colour, linewidths=0, rasterized=True)
    places = drawn[["x", "y"]].to_numpy()
    for chosen, rows in _groups(seed, methods).items():
        title = "both" if chosen == "both" else f"{layout['names'][chosen]} only"
        colour = figure.COLOURS["black"] if chosen == "both" else looks[chosen].colour
        panel.scatter(
            *places[rows].T,
            marker=_marker(chosen),
            s=34 if chosen == SUBJECT else 16 if chosen != "both" else 10,
            color=colour,
            edgecolors="white",
            linewidths=0.35,
            label=f"{title} ({len(rows)})",
            zorder=3,
        )
    if len(classes) <= NAMED_CLASSES:
        for name in classes:
            inside = places[(drawn["class"] == name).to_numpy()]
            figure.name(panel, name, _top(inside))
    panel.set_axis_off()
    panel.set_title(layout["place_title"], loc="left")
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, handletextpad=0.2)


def _top(places: np.ndarray) -> np.ndarray:
    """Return the highest of the half of some places that lies closest together: a class may lie in several."""
    far = np.linalg.norm(places - np.median(places, axis=0), axis=1)
    near = places[np.argsort(far, kind="stable")[: len(places) // 2 + 1]]
    return near[near[:, 1].argmax()]


def _marker(chosen: str) -> str:
    """Return the mark of a set: a star as in the paper, and others that are no star, for those who see no colours."""
    return {"both": "o", SUBJECT: "*"}.get(chosen, "^")


def _draw_distribution(
    panel: Any, seed: Seed, methods: Sequence[str], layout: Mapping[str, Any], looks: Mapping[str, figure.Look]
) -> None:
    panel.ecdf(seed.margin, color=figure.COLOURS["grey"], linestyle=(0, (1, 1)), label="whole pool")
    for method in methods:
        look = looks[method]
        panel.ecdf(
            seed.margin[seed.sets[method]], color=look.colour, linestyle=look.line, label=layout["names"][method]
        )
    panel.set_xlim(0, 1)
    panel.set_xlabel("Margin p₁ − p₂")
    panel.set_ylabel("Share below")
    panel.legend(loc="best", handlelength=2.2)


def _draw_means(panel: Any, seeds: Sequence[Seed], methods: Sequence[str], looks: Mapping[str, figure.Look]) -> None:
    for height, seed in enumerate(seeds):
        random = margins.against_random(seed.margin, seed.sets[methods[0]])
        low, high = (random.random_mean + side * RANDOM_BAND * random.random_sd for side in (-1, 1))
        panel.plot([low, high], [height, height], color="#bbbbbb", linewidth=7, solid_capstyle="butt")
        for method in methods:
            marked = looks[method].marked(9 if method == SUBJECT else 6) | {"marker": _marker(method)}
            panel.plot([seed.margin[seed.sets[method]].mean()], [height], **marked)
    panel.set_yticks(range(len(seeds)), [f"seed {seed.seed}" for seed in seeds])
    panel.set_ylim(len(seeds) - 0.4, -0.6)
    panel.set_xlabel("Mean margin (grey: random sets)")
    panel.grid(axis="y", visible=False)
