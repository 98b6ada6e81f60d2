"""What each step of a cell is told: parameters that hold only what that step uses, and the seeds of its streams."""

from __future__ import annotations

import re
from dataclasses import asdict
from functools import cache, cached_property
from itertools import groupby
from typing import Any

from vecaf import seeds, selection
from vecaf.artifacts import digest
from vecaf.config.merging import merge
from vecaf.config.schema import BackboneSpec, Turn
from vecaf.grid import NO_PROMPT, Cell, Grid
from vecaf.models import captioners
from vecaf.ratio import ratio_of
from vecaf.training import recipes

WHOLE_POOL = "100pct"
CORRUPTING = ("table3",)  # exhibits whose cells are judged on corrupted images, too
JPEG_QUALITY = 85  # of ImageNet-C


class Study(Grid):
    """The grid together with the parameters of every step: what snakemake compares and scripts are given."""

    # --- the parameters of each step: only what that step uses -------------------------------------------------

    # Where images lie, how many go through a forward pass at once, the device and the threads are not among them:
    # they do not change what a step means, so changing them must not run it again.

    def pool_params(self, dataset: str) -> dict[str, Any]:
        spec = self.dataset(dataset)
        params = {
            "dataset": dataset,
            "source": spec.source,
            "split_rule": spec.split_rule,
            "pool_size": spec.pool_size,
            "judged_on": spec.judged_on,
            "seeds": {name: seeds.stream(name, dataset=self.origin(dataset)) for name in ("split", "tuning")},
        }
        if (planted := spec.planted) is not None:
            params["planted"] = planted.model_dump() | {"seed": seeds.stream("planted", dataset=self.origin(dataset))}
            params["pool_size"] = spec.pool_size and min(spec.pool_size, planted.images)
        if spec.mislabelled:
            stream = seeds.stream("mislabelled", dataset=self.origin(dataset))
            params["mislabelled"] = {"share": spec.mislabelled, "seed": stream}
        return params

    def caption_params(self, dataset: str, captioner: str) -> dict[str, Any]:
        """Return what the captions of a dataset depend on; how many jobs write them is not among it."""
        spec = self.config.captioners[captioner]
        aside = captioners.get(spec.kind).aside
        params = {key: value for key, value in self._captioner(captioner).items() if key not in aside}
        return {"kind": spec.kind, **params, "seed": seeds.stream("captions", dataset=self.origin(dataset))}

    def caption_aside(self, captioner: str) -> dict[str, Any]:
        """Return the parameters of a captioner that change no caption: where a file lies, images per forward pass."""
        kind = self.config.captioners[captioner].kind
        return {key: value for key, value in self._captioner(captioner).items() if key in captioners.get(kind).aside}

    def _captioner(self, name: str) -> dict[str, Any]:
        """Return all parameters of a captioner, defaults included."""
        spec = self.config.captioners[name]
        return captioners.get(spec.kind).Params.model_validate(spec.params).model_dump()

    def text_params(self, dataset: str, encoder: str, prompt: str) -> dict[str, Any]:
        spec = self.config.encoders[encoder]
        suffix = None if prompt == NO_PROMPT else self.config.prompts[prompt]
        return {
            "kind": spec.kind,
            **spec.params,
            "prompt": suffix,
            "seed": seeds.stream("text", dataset=self.origin(dataset)),
        }

    def backbone_params(self, dataset: str, backbone: str) -> dict[str, Any]:
        spec = self.backbone(backbone).model_dump(exclude_none=True)
        chosen = {key: spec[key] for key in spec if key not in ("title", "pretraining")}
        params = {"backbone": chosen, "input_size": self.dataset(dataset).input_size}
        if spec["weights"] == "self_supervised":
            params["pretraining"] = self.backbone(backbone).pretraining.model_dump()
            params["seed"] = seeds.stream("pretrain", dataset=self.origin(dataset), backbone=backbone)
        return params

    def reading_params(self, dataset: str, backbone: str, method: str | None = None) -> dict[str, Any]:
        """Return how images of a dataset are read by a backbone when nothing is trained.

        A method's cells are read in the precision they are trained in, pretrained weights in that of the dataset.
        """
        spec, model = self.dataset(dataset), self.backbone(backbone).model_dump(exclude_none=True)
        keys = ("timm", "args", "width", "mean", "std", "interpolation")
        return {
            "backbone": {key: model[key] for key in keys if key in model},
            "input_size": spec.input_size,
            "eval_transform": spec.eval_transform,
            "precision": self.training(dataset, method)["precision"],
            "dtype": spec.embedding_dtype,
        }

    def score_params(self, cell: Cell) -> dict[str, Any]:
        params = self.reading_params(cell.dataset, cell.backbone, cell.method)
        params["objective"] = self.objective_params(cell.method)
        if (options := self.loss_head(cell.method, cell.dataset)) is not None:
            params["loss_head"] = options["hidden"]
        return params

    def head_params(self, dataset: str, backbone: str, head: str, objective: Any, seed: int) -> dict[str, Any]:
        stream = seeds.stream("head", seed=seed, dataset=self.origin(dataset), backbone=backbone)
        return {"head": head, "objective": objective, "seed": stream}

    def augment_params(self, cell: Cell) -> dict[str, Any]:
        readings = self.method(cell.method).cea
        seed = seeds.stream("projection", dataset=self.origin(cell.dataset), backbone=cell.backbone)
        return {"cea": readings.model_dump(), "seed": seed}

    def selection_params(self, cell: Cell, loop: int, ratio: str | None = None) -> dict[str, Any]:
        """Return what the selection of one loop is told; ratio: what it selects, by default as the schedule says."""
        ratio = ratio or self.ratio(cell, loop)
        name = self.selector(cell.method, cell.schedule, loop)
        params = self.selector_params(cell.method, name, cell.dataset)
        where = {"seed": cell.seed, "dataset": self.origin(cell.dataset)}
        return {
            "selector": name,
            "params": {key: value for key, value in params.items() if key != "loss_head"},  # finetuning's
            "ratio": ratio,
            "loop": loop,
            "seeds": {
                "random_set": seeds.stream("random_set", **where, ratio=ratio, loop=loop),
                "centroids": seeds.stream("centroids", **where, ratio=ratio, member=0),
            },
        }

    def first_selection(self, cell: Cell) -> str:
        """Return the name under which cells with equal loop-1 selections share them.

        It hashes what the selection reads beside dataset, backbone, ratio and seed, which are directories: two
        methods that differ only later (in finetuning, say) have the same name.
        """
        params = self.selection_params(cell, 1)
        meaning: dict[str, Any] = {"selector": params["selector"], "params": params["params"]}
        needs = self.needs(cell.method, cell.schedule, 1)
        if needs & {"losses", "logits", "head"}:
            meaning["head"] = self.head(cell.dataset, cell.method, cell.schedule)
        if "losses" in needs:
            meaning["objective"] = self.objective_params(cell.method)
        if self.augments_pool(cell.method, 1):
            meaning["augmented"] = self.first_augmentation(cell)
        return f"{params['selector']}-{digest(meaning)[:8]}"

    def first_augmentation(self, cell: Cell) -> str:
        """Return the name of the augmented pretrained embeddings that a prompt calls for in loop 1."""
        text = (self.captioner(cell.dataset, cell.method), self.encoder(cell.dataset, cell.method))
        return f"cea-{digest([self.augment_params(cell), *text, self.prompt(cell.method)])[:8]}"

    def finetune_params(self, cell: Cell, loop: int) -> dict[str, Any]:
        curve = self.dataset(cell.dataset).curve.model_dump()
        origin, seed = self.origin(cell.dataset), self.training_seed(cell)
        start, stop = self.batches(cell.dataset, cell.method, cell.schedule)[loop - 1]
        params = self.reading_params(cell.dataset, cell.backbone)
        params.pop("dtype")
        params.pop("precision")  # that of training, below
        params |= {
            "training": self.training(cell.dataset, cell.method),
            "objective": self.trained_objective(cell.method),
            "accumulate": self.method(cell.method).accumulate,
            "start": start,
            "stop": stop,
            "total": self.budget(cell.dataset, cell.method),
            "curve": curve,
            "seeds": {
                "batches": seeds.stream("batches", seed=seed, dataset=origin, loop=loop),
                "augmentation": seeds.stream("augmentation", seed=seed, dataset=origin, loop=loop),
                "probe": seeds.stream("probe", dataset=origin),
                "curve": seeds.stream("curve", dataset=origin),
            },
        }
        if self.augments_training(cell.method):
            params["cea"] = self.augment_params(cell)
        if (options := self.loss_head(cell.method, cell.dataset)) is not None:
            params["loss_head"] = options
            stream = seeds.stream("loss_head", seed=seed, dataset=origin, backbone=cell.backbone)
            params["seeds"]["loss_head"] = stream if options["carry"] else seeds.derive(stream, loop)
        return params

    def styler_params(self, dataset: str, styler: str) -> dict[str, Any]:
        seed = seeds.stream("styler", dataset=self.origin(dataset))
        return {**self.config.stylers[styler].model_dump(), "seed": seed}

    def stylize_params(self, cell: Cell) -> dict[str, Any]:
        spec = self.method(cell.method).stylize
        return {
            "share": spec.share,
            "quality": spec.quality,
            "seed": seeds.stream("stylize", dataset=self.origin(cell.dataset)),
        }

    def evaluate_params(self, cell: Cell) -> dict[str, Any]:
        params = self.score_params(cell)
        params.pop("dtype")
        readings = self.readings(cell.method, cell.schedule, cell.dataset)
        return params | {"cell": asdict(cell), "resolved": self.resolved(cell), "readings": readings}

    def corrupt_params(self, dataset: str, corruption: str, severity: int) -> dict[str, Any]:
        seed = seeds.stream("corruption", dataset=self.origin(dataset))
        return {"corruption": corruption, "severity": severity, "seed": seed, "quality": JPEG_QUALITY}

    def evaluate_ood_params(self, cell: Cell) -> dict[str, Any]:
        params = self.reading_params(cell.dataset, cell.backbone, cell.method)
        params.pop("dtype")
        readings = self.readings(cell.method, cell.schedule, cell.dataset)
        return params | {"cell": asdict(cell), "resolved": self.resolved(cell), "readings": readings}

    @cache  # noqa: B019
    def profiles(self, *exhibits: str) -> dict[tuple[str, str], list[str]]:
        """Return (part, name) of every model that cells of these exhibits (all, if none) use → on which datasets.

        part: ``backbone``, ``encoder`` or ``captioner``.
        """
        found: dict[tuple[str, str], set[str]] = {}
        for dataset, backbone, method in {(c.dataset, c.backbone, c.method) for c in self.involved(*exhibits)}:
            models = [("backbone", backbone)]
            if self.method(method).cea is not None:
                models.append(("encoder", self.encoder(dataset, method)))
                models.append(("captioner", self.captioner(dataset, method)))
            for model in models:
                found.setdefault(model, set()).add(dataset)
        for name in exhibits or self.exhibits():
            spec = self.config.exhibits[name]
            # Images of first selections are shown with captions, and likened to prompts, whatever methods read.
            if spec.selections_only and spec.weights_of is None:
                for dataset in {cell.dataset for cell in self.involved(name)}:
                    found.setdefault(("encoder", self.dataset(dataset).encoder), set()).add(dataset)
                    found.setdefault(("captioner", self.dataset(dataset).captioner), set()).add(dataset)
        return {model: sorted(found[model]) for model in sorted(found)}

    def profile_params(self, part: str, name: str) -> dict[str, Any]:
        """Return what counting one model is told: the model, and how often each dataset of the study runs it.

        batch_size, batches: of finetuning, as a dataset has them whatever a method changes. pool_size: None where the
        configuration does not say it. Raises KeyError for a model that no cell of the study uses.
        """
        datasets = self.profiles()[part, name]
        told: dict[str, Any] = {"part": part, "name": name, "datasets": {d: self._passes(d) for d in datasets}}
        if part == "backbone":
            model = self.backbone(name).model_dump(exclude_none=True)
            hidden = {options["hidden"] for method in self.config.methods if (options := self.loss_head(method))}
            sizes = {self.dataset(dataset).input_size for dataset in datasets}
            told |= {"input_sizes": sorted(sizes), "loss_heads": sorted(hidden)}
            return told | {"model": {key: model[key] for key in ("timm", "args", "width") if key in model}}
        if part == "encoder":
            return told | {"model": {"kind": self.config.encoders[name].kind, **self.config.encoders[name].params}}
        return told | {"model": {"kind": self.config.captioners[name].kind, **self._captioner(name)}}

    def _passes(self, dataset: str) -> dict[str, Any]:
        spec = self.dataset(dataset)
        training = merge(self.config.training.model_dump(exclude_none=True), spec.training)
        batch = recipes.resolve(training["recipe"], training["overrides"]).batch_size
        told = {"pool_size": spec.pool_size, "batches": spec.batches, "batch_size": batch}
        return told | {"input_size": spec.input_size}

    # --- what a cell is, in full -------------------------------------------------------------------------------

    @cache  # noqa: B019
    def resolved(self, cell: Cell) -> dict[str, Any]:
        """Return everything the configuration decides about a cell: the block whose digest tells stale cells."""
        loops = range(1, self.loops(cell.method, cell.schedule) + 1)
        text = None
        if self.method(cell.method).cea is not None:
            captioner, encoder = self.captioner(cell.dataset, cell.method), self.encoder(cell.dataset, cell.method)
            text = {
                "captioner": {"name": captioner} | self.caption_params(cell.dataset, captioner),
                "encoder": {"name": encoder} | self.text_params(cell.dataset, encoder, self.prompt(cell.method)),
            }
        styling = {}
        if (styler := self.styler(cell.method)) is not None:
            told = {"styler": self.styler_params(cell.dataset, styler), **self.stylize_params(cell)}
            styling = {"stylize": told}
        return styling | {
            "pool": self.pool_params(cell.dataset),
            "backbone": self.backbone_params(cell.dataset, cell.backbone),
            "score": self.score_params(cell),
            "head": self.head_params(
                cell.dataset,
                cell.backbone,
                self.head(cell.dataset, cell.method, cell.schedule),
                self.objective_params(cell.method),
                cell.seed,
            ),
            "selection": [self.selection_params(cell, loop) for loop in loops],
            "cea": readings.model_dump() if (readings := self.method(cell.method).cea) is not None else None,
            "text": text,
            "finetune": [self.finetune_params(cell, loop) for loop in loops],
        }

    @cache  # noqa: B019
    def digest(self, cell: Cell) -> str:
        return digest(self.resolved(cell))

    def readings(self, method: str, schedule: str, dataset: str | None = None) -> dict[str, Any]:
        """Return the named readings of a method, flat, as tables print them under their numbers."""
        spec = self.method(method)
        name = self.selector(method, schedule, self.loops(method, schedule))
        params = self.selector_params(method, name, dataset)
        flat = {f"{name}.{key}": value for key, value in params.items()}
        if spec.cea is not None:
            flat |= {f"cea.{key}": value for key, value in spec.cea.model_dump().items()}
        objective = spec.objective
        flat["objective"] = objective if isinstance(objective, str) else objective.model_dump()
        flat["loop.accumulate"] = spec.accumulate
        if spec.stylize is not None:
            flat |= {f"stylize.{key}": value for key, value in spec.stylize.model_dump().items()}
            flat["stylize.text"] = self.config.stylers[spec.stylize.styler].text
        return flat

    # --- what collecting and tables are told -------------------------------------------------------------------

    def expected(self, exhibit: str) -> list[list[Any]]:
        """Return [cell, digest, status, reason] of every cell an exhibit shows.

        digest is None for cells that plan no job; status is then "not reported".
        """
        rows: list[list[Any]] = []
        for cell, skipped in self.shown(exhibit).items():
            if skipped:
                rows.append([str(cell), None, "not reported", skipped])
            else:
                rows.append([str(cell), self.digest(cell), None, None])
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

    def map_params(self, dataset: str) -> dict[str, Any]:
        """Return what a map of a pool is made with: UMAP's own defaults, but for the metric, which selectors share."""
        seed = seeds.derive(seeds.stream("probe", dataset=self.origin(dataset)), "map")
        return {"neighbors": 15, "min_distance": 0.1, "metric": "cosine", "seed": seed}

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

        The encoder is None for a method without CEA, and where the exhibit's datasets differ in it. domain: the prompt
        that it is made for, by CEA or by style transfer; methods of one family differ in that alone.
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
        for method, schedule in rows:
            said[method] = self.readings(method, schedule)
            for name in dict.fromkeys(dataset for dataset, _, _ in columns):
                there = self.readings(method, schedule, name)
                if own := {key: value for key, value in there.items() if value != said[method][key]}:
                    said[f"{self.method(method).title} on {self.dataset(name).title}"] = own
        return said

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
        """Return the finetuning budget of each dataset as a note."""
        lines = []
        for name in dict.fromkeys(dataset for dataset, _, _ in columns):
            spec, training = self.dataset(name), self.config.training
            section = merge(training.model_dump(exclude_unset=True), spec.training)
            backbones = dict.fromkeys(self.backbone(b).title for dataset, b, _ in columns if dataset == name)
            changes = ", ".join(f"{key} {value}" for key, value in section.get("overrides", {}).items())
            lines.append(
                f"{spec.title}: {spec.batches} batches a cell, recipe {section.get('recipe', training.recipe)}"
                + (f" with {changes}" if changes else "")
                + f", {spec.input_size} px, backbone{'s' * (len(backbones) > 1)} {', '.join(backbones)}"
            )
        return lines

    @cached_property
    def digests(self) -> dict[str, str]:
        """Return the digest of every exhibit: of its cells, run or selected alone, and what each is."""

        def cells(exhibit: str) -> list[Cell]:
            shown = self.shown(exhibit).items()
            return [cell for cell, reason in shown if reason is None]

        return {name: digest([(str(cell), self.digest(cell)) for cell in cells(name)]) for name in self.exhibits()}


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
