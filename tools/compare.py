"""Compare groups of finished cells: the first with each other one, seed by seed.

    python -m tools.compare cifar10_small/vit_ti/{vecaf,random,activeft}/5pct/3loops
    python -m tools.compare --root results/study 'cifar10_*/vit_ti/vecaf/5pct/3loops'

A group is the path of a cell without its seed; quoted wildcards stand for several. Of each: seeds, mean accuracy and
its standard error, the first group minus this one (points, paired by seed, Student's 95 % interval; with one seed that
of a bootstrap over its test images, where both have predictions, which says nothing about other seeds),
how many different images its loops have selected and how many in all, how many classes a selection after loop 1 has,
over those of a random set, and the mean training loss of each loop's last batches (nats). Cells are those of the study
and those of the bundle, of any configuration: what is stale is not told apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd

from tools import publish
from vecaf import artifacts, command
from vecaf.errors import ArtifactError, meant
from vecaf.reporting import bundle, statistics
from vecaf.reporting.contrasts import percent, points
from vecaf.reporting.metrics import selection_facts, selection_hashes

HEADER = [
    "group",
    "seeds",
    "accuracy, %",
    "first minus this",
    "different images",
    "classes",
    "loss at the end of loops",
]


def group_of(cell: str) -> str:
    return cell.rpartition("/seed")[0]


class Group:
    """The cells of one path. tables: those of a bundle; folders: cell → where its own files lie."""

    def __init__(self, name: str, tables: dict[str, pd.DataFrame], folders: Mapping[str, Path]):
        records, batches = (
            tables[file][tables[file]["cell"].map(group_of) == name] for file in (bundle.RECORDS, bundle.BATCHES)
        )
        texts = records[records["file"] == bundle.METRICS]
        self.name, self._batches, self._ids = name, batches, tables[bundle.IDS]
        self._folders = folders
        self._metrics = {
            int(cell.rpartition("/seed")[2]): bundle.parsed(text, cell)
            for cell, text in zip(texts["cell"], texts["text"], strict=True)
        }

    def accuracies(self) -> dict[int, float]:
        """Return seed → top-1, or the recall of the class that stands against all others; fractions."""
        found = {seed: record["metrics"] for seed, record in self._metrics.items()}
        return {
            seed: one["top1"] if one.get("one_vs_all") is None else one["one_vs_all"]["recall_argmax"]
            for seed, one in found.items()
        }

    def correct(self, seed: int) -> pd.Series | None:
        """Return of each test image, by id, whether a seed's model is right; None where its predictions are not there.

        Of a class against all others nothing is told: its accuracy is a recall.
        """
        file = self._folders.get(f"{self.name}/seed{seed}", Path()) / "predictions.parquet"
        if not file.exists() or self._metrics[seed]["metrics"].get("one_vs_all") is not None:
            return None
        table = artifacts.read_table(file, columns=["id", "label", "prediction"]).set_index("id").sort_index()
        return table["label"] == table["prediction"]

    def selected(self) -> tuple[float, float] | None:
        """Return how many different images the loops have selected, and how many in all; means over seeds."""
        chosen = [selection_hashes(record) for record in self._metrics.values()]
        named = {name for names in chosen for name in names}
        ids = self._ids[self._ids["ids_hash"].isin(named)]
        sets = {name: set(rows) for name, rows in ids.groupby("ids_hash")["id"]}
        if sets.keys() != named:
            return None
        different = statistics.mean(len(set().union(*(sets[name] for name in names))) for names in chosen)
        return different, statistics.mean(sum(len(sets[name]) for name in names) for names in chosen)

    def coverage(self) -> float | None:
        """Return the classes of a selection after loop 1, over those of a random set of its size; mean over seeds."""
        facts = [selection_facts(record["provenance"].get("selection") or []) for record in self._metrics.values()]
        found = [fact["class_coverage"] for fact in facts]
        return None if None in found else statistics.mean(found)

    def losses(self, last: int) -> list[float]:
        """Return the mean training loss of the last batches of every loop, over batches and seeds."""
        ends = self._batches.groupby(["cell", "loop"])["loss"].apply(lambda loss: loss.tail(last).mean())
        return [float(loss) for loss in ends.groupby("loop").mean()]


def fitting(known: list[str], asked: list[str]) -> list[str]:
    """Return the groups that are asked for, each once, in the order of asking; raises ArtifactError for none."""
    found: list[str] = []
    for pattern in asked:
        if not (names := [name for name in known if fnmatchcase(name, pattern.rstrip("/"))]):
            held = f"'*' names all {len(known)} groups" if known else "none has finished"
            raise ArtifactError(f"no finished cell fits {pattern}{meant(pattern, known)}; {held}")
        found += names
    return list(dict.fromkeys(found))


def minus(first: Group, other: Group) -> str:
    """Return a difference of accuracies in points with its interval, over seeds or over the images of the only one."""
    ours, theirs = first.accuracies(), other.accuracies()
    shared = ours.keys() & theirs.keys()
    if len(shared) == 1:
        (seed,) = shared
        right = [group.correct(seed) for group in (first, other)]
        if all(one is not None for one in right) and right[0].index.equals(right[1].index):
            return f"{points(statistics.bootstrap_difference(*right, seed=seed))}, images"
    return points(statistics.paired_difference(ours, theirs))


def lines(compared: list[Group], last: int) -> list[list[str]]:
    return [
        [
            group.name,
            " ".join(map(str, sorted(values := group.accuracies()))),
            percent(values.values()),
            "" if group is compared[0] else minus(compared[0], group),
            "—" if (counts := group.selected()) is None else "{:.0f} of {:.0f}".format(*counts),
            "—" if (classes := group.coverage()) is None else f"{classes:.2f}",
            " ".join(f"{loss:.2f}" for loss in group.losses(last)),
        ]
        for group in compared
    ]


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__)
    parser.add_argument("--root", type=Path, default=Path("results"), help="folder of the study's results")
    parser.add_argument("--published", type=Path, default=Path("results/published"), help="folder of the bundle")
    parser.add_argument("--last", type=int, default=5, help="batches at the end of a loop; 5")
    parser.add_argument("groups", nargs="+", metavar="GROUP", help="dataset/backbone/method/ratio/schedule")
    args = parser.parse_args(argv)
    own, records = dict(publish.cells(args.root)), args.published / bundle.RECORDS
    published = [cell for cell, _ in bundle.digests(records)] if records.exists() else []
    names = fitting(sorted({group_of(cell) for cell in [*own, *published]}), args.groups)
    # Of the study's files only those of these groups are read.
    new, _ = publish.tables_of(args.root, {cell: own[cell] for cell in own if group_of(cell) in names})
    tables = bundle.merged(args.published, new)
    rows = [HEADER, *lines([Group(name, tables, own) for name in names], args.last)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


if __name__ == "__main__":
    command.run(main)
