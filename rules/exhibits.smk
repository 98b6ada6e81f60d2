"""Which files each exhibit and each claim is made of, and what their scripts are told. Functions only, as in inputs.smk."""

from functools import cache

from vecaf import claims, prompts, readings
from vecaf.reporting import layout

# Exhibits that compare the ids themselves, and those of training curves.
COMPARING_IDS = ("readings", "tuning")
CURVES = ("figure1b", "figure4", "figure5_b2a", "accuracy_cost")
# Exhibits of what first selections chose.
SELECTING = prompts.exhibits(study)
# Exhibits of what methods select on the scores of one model.
SAMPLING = [name for name in study.exhibits() if study.config.exhibits[name].weights_of is not None]
# Exhibits that show what cells cost.
COSTED = ("table4",)
# Measures of the claims, and the exhibits that they are made of: training curves, or selections.
MEASURED = {
    **{"batches_to_accuracy": "figure5_b2a", "flops": "figure5_b2a", "probe_loss": "figure4"},
    **{"margins": "figure6", "planted_domain": "prompts"},
}
# What the paper prints and says: data, so no code digest sees them.
PAPER = os.path.join(workflow.basedir, "vecaf", "reporting", "paper", "reported.csv")
STATEMENTS = os.path.join(workflow.basedir, "vecaf", "reporting", "paper", "statements.csv")


def at_hand(file):
    """Say whether a file can be read: it is there, or made when it is asked for."""
    return not only_finished or os.path.exists(file)


def own_cells(exhibit):
    """Return the cells of an exhibit whose own files are read, because the bundle lacks them."""
    cells = [cell for cell in study.cells(exhibit) if not in_bundle(cell)]
    return [cell for cell in cells if at_hand(in_cell(f"{CELL}{bundle.METRICS}", cell))]


@cache
def can_be_shown(exhibit):
    """Say whether there is code that makes an exhibit and, where only finished cells are shown, any of those."""
    if exhibit not in REPORTED or not only_finished:
        return exhibit in REPORTED
    if exhibit in SAMPLING:
        return at_hand(exhibit_inputs(exhibit)["samples"])
    if exhibit in SELECTING:
        return all(map(at_hand, exhibit_inputs(exhibit)["selected"]))
    return bool(own_cells(exhibit)) or any(map(in_bundle, study.cells(exhibit)))


def sample_inputs(exhibit):
    """Return what is known of the pool's samples: per seed scores and selections, and the map of the first seed."""
    cells, methods = study.scored_after(exhibit), study.methods_of(exhibit)
    return {
        "index": in_cell(f"{POOL}index.parquet", cells[0]),
        "meta": in_cell(f"{POOL}pool.json", cells[0]),
        "embeddings": [in_cell(f"{AFTER}embeddings.npy", cell) for cell in cells],
        "heads": [in_cell(f"{AFTER}head.safetensors", cell) for cell in cells],
        "selections": [in_cell(f"{BY}selection.parquet", cell, by=by) for cell in cells for by in methods],
        "map": in_cell(f"{AFTER}map.npy", cells[0]),
    }


def samples_digest(exhibit):
    """Return the digest of all that the samples of an exhibit come from: its cells, those scored, and the map."""
    scored = study.scored_after(exhibit)
    told = [study.digests[exhibit], [study.digest(cell) for cell in scored], study.map_params(scored[0].dataset)]
    return artifacts.digest(told)


def captioned_by(dataset):
    """Return the wildcards of a dataset's own captions and text encoder, by which prompts are compared."""
    spec = study.dataset(dataset)
    return {"dataset": study.captioned(dataset), "captioner": spec.captioner, "encoder": spec.encoder}


def selected_inputs(exhibit, dataset):
    """Return the selections of an exhibit on one dataset, and what is known of the images there."""
    told, cells = captioned_by(dataset), prompts.places(study, exhibit).get(dataset)
    if cells is None:
        refuse(f"{exhibit} shows no selections on {dataset}")
    return {
        "pool": [path.format(dataset=dataset) for path in POOL_FILES],
        "captions": CAPTIONS.format(**told),
        "similarities": [SIMILARITY.format(**told, prompt=prompt) for prompt in prompts.prompts(study, exhibit)],
        "selections": [f"{selection_folder(cell, 1)}selection.parquet" for cell in cells],
    }


def layout_of(exhibit):
    """Return what the script of an exhibit is told beside its rows."""
    if exhibit in CURVES:
        return study.curves_layout(exhibit)
    if exhibit in SAMPLING:
        return study.map_layout(exhibit)
    if exhibit in SELECTING:
        return prompts.layout(study, exhibit)
    if exhibit in COSTED:
        return study.layout(exhibit) | {"plans": study.plans(exhibit)}
    return readings.layout(study, exhibit)


def exhibit_inputs(exhibit):
    if exhibit in SAMPLING:
        return {"samples": own_or_published(SAMPLES.format(exhibit=exhibit), samples_digest(exhibit))}
    if exhibit in SELECTING:
        told = {dataset: prompts.params(study, exhibit, dataset) for dataset in prompts.places(study, exhibit)}
        files = {dataset: SELECTED.format(exhibit=exhibit, dataset=dataset) for dataset in told}
        return {"selected": [own_or_published(files[dataset], told[dataset]["digest"]) for dataset in told]}
    inputs = {"rows": f"{root}/metrics/{exhibit}.parquet"}
    if exhibit in COMPARING_IDS:
        inputs["ids"] = f"{root}/ids/{exhibit}.parquet"
    if exhibit in CURVES:
        inputs["curves"] = f"{root}/curves/{exhibit}.parquet"
    if exhibit in COSTED:
        inputs["costs"] = f"{root}/costs/{exhibit}.parquet"
        inputs["profiles"] = profiles_of(exhibit)
    return inputs


def selected_in(exhibit):
    """Return the file of every selection behind an exhibit, each once however many cells share it."""
    cells = [(cell, study.loops(cell.method, cell.schedule)) for cell in own_cells(exhibit)]
    folders = {selection_folder(cell, loop) for cell, loops in cells for loop in range(1, loops + 1)}
    return [f"{folder}selection.parquet" for folder in sorted(folders)]


def metrics_of(exhibit):
    """Return the records of an exhibit's cells that are not read from the published bundle."""
    say_stale(exhibit)
    judged = [None, *study.domains(exhibit)]
    # All of a cell is of one run: what the bundle lacks of it comes with a run of its own.
    own = [cell for cell in study.cells(exhibit) if not all(in_bundle(cell, domain) for domain in judged)]
    files = [in_cell(f"{CELL}{record_of(domain)}", cell) for cell in own for domain in judged]
    return [file for file in files if at_hand(file)]


def judged_corrupted(wildcards):
    """Return the records of cells that an exhibit judges on corrupted images, too; published ones are not run again."""
    exhibits = [name for name in study.exhibits() if study.domains(name)]
    if not exhibits:
        refuse("this configuration shows no exhibit of corrupted images, which ood would make; table3 is one")
    return [file for exhibit in exhibits for file in metrics_of(exhibit)]


def curves_of(exhibit):
    """Return the logs of the cells of an exhibit that are not read from the bundle, which finetuning wrote."""
    return [in_cell(f"{CELL}{name}", cell) for cell in own_cells(exhibit) for name in (bundle.BATCHES, bundle.CURVE)]


@cache
def claims_plan():
    try:
        return claims.plan(study, REPORTED)
    except ConfigError as error:
        refuse(str(error))


def claims_rows(wildcards):
    return [f"{root}/metrics/{exhibit}.parquet" for exhibit in claims_plan()["places"]]


def claims_measures(wildcards):
    """Return the files of numbers that no table collects: what the study's figures have, and what else is there."""
    made = [MEASURE.format(measure=name) for name in MEASURED if is_measured(name)]
    return [file for file in claims_plan()["measures"].values() if file in made or os.path.exists(file)]


def is_measured(measure):
    """Say whether this study has what a measure is made of."""
    exhibit = MEASURED[measure]
    if exhibit not in study.exhibits() or not can_be_shown(exhibit):
        return False
    return measure != "planted_domain" or any(study.dataset(name).planted for name in prompts.places(study, exhibit))


def measure_inputs(measure):
    """Return what a measure is made of: curves, costs and counts, or what an exhibit of selections draws."""
    exhibit = MEASURED[measure]
    if exhibit not in CURVES:
        return exhibit_inputs(exhibit)
    files = {name: f"{root}/{name}/{exhibit}.parquet" for name in ("curves", "costs")}
    return files | {"profiles": profiles_of(exhibit)}


def measure_settings(measure):
    """Return what making a measure is told: levels of accuracy by dataset, and the models of each group of cells."""
    exhibit, models = MEASURED[measure], []
    if exhibit not in CURVES:
        scored = study.scored_after(exhibit)[:1]
        return {"measure": measure, "cell": {key: getattr(cell, key) for cell in scored for key in layout.PLACE}}
    for plan in study.plans(exhibit) if measure == "flops" else ():
        text = plan["parameters"]["text"]
        told = {
            "backbone": {"input_size": plan["parameters"]["backbone"]["input_size"]},
            "text": text and {part: {"name": text[part]["name"]} for part in text},
        }
        models.append([[plan[key] for key in layout.KEYS], told])
    return {"measure": measure, "levels": study.curves_layout(exhibit)["b2a_levels"], "models": models}


def profiles_of(*exhibits):
    """Return the counts of the models that the cells of some exhibits (all, if none is named) use."""
    return [PROFILE.format(part=part, name=name) for part, name in study.profiles(*exhibits)]
