"""What collecting, tables and figures are told of a study: which cells, under which titles, with which notes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import groupby
from typing import Any

from vecaf import selection
from vecaf.artifacts import digest
from vecaf.config.schema import BackboneSpec, Turn
from vecaf.grid import Cell
from vecaf.ratio import ratio_of
from vecaf.reporting.layout import WHOLE_POOL
from vecaf.steps import Steps

CORRUPTING = ("table3",)  # exhibits whose cells are judged on corrupted images, too


class Study(Steps):
    """The grid, what its steps are told, and what is shown of it."""

    def domains(self, exhibit: str) -> list[str]:
        """Return the corruptions under which an exhibit shows its cells, too."""
        return list(self.config.ood.corruptions) if exhibit in CORRUPTING else []

    def expected(self, exhibit: str, domains: Sequence[str] | None = None) -> list[list[Any]]:
        """Return [cell, digest, status, reason, domain → digest] of every cell an exhibit shows.

        Digests are None for cells that plan no job; status is then "not reported". domains: by default the exhibit's.
        """
        domains = self.domains(exhibit) if domains is None else domains
        rows: list[list[Any]] = []
        for cell, skipped in self.shown(exhibit).items():
            if skipped:
                rows.append([str(cell), None, "not reported", skipped, dict.fromkeys(domains)])
            else:
                judged = {domain: self.digest(cell, domain) for domain in domains}
                rows.append([str(cell), self.digest(cell), None, None, judged])
        return rows

    def layout(self, exhibit: str) -> dict[str, Any]:
        """Return what a table needs to know beside its numbers: rows, columns, titles, readings, notes.

        variants tells of each method what a table may make a row or column of; see ``_variants_said``.
        """
        spec = self.config.exhibits[exhibit]
        shown = list(self.shown(exhibit))
        rows = list(dict.fromkeys((cell.method, cell.schedule) for cell in shown))
        columns = list(dict.fromkeys((cell.dataset, cell.backbone, cell.ratio) for cell in shown))
        subsets = [column for column in columns if column[2] != WHOLE_POOL]
        columns = subsets or columns  # the whole pool has no column of its own: it spans those of its dataset
        columns.sort(key=lambda column: list(self.config.datasets).index(column[0]))  # stable: ratios keep their order
        return {
            "exhibit": exhibit,
            "title": spec.title,
            "rows": [{"method": method, "schedule": schedule} for method, schedule in rows],
            "columns": [
                {"dataset": d, "dataset_title": self.dataset(d).title, "backbone": b, "ratio": r} for d, b, r in columns
            ],
            "methods": {method: self.title(method) for method, _ in rows},
            "variants": self._variants_said(rows, columns),
            "domains": list(self.config.ood.corruptions),
            "severities": list(self.config.ood.severities),
            "backbones": {name: self._backbone_said(name) for name in dict.fromkeys(b for _, b, _ in columns)},
            "schedules": self._schedules_said(rows),
            "readings": self._readings_said(rows, columns),
            "cards": {method: selection.get(self.method(method).selector).cite() for method, _ in rows},
            "notes": [*spec.notes, *self._budgets_said(columns)],
            "config_digest": self.digests[exhibit],
        }

    def curves_layout(self, exhibit: str) -> dict[str, Any]:
        """Return what a figure of training curves is told: the layout and, beside it, these.

        names: method → its title without any remark; curves: dataset → how its curve is taken; b2a_levels: dataset →
        accuracies in percent.
        """
        shown = dict.fromkeys(cell.dataset for cell in self.shown(exhibit))
        return self.layout(exhibit) | {
            "names": {method: self.method(method).title for method in self.methods_of(exhibit)},
            "curves": {name: self.dataset(name).curve.model_dump() for name in shown},
            "b2a_levels": {name: self.dataset(name).b2a_levels for name in shown},
        }

    def map_layout(self, exhibit: str) -> dict[str, Any]:
        """Return what a figure of selections on one method's scores is told (``weights_of``)."""
        spec, cell = self.config.exhibits[exhibit], self.scored_after(exhibit)[0]
        size = float(ratio_of(cell.ratio) * 100)
        return {
            "exhibit": exhibit,
            "title": spec.title,
            "place_title": f"{self.dataset(cell.dataset).title}, {size:g} %",
            "names": {method: self.method(method).title for method in self.methods_of(exhibit)},
            "weights_of": self.method(cell.method).title,
            "map": self.map_params(cell.dataset),
            "notes": spec.notes,
            "config_digest": self.digests[exhibit],
        }

    def plans(self, exhibit: str) -> list[dict[str, Any]]:
        """Return what each method of an exhibit is in each place, in full: what its cost can be told from.

        A place is dataset, backbone, ratio and schedule; the parameters are those of its first seed.
        """
        firsts: dict[tuple, Cell] = {}
        for cell in self.cells(exhibit):
            firsts.setdefault((cell.dataset, cell.backbone, cell.method, cell.ratio, cell.schedule), cell)
        return [
            {key: value for key, value in asdict(cell).items() if key != "seed"}
            | {
                "title": self.title(cell.method),
                "dataset_title": self.dataset(cell.dataset).title,
                "backbone_title": self.backbone(cell.backbone).title,
                "parameters": self.resolved(cell),
            }
            for cell in firsts.values()
        ]

    def title(self, method: str) -> str:
        """Return a method's title, with what its selector wants said beside it."""
        spec = self.method(method)
        remark = selection.get(spec.selector).remark(self.selector_params(method))
        return f"{spec.title} ({remark})" if remark else spec.title

    def _variants_said(self, rows: list[tuple[str, str]], columns: list[tuple[str, str, str]]) -> dict[str, Any]:
        """Return of each method the one it varies (itself, if none), its target class, its text encoder and its domain.

        in_budget_alone: it differs from the one it varies in nothing but the number of batches. The encoder is None for
        a method without CEA, and where the exhibit's datasets differ in it. domain: the prompt that it is made for, by
        CEA or by style transfer; methods of one family differ in that alone.
        """
        said = {}
        for method in dict.fromkeys(method for method, _ in rows):
            spec = self.method(method)
            base = spec.extends or method
            datasets = {dataset for dataset, _, _ in columns} if spec.cea is not None else set()
            encoders = {self.encoder(dataset, method) for dataset in datasets}
            encoder = encoders.pop() if len(encoders) == 1 else None
            said[method] = {
                "training_seed": spec.training_seed,
                "of": base,
                "of_title": self.title(base),
                "in_budget_alone": _but_budget(spec) == _but_budget(self.method(base)),
                "target_class": None if isinstance(spec.objective, str) else spec.objective.one_vs_all,
                "encoder": encoder,
                "encoder_title": None if encoder is None else self.config.encoders[encoder].title,
                **self._family_said(method),
            }
        return said

    def _family_said(self, method: str) -> dict[str, Any]:
        """Return the domain that a method is made for, and its family: its name and title without that domain."""
        spec = self.method(method)
        domain = spec.prompt or self.styler(method)
        family = method.removesuffix(f"_{domain}") if domain else method
        known = family in self.config.methods
        title = self.title(family) if known else spec.title.rpartition(",")[0] or spec.title
        return {"domain": domain, "family": family, "family_title": title}

    def _backbone_said(self, name: str) -> dict[str, str]:
        spec = self.backbone(name)
        return {"title": spec.title, "timm": spec.timm, "pretraining": _pretraining_in_words(spec)}

    def _readings_said(self, rows: list[tuple[str, str]], columns: list[tuple[str, str, str]]) -> dict[str, Any]:
        """Return the readings of each method, and those that differ on a dataset under the names of both."""
        said: dict[str, Any] = {}
        datasets = list(dict.fromkeys(dataset for dataset, _, _ in columns))
        for method, schedule in rows:
            said[method] = self.readings(method, schedule) | self._beside_selection(method, datasets[0])
            for name in datasets:
                there = self.readings(method, schedule, name) | self._beside_selection(method, name)
                if own := {key: value for key, value in there.items() if value != said[method][key]}:
                    said[f"{self.method(method).title} on {self.dataset(name).title}"] = own
        return said

    def _beside_selection(self, method: str, dataset: str) -> dict[str, Any]:
        """Return the texts that a method's CEA reads, and what it changes of the training that others share."""
        spec, found = self.method(method), {}
        if spec.cea is not None:
            found = {"captioner": self.captioner(dataset, method), "encoder": self.encoder(dataset, method)}
            found["prompt"] = self.prompt(method)
        found |= {f"training.{key}": value for key, value in spec.training.items()}
        return found | {key: value for key in ("head", "training_seed") if (value := getattr(spec, key)) is not None}

    def _schedules_said(self, rows: list[tuple[str, str]]) -> dict[str, str]:
        """Return each schedule in words; methods with a form of their own are named, together where it is the same."""
        own: dict[tuple[str, str], list[str]] = {}
        said: dict[str, str] = {}
        for method, schedule in rows:
            words = _in_words(self.turns(method, schedule))
            if schedule in self.method(method).schedules:
                own.setdefault((schedule, words), []).append(self.method(method).title)
            else:
                said[schedule] = words
        return said | {f"{schedule} ({', '.join(titles)})": words for (schedule, words), titles in own.items()}

    def _budgets_said(self, columns: list[tuple[str, str, str]]) -> list[str]:
        """Return as a note how each dataset's cells are split, finetuned and evaluated, whatever the method."""
        lines = []
        for name in dict.fromkeys(dataset for dataset, _, _ in columns):
            spec, training = self.dataset(name), self.training(name)
            backbones = dict.fromkeys(self.backbone(b).title for dataset, b, _ in columns if dataset == name)
            changes = ", ".join(f"{key} {value}" for key, value in training["overrides"].items())
            lines.append(
                f"{spec.title}: {spec.batches} batches a cell, recipe {training['recipe']}"
                + (f" with {changes}" if changes else "")
                + f", optimizer_state {training['optimizer_state']}, {spec.input_size} px, eval_transform "
                + spec.eval_transform
                + (f", split_rule {spec.split_rule}" if spec.split_rule else "")
                + f", backbone{'s' * (len(backbones) > 1)} {', '.join(backbones)}"
            )
        return lines

    @cached_property
    def digests(self) -> dict[str, str]:
        """Return the digest of every exhibit: of its cells, run or selected alone, and what each is."""
        return {
            name: digest([(str(cell), self.digest(cell)) for cell in self.involved(name)]) for name in self.exhibits()
        }


def _in_words(turns: list[Turn]) -> str:
    def said(turn: Turn) -> str:
        who = "own selection" if turn.selector == "method" else turn.selector
        much = f" of {turn.times} × the ratio" if turn.times > 1 else ""
        return f"{who}{much} for " + ("all batches" if turn.share == "1" else f"{turn.share} of the batches")

    runs = [(said(turn), len(list(same))) for turn, same in groupby(turns)]
    return ", then ".join(f"{count} times {words}" if count > 1 else words for words, count in runs)


def _pretraining_in_words(spec: BackboneSpec) -> str:
    """Return how a backbone was pretrained, as far as its timm tag tells: ``in1k`` and the like stand for labels."""
    if spec.weights == "self_supervised":
        return "self-supervised, on this pool"
    if spec.weights != "timm":
        return f"as {spec.weights}"
    tag = spec.timm.partition(".")[2]
    if tag.startswith("dino"):
        return "self-supervised (DINO)"
    supervised = any(re.fullmatch(r"in\d+k", word) for word in tag.split("_"))
    return f"supervised ({tag})" if supervised else f"timm's {tag or 'default'}"


def _but_budget(spec: Any) -> dict[str, Any]:
    """Return everything that a method is beside its name and its number of batches."""
    return spec.model_dump(exclude={"title", "extends", "budget"})
