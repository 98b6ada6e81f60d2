"""What each step of a cell is told: parameters that hold only what that step uses, and the seeds of its streams."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import Any

from vecaf import seeds
from vecaf.artifacts import digest
from vecaf.grid import NO_PROMPT, Cell, Grid
from vecaf.models import captioners
from vecaf.training import recipes

JPEG_QUALITY = 85  # of ImageNet-C


class Steps(Grid):
    """The grid together with the parameters of every step: what snakemake compares and scripts are given."""

    # --- the parameters of each step: only what that step uses -------------------------------------------------

    # Where images lie, how many go through a forward pass at once, the device and the threads are not among them:
    # they do not change what a step means, so changing them must not run it again.

    def pool_params(self, dataset: str) -> dict[str, Any]:
        """Return what the index of a dataset's images, its splits and what is planted in its pool depend on."""
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
        """Return what the captions of a dataset depend on; how many jobs write them is not part of it."""
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
        """Return what the embeddings of a dataset's captions depend on; prompt: its name, or ``NO_PROMPT``."""
        spec = self.config.encoders[encoder]
        suffix = None if prompt == NO_PROMPT else self.config.prompts[prompt]
        return {
            "kind": spec.kind,
            **spec.params,
            "prompt": suffix,
            "seed": seeds.stream("text", dataset=self.origin(dataset)),
        }

    def backbone_params(self, dataset: str, backbone: str) -> dict[str, Any]:
        """Return what pretrained weights depend on; where they are made from the pool, also how."""
        spec = self.backbone(backbone).model_dump(exclude_none=True)
        chosen = {key: spec[key] for key in spec if key not in ("title", "pretraining")}
        params = {"backbone": chosen, "input_size": self.dataset(dataset).input_size}
        if spec["weights"] == "self_supervised":
            params["pretraining"] = self.backbone(backbone).pretraining.model_dump()
            params["seed"] = seeds.stream("pretrain", dataset=self.origin(dataset), backbone=backbone)
        return params

    def image_params(self, dataset: str, backbone: str) -> dict[str, Any]:
        """Return how images of a dataset are put before a backbone."""
        spec, model = self.dataset(dataset), self.backbone(backbone).model_dump(exclude_none=True)
        keys = ("timm", "args", "width", "mean", "std", "interpolation")
        return {
            "backbone": {key: model[key] for key in keys if key in model},
            "input_size": spec.input_size,
            "eval_transform": spec.eval_transform,
        }

    def reading_params(self, dataset: str, backbone: str, method: str | None = None) -> dict[str, Any]:
        """Return how images of a dataset are read by a backbone when nothing is trained.

        A method's cells are read in the precision they are trained in, pretrained weights in that of the dataset.
        """
        return self.image_params(dataset, backbone) | {"precision": self.training(dataset, method)["precision"]}

    def pretrained_params(self, dataset: str, backbone: str) -> dict[str, Any]:
        """Return what the pretrained embeddings of a pool depend on."""
        return self.reading_params(dataset, backbone) | {"dtype": self.dataset(dataset).embedding_dtype}

    def score_params(self, cell: Cell) -> dict[str, Any]:
        """Return what scoring the pool with the model of a loop depends on."""
        return self._judging_params(cell) | {"dtype": self.dataset(cell.dataset).embedding_dtype}

    def _judging_params(self, cell: Cell) -> dict[str, Any]:
        """Return how a cell's model reads images and what its loss is."""
        params = self.reading_params(cell.dataset, cell.backbone, cell.method)
        params["objective"] = self.objective_params(cell.method)
        if (options := self.loss_head(cell.method, cell.dataset)) is not None:
            params["loss_head"] = options["hidden"]
        return params

    def head_params(self, dataset: str, backbone: str, head: str, objective: Any, seed: int) -> dict[str, Any]:
        """Return what the head on the pretrained embeddings, and the first losses with it, depend on."""
        stream = seeds.stream("head", seed=seed, dataset=self.origin(dataset), backbone=backbone)
        return {"head": head, "objective": objective, "seed": stream}

    def augment_params(self, cell: Cell) -> dict[str, Any]:
        """Return what CEA depends on, beside the embeddings that it reads."""
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
        """Return what training one loop of a cell depends on; its batches are ``start`` … ``stop`` − 1 of ``total``."""
        curve = self.dataset(cell.dataset).curve.model_dump()
        origin, seed = self.origin(cell.dataset), self.training_seed(cell)
        start, stop = self.batches(cell.dataset, cell.method, cell.schedule)[loop - 1]
        params = self.image_params(cell.dataset, cell.backbone) | {
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
        """Return what training a styler on a dataset depends on."""
        seed = seeds.stream("styler", dataset=self.origin(dataset))
        return {**self.config.stylers[styler].model_dump(), "seed": seed}

    def stylize_params(self, cell: Cell) -> dict[str, Any]:
        """Return which share of a cell's images is restyled, and how they are kept."""
        spec = self.method(cell.method).stylize
        return {
            "share": spec.share,
            "quality": spec.quality,
            "seed": seeds.stream("stylize", dataset=self.origin(cell.dataset)),
        }

    def evaluate_params(self, cell: Cell) -> dict[str, Any]:
        """Return what evaluating a cell depends on, and what its record says of it."""
        return self._judging_params(cell) | self._described(cell)

    def _described(self, cell: Cell) -> dict[str, Any]:
        """Return what the record of a cell says of it."""
        readings = self.readings(cell.method, cell.schedule, cell.dataset)
        return {"cell": asdict(cell), "resolved": self.resolved(cell), "readings": readings}

    def corrupt_params(self, dataset: str, corruption: str, severity: int) -> dict[str, Any]:
        """Return what a corrupted copy of a test set depends on: released images, or a seed and a JPEG quality."""
        named = {"corruption": corruption, "severity": severity}
        if self.dataset(dataset).corrupted_root is not None:
            return named | {"source": "released"}
        seed = seeds.stream("corruption", dataset=self.origin(dataset))
        return named | {"source": "generated", "seed": seed, "quality": JPEG_QUALITY}

    def evaluate_ood_params(self, cell: Cell, domain: str) -> dict[str, Any]:
        """Return what evaluating a cell on corrupted test sets depends on, and what its record says of it."""
        told = self.reading_params(cell.dataset, cell.backbone, cell.method) | self._described(cell)
        return told | {"resolved": self.resolved_ood(cell, domain)}

    def map_params(self, dataset: str) -> dict[str, Any]:
        """Return what a map of a pool is made with: UMAP's own defaults, but for the metric, which selectors share."""
        seed = seeds.derive(seeds.stream("probe", dataset=self.origin(dataset)), "map")
        return {"neighbors": 15, "min_distance": 0.1, "metric": "cosine", "seed": seed}

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
            # Images of first selections are shown with captions, and compared with prompts, whatever methods read.
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
        spec, training = self.dataset(dataset), self.training(dataset)
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

    def resolved_ood(self, cell: Cell, domain: str) -> dict[str, Any]:
        """Return everything the configuration decides about a cell and the corrupted test sets it is judged on."""
        sets = [self.corrupt_params(cell.dataset, domain, severity) for severity in self.config.ood.severities]
        return self.resolved(cell) | {"ood": sets}

    @cache  # noqa: B019
    def digest(self, cell: Cell, domain: str | None = None) -> str:
        """Return the digest of a cell's configuration, or of that of its accuracy under a corruption."""
        return digest(self.resolved(cell) if domain is None else self.resolved_ood(cell, domain))

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
