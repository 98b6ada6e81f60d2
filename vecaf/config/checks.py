"""Contradictions between values that are valid one by one: unknown names, impossible sizes, wrong sums."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from pydantic import BaseModel, ValidationError

from vecaf import selection
from vecaf.config.merging import merge
from vecaf.config.schema import Block, Config, Dataset, Exhibit, Method, Training, Turn
from vecaf.data.pool import TUNING_SHARE
from vecaf.errors import not_one_of
from vecaf.models import captioners, text_encoders
from vecaf.ratio import ratio_of, subset_size


def contradictions(config: Config) -> Iterator[str]:
    """Yield every contradiction between values that are valid one by one."""

    def unknown(key: str, value: str, allowed) -> str:
        return f"{key}: {not_one_of(value, sorted(allowed))}"

    selectors = set(selection.names())
    for name, captioner in config.captioners.items():
        if not captioners.implemented(captioner.kind):
            yield unknown(f"captioners.{name}.kind", captioner.kind, captioners.names())
        else:
            yield from _params(f"captioners.{name}.params", captioners.get(captioner.kind).Params, captioner.params)
    for name, encoder in config.encoders.items():
        if not text_encoders.implemented(encoder.kind):
            yield unknown(f"encoders.{name}.kind", encoder.kind, text_encoders.names())
        else:
            yield from _params(f"encoders.{name}.params", text_encoders.get(encoder.kind).Params, encoder.params)

    for name, turns in config.schedules.items():
        yield from _check_turns(f"schedules.{name}", turns, selectors, None)
    for name, method in config.methods.items():
        if method.selector is None:
            known = ", ".join(sorted(selectors))
            yield f"methods.{name}.selector: missing; one of {known}, or `extends` another method"
        elif method.selector not in selectors:
            yield unknown(f"methods.{name}.selector", method.selector, selectors)
        for schedule, turns in method.schedules.items():
            if schedule not in config.schedules:
                yield unknown(f"methods.{name}.schedules", schedule, config.schedules)
            yield from _check_turns(f"methods.{name}.schedules.{schedule}", turns, selectors, method.selector)
        for key, allowed in (
            ("captioner", config.captioners),
            ("encoder", config.encoders),
            ("prompt", config.prompts),
        ):
            value = getattr(method, key)
            if value is not None and value not in allowed:
                yield unknown(f"methods.{name}.{key}", value, allowed)
        if method.head is not None and method.selector in selectors:
            reads = selection.get(method.selector).Params.model_fields.get("first_loop")
            if reads is not None:
                yield (
                    f"methods.{name}.head: {method.selector} finetunes the head whose losses it reads; "
                    f"set {method.selector}.first_loop"
                )
        if method.stylize is not None and method.stylize.styler not in config.stylers:
            yield unknown(f"methods.{name}.stylize.styler", method.stylize.styler, config.stylers)
        yield from _check_training(f"methods.{name}.training", config, method.training)

    for name, dataset in config.datasets.items():
        for key, allowed in (
            ("backbone", config.backbones),
            ("captioner", config.captioners),
            ("encoder", config.encoders),
        ):
            if getattr(dataset, key) not in allowed:
                yield unknown(f"datasets.{name}.{key}", getattr(dataset, key), allowed)
        if dataset.root is None and dataset.source != "digits":
            yield f"datasets.{name}.root: missing; the folder that holds the images of {dataset.source}"
        if len(set(dataset.seeds)) != len(dataset.seeds):
            yield f"datasets.{name}.seeds: {dataset.seeds} names a seed twice"
        for selector, params in dataset.selectors.items():
            if selector not in selectors:
                yield unknown(f"datasets.{name}.selectors", selector, selectors)
            else:
                yield from _params(f"datasets.{name}.selectors.{selector}", selection.get(selector).Params, params)
        yield from _check_training(f"datasets.{name}.training", config, dataset.training)

    for name, exhibit in config.exhibits.items():
        for number, block in enumerate(exhibit.blocks if exhibit else ()):
            yield from _check_block(f"exhibits.{name}.blocks.{number}", block, config)
        if exhibit is not None and name == "figure5_b2a":
            yield from _check_levels(name, exhibit, config)
        if exhibit is not None and name == "variance":
            shown = {method for block in exhibit.blocks for method in block.methods}
            if not any(config.methods[method].training_seed is not None for method in shown & config.methods.keys()):
                yield f"exhibits.{name}: none of its methods has a training_seed, so that no seeds are crossed"
        if exhibit is not None and (exhibit.weights_of is not None or name == "figure6"):
            yield from _check_weights(f"exhibits.{name}", exhibit, config)


def _selectable(dataset: Dataset) -> int | None:
    """Return how many images can be selected from: without the tuning split (a tenth, about) where that judges."""
    size = dataset.pool_size
    if size is not None and dataset.planted is not None:
        size = min(size, dataset.planted.images)
    return size if size is None or dataset.judged_on == "test" else math.floor((1 - TUNING_SHARE) * size)


def _params(key: str, model: type[BaseModel], values: dict[str, Any]):
    try:
        model.model_validate(values, strict=True)
    except ValidationError as error:
        for item in error.errors():
            allowed = f"; known here: {', '.join(model.model_fields)}" if item["type"] == "extra_forbidden" else ""
            where = ".".join([key, *map(str, item["loc"])])
            yield f"{where}: {item['input']!r} is not allowed ({item['msg']}{allowed})"


def _check_training(key: str, config: Config, changes: dict[str, Any]):
    yield from _params(key, Training, merge(config.training.model_dump(exclude_unset=True), changes))


def _check_turns(key: str, turns: list[Turn], selectors: set[str], own: str | None):
    if sum(Fraction(turn.share) for turn in turns) != 1:
        yield f"{key}: the shares {', '.join(turn.share for turn in turns)} do not sum to 1"
    if any(Fraction(turn.share) == 0 for turn in turns):
        yield f"{key}: a share of 0 gives a loop without batches"
    for turn in turns:
        if turn.selector == "method":
            continue
        if turn.selector not in selectors:
            yield f"{key}: selector {not_one_of(turn.selector, ['method', *sorted(selectors)])}"
        elif turn.selector != own and "loss_head" in selection.get(turn.selector).Params.model_fields:
            yield f"{key}: {turn.selector} is trained along in finetuning; only a method with it as `selector` has it"


def _check_block(key: str, block: Block, config: Config):
    """Yield what is wrong with one block: unknown names, K outside 1..N, more loops than batches."""
    for field, names, allowed in (
        ("datasets", block.datasets, config.datasets),
        ("methods", block.methods, config.methods),
        ("schedules", block.schedules, config.schedules),
        ("backbones", block.backbones or [], config.backbones),
    ):
        for name in names:
            if name not in allowed:
                yield f"{key}.{field}: {not_one_of(name, sorted(allowed))}"
    for name, ratios in block.datasets.items():
        if (dataset := config.datasets.get(name)) is None:
            continue
        for ratio in ratios:
            if not 0 < ratio_of(ratio) <= 1:
                yield f"{key}.datasets.{name}: ratio {ratio!r} is outside (0pct, 100pct]"
            elif (size := _selectable(dataset)) and subset_size(ratio, size) < 1:
                yield f"{key}.datasets.{name}: {ratio} of {size} images gives K = 0; K must be in 1..{size}"
        for schedule in block.schedules:
            for method in block.methods:
                if (spec := config.methods.get(method)) is not None:
                    turns = spec.schedules.get(schedule) or config.schedules.get(schedule, [])
                    yield from _check_loops(key, name, dataset, ratios, method, spec, schedule, turns)


def _check_levels(name: str, exhibit: Exhibit, config: Config):
    shown = dict.fromkeys(dataset for block in exhibit.blocks for dataset in block.datasets)
    for dataset in shown:
        if dataset in config.datasets and not config.datasets[dataset].b2a_levels:
            yield f"datasets.{dataset}.b2a_levels: missing; the accuracies in percent that {name} counts batches to"


def _check_weights(key: str, exhibit: Exhibit, config: Config):
    """Yield what keeps an exhibit's methods from selecting on the scores of one method's weights."""
    methods = dict.fromkeys(method for block in exhibit.blocks for method in block.methods)
    if exhibit.weights_of not in methods:
        yield f"{key}.weights_of: {exhibit.weights_of!r} is not one of its methods, {', '.join(methods)}"
        return
    places = {
        (dataset, ratio, backbone, schedule)
        for block in exhibit.blocks
        for dataset, ratios in block.datasets.items()
        for ratio in ratios
        for backbone in block.backbones or [None]
        for schedule in block.schedules
    }
    if len(places) != 1:
        yield f"{key}.blocks: shows {len(places)} places; with weights_of it has one dataset, ratio and schedule"
        return
    known = {name: config.methods[name] for name in methods if name in config.methods}
    (_, _, _, schedule), objective = next(iter(places)), getattr(known.get(exhibit.weights_of), "objective", None)
    for name, method in known.items():
        turns = method.schedules.get(schedule) or config.schedules.get(schedule, [])
        if len(turns) < 2:
            yield f"{key}.blocks: schedule {schedule!r} of {name} has one loop; what weights_of compares is loop 2"
            continue
        selector = method.selector if turns[1].selector == "method" else turns[1].selector
        if method.objective != objective:
            yield f"{key}.blocks: {name} has another objective than {exhibit.weights_of}, whose losses it would read"
        elif selection.implemented(selector) and selection.get(selector).needs & {"predicted_losses", "images"}:
            yield f"{key}.blocks: {name} reads more than embeddings, losses and a head: nothing else is kept"


def _check_loops(
    key: str,
    name: str,
    dataset: Dataset,
    ratios: list[str],
    method: str,
    spec: Method,
    schedule: str,
    turns: list[Turn],
):
    """Yield what is wrong with the loops of one method and schedule on one dataset."""
    batches = dataset.batches * spec.budget
    if len(turns) > batches:
        yield (
            f"{key}: schedule {schedule!r} has {len(turns)} loops, but datasets.{name}.batches is "
            f"{batches}; every loop needs at least one batch"
        )
    acting = [spec.selector if turn.selector == "method" else turn.selector for turn in turns]
    for selector, given in dataset.selectors.items():
        if selector in acting and selection.implemented(selector):
            own = getattr(spec, selector)
            values = merge(given, {} if own is None else own.model_dump(exclude_unset=True))
            yield from _params(
                f"datasets.{name}.selectors.{selector} under methods.{method}", selection.get(selector).Params, values
            )
    known = [selection.get(selector) for selector in acting if selection.implemented(selector)]
    if len(known) < len(acting) or not known:
        return  # a selector that does not exist is reported where it is named
    if not known[0].cold_start:
        yield (
            f"{key}: schedule {schedule!r} of {method} begins with {acting[0]}, which cannot choose before anything is "
            f"trained; give methods.{method}.schedules.{schedule} a first loop with another selector"
        )
    whole, size = sum(turn.times for turn in turns), _selectable(dataset)
    for ratio in ratios:
        widest = ratio_of(ratio) * max(turn.times for turn in turns)
        if ratio_of(ratio) <= 1 < widest:
            yield f"{key}.datasets.{name}: schedule {schedule!r} chooses {float(widest):.0%} of the pool at {ratio}"
        elif (
            size
            and any(selector.excludes_labelled for selector in known)
            and whole * (k := subset_size(ratio, size)) > size
        ):
            yield (
                f"{key}.datasets.{name}: {method} never chooses a sample twice, but {whole} times K = {k} at {ratio} "
                f"is more than the {size} images of the pool; lower the ratio or the number of loops"
            )
