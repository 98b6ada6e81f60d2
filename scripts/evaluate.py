"""Evaluate the final weights of a cell on the whole test set and write its metrics with their provenance."""

from pathlib import Path

from vecaf import artifacts, command
from vecaf.data.images import Images
from vecaf.data.transforms import EvalTransform
from vecaf.errors import ArtifactError
from vecaf.flops import TRAINING_STEP
from vecaf.models import backbone, head
from vecaf.provenance import Stage, cell_provenance
from vecaf.reporting.metrics import cell_metrics, check_metrics, cost
from vecaf.training import evaluate


def main(argv: list[str]) -> str:
    told = "backbone, input_size, eval_transform, precision, objective, cell, resolved, readings"
    parser = command.parser(__doc__, told)
    command.pool_arguments(parser)
    command.device_argument(parser)
    parser.add_argument("--weights", type=Path, required=True, help="final weights")
    parser.add_argument("--history", type=Path, required=True, help="record of all finetuning loops")
    parser.add_argument("--pretrained", type=Path, required=True, help="record of the pretrained weights")
    parser.add_argument("--selections", type=Path, nargs="+", required=True, help="records of the loops' selections")
    parser.add_argument("--scorings", type=Path, nargs="*", default=[], help="records of the pool's scorings")
    parser.add_argument("--augmentations", type=Path, nargs="*", default=[], help="records of the pool's augmentations")
    parser.add_argument("--texts", type=Path, nargs="*", default=[], help="records of captions and their embeddings")
    parser.add_argument("--stylings", type=Path, nargs="*", default=[], help="records of restyled training images")
    parser.add_argument("--stylers", type=Path, nargs="*", default=[], help="record of the styler behind them")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--metrics", type=Path, required=True, help="output: JSON")
    parser.add_argument("--predictions", type=Path, required=True, help="output: Parquet, one row per test image")
    args = parser.parse_args(argv)
    params, device = args.params, command.torch_device(args.device)
    import pandas as pd

    with Stage("evaluate", device) as stage:
        classes = artifacts.read_json(args.pool[2])["classes"]
        test = Images.open(*args.pool, split="test", root=args.root)
        state = artifacts.read_weights(args.weights)
        model = backbone.build(params["backbone"], len(classes), input_size=params["input_size"], state=state)
        transform = EvalTransform(
            params["input_size"], params["eval_transform"], **backbone.data_config(params["backbone"])
        )
        found = evaluate.evaluate(
            model.to(device),
            test,
            transform,
            device=device,
            batch_size=args.batch_size,
            objective=head.resolve_objective(params["objective"], classes),
            precision=params["precision"],
        )
    records = read_records(args, params)
    per_class = dict(zip(classes, found.metrics["per_class"], strict=True))
    measured = found.metrics | {"classes": classes, "per_class": per_class}
    image = records["pretrained"]["info"]["macs_per_image"] + model.width * len(classes)
    facts = provenance(args, records, stage, image)
    metrics = cell_metrics(params["cell"], measured, costs(records, stage.record), facts)
    check_metrics(metrics, args.metrics)

    table = {"id": test.ids, "label": test.labels, "prediction": found.predictions, "confidence": found.confidence}
    if found.target is not None:
        table["target_probability"] = found.target
    artifacts.write_table(args.predictions, pd.DataFrame(table))
    artifacts.write_json(args.metrics, metrics)
    return f"{args.metrics}: top-1 {found.metrics['top1']:.4f} on {found.metrics['n']} images"


def read_records(args, params: dict) -> dict:
    """Return the records of all stages; raises ArtifactError when they, or the weights, do not belong together."""
    loops = artifacts.read_json(args.history)["loops"]
    if artifacts.read_weights_metadata(args.weights).get("ids_hash") != loops[-1]["ids_hash"]:
        raise ArtifactError(
            f"{args.weights} was not trained on the ids that {args.history.name} records; "
            f"train it again: snakemake -R finetune_last -- {args.metrics}"
        )
    selections = [artifacts.read_json(file) for file in args.selections]
    for loop, (trained, selected) in enumerate(zip(loops, selections, strict=True), start=1):
        if trained["ids_hash"] != selected["ids_hash"] and not params["resolved"]["finetune"][0]["accumulate"]:
            raise ArtifactError(
                f"loop {loop} was trained on other ids than {args.selections[loop - 1].parent} holds now; "
                f"train it again: snakemake -R finetune finetune_last -- {args.metrics}"
            )
    return {
        "finetune": loops,
        "select": selections,
        "score": by_loop(args.scorings),
        "augment": by_loop(args.augmentations),
        "stylize": by_loop(args.stylings),
        "once": dict(zip(("caption", "embed_text"), map(once, args.texts), strict=False))
        | dict(zip(("train_styler",), map(once, args.stylers), strict=False)),
        "pretrained": artifacts.read_json(args.pretrained),
    }


def once(file: Path) -> dict | None:
    """Return the stage of what is done once for a pool, the seconds of its jobs added up; None if nobody timed it."""
    record = artifacts.read_json(file)
    stages = record.get("stages") or [stage for stage in [record.get("stage")] if stage]
    return stages[0] | {"seconds": sum(stage["seconds"] for stage in stages), "jobs": len(stages)} if stages else None


def by_loop(files: list[Path]) -> dict[int, dict]:
    """Return records by the loop whose folder they lie in; what is shared lies elsewhere and belongs to loop 1."""
    folders = [file.parent.name for file in files]
    loops = [int(name.removeprefix("loop")) if name.startswith("loop") else 1 for name in folders]
    return {loop: artifacts.read_json(file) for loop, file in zip(loops, files, strict=True)}


def costs(records: dict, evaluation: dict) -> dict:
    """Return seconds per stage, over all loops and for each; looking at the curve is no training.

    What other cells share (captions, their embeddings, the first pass over the pool) is told in full.
    """
    loops = []
    for number, (trained, selected) in enumerate(zip(records["finetune"], records["select"], strict=True), start=1):
        seconds = {
            "select": selected["stage"]["seconds"],
            "finetune": trained["stage"]["training_seconds"],
            "curve": trained["stage"]["monitor_seconds"],
        }
        for step in ("score", "augment", "stylize"):
            if number in records[step]:
                seconds[step] = records[step][number]["stage"]["seconds"]
        loops.append(seconds)
    batches = sum(trained["batches"] for trained in records["finetune"])
    outside = {name: stage["seconds"] for name, stage in records["once"].items() if stage is not None}
    return cost(batches, loops, outside | {"evaluate": evaluation["seconds"]})


def provenance(args, records: dict, evaluation: Stage, image: int) -> dict:
    """Return what the numbers rest on: parameters, seeds, hashes, machines and multiply-accumulates of each stage.

    image: multiply-accumulates of one image's forward pass, head included.
    """
    params = args.params
    stages = {"pretrained": records["pretrained"]["stage"]}
    stages |= {name: stage for name, stage in records["once"].items() if stage is not None}
    seeds, ids = {}, {}
    for trained, selected in zip(records["finetune"], records["select"], strict=True):
        loop = trained["loop"]
        drawn = trained["batches"] * trained["recipe"]["batch_size"]
        stages[f"loop{loop}/select"] = selected["stage"]
        stages[f"loop{loop}/finetune"] = trained["stage"] | {"macs": TRAINING_STEP * image * drawn}
        ids[f"loop{loop}"] = selected["ids_hash"]
        for step in ("augment", "stylize"):
            if loop in records[step]:
                stages[f"loop{loop}/{step}"] = records[step][loop]["stage"]
        if loop in records["score"]:
            stages[f"loop{loop}/score"] = records["score"][loop]["stage"] | {"macs": image * selected["pool_size"]}
        for name, seed in params["resolved"]["finetune"][loop - 1]["seeds"].items():
            seeds[f"loop{loop}/{name}"] = seed
        for name, seed in params["resolved"]["selection"][loop - 1]["seeds"].items():
            seeds[f"loop{loop}/{name}"] = seed
    images = len(artifacts.read_table(args.pool[0], columns=["split"]).query("split == 'test'"))
    stages["evaluate"] = evaluation.record | {"macs": image * images}
    return cell_provenance(
        parameters=params["resolved"],
        readings=params["readings"],
        stages=stages,
        seeds=seeds,
        weights={"pretrained": records["pretrained"]["hash"], "final": artifacts.file_hash(args.weights)},
        ids=ids,
        selection=[
            {"k": selected["k"], "pool_size": selected["pool_size"], **selected["diagnostics"]}
            for selected in records["select"]
        ],
        pretrained=records["pretrained"]["info"],
    )


if __name__ == "__main__":
    command.run(main)
