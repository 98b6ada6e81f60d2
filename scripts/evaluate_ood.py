"""Evaluate the final weights of a cell on corrupted test sets: accuracy per corruption and severity, and their mean."""

from pathlib import Path

import numpy as np

from vecaf import artifacts, command
from vecaf.data import image_sets
from vecaf.data.transforms import EvalTransform
from vecaf.errors import ArtifactError
from vecaf.models import backbone
from vecaf.provenance import Stage, cell_provenance
from vecaf.training import evaluate


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "backbone, input_size, eval_transform, precision, cell, resolved, readings")
    command.device_argument(parser)
    parser.add_argument("--meta", type=Path, required=True, help="facts about the labelled pool, pool.json")
    parser.add_argument("--weights", type=Path, required=True, help="final weights")
    parser.add_argument("--sets", type=Path, nargs="+", required=True, help="corrupted test sets; every shard")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--metrics", type=Path, required=True, help="output: JSON")
    parser.add_argument("--predictions", type=Path, required=True, help="output: Parquet, a row per image of each set")
    args = parser.parse_args(argv)
    params, device, meta = args.params, command.torch_device(args.device), artifacts.read_json(args.meta)
    import pandas as pd

    with Stage("evaluate_ood", device) as stage:
        model = backbone.build(
            params["backbone"],
            len(meta["classes"]),
            input_size=params["input_size"],
            state=artifacts.read_weights(args.weights),
        ).to(device)
        found, tables, sources = {}, [], []
        for files in by_set(args.sets):
            images, facts = image_sets.read(files, meta["classes"])
            check(files[0], facts, meta)
            result = evaluate.evaluate(
                model,
                images,
                transform(params, facts["crop"]),
                device=device,
                batch_size=args.batch_size,
                precision=params["precision"],
            )
            corruption, severity = facts["corruption"], facts["severity"]
            found.setdefault(corruption, {})[severity] = result.metrics
            columns = {"id": images.ids, "label": images.labels, "prediction": result.predictions}
            columns |= {"corruption": corruption, "severity": np.int8(severity), "confidence": result.confidence}
            tables.append(pd.DataFrame(columns))
            sources.append(facts | {"hashes": [artifacts.file_hash(file) for file in files]})
    accuracy = {corruption: summary(severities) for corruption, severities in found.items()}
    trained = artifacts.read_weights_metadata(args.weights).get("ids_hash")
    provenance = cell_provenance(
        parameters=params["resolved"],
        readings=params["readings"],
        stages={"evaluate_ood": stage.record},
        seeds={},
        weights={"final": artifacts.file_hash(args.weights)},
        ids={"final": trained} if trained else {},
        sets=sources,
    )
    artifacts.write_table(args.predictions, pd.concat(tables, ignore_index=True))
    artifacts.write_json(args.metrics, {"cell": params["cell"], "accuracy": accuracy, "provenance": provenance})
    means = ", ".join(f"{corruption} {values['mean']['top1']:.4f}" for corruption, values in accuracy.items())
    return f"{args.metrics}: mean top-1 {means}"


def by_set(paths: list[Path]) -> list[list[Path]]:
    """Return the files of each set, in the order of corruption and severity."""
    sets: dict[tuple, list[Path]] = {}
    for path in paths:
        facts = artifacts.read_table(path, columns=["id"]).attrs
        sets.setdefault((facts.get("corruption", ""), facts.get("severity", 0)), []).append(path)
    return [sets[key] for key in sorted(sets)]


def check(file: Path, facts: dict, meta: dict) -> None:
    """Raise ArtifactError when a set is not made of this dataset's whole test set."""
    wanted = {"index_hash": meta["index_hash"], "split": "test", "count": meta["test_size"]}
    if any(facts.get(key) != value for key, value in wanted.items()):
        raise ArtifactError(
            f"{file} is no corrupted copy of the {meta['test_size']} test images of {meta['dataset']} as they are "
            "indexed now; delete it and run its target again"
        )


def transform(params: dict, crop: int | None) -> EvalTransform:
    """Return the transform of a set: what was cropped when it was corrupted is shown whole, as ImageNet-C is."""
    mode = params["eval_transform"] if crop is None else "squash224"
    return EvalTransform(params["input_size"], mode, **backbone.data_config(params["backbone"]))


def summary(severities: dict[int, dict]) -> dict:
    """Return the shares of each severity and their mean over the severities, with the number of images of each."""
    shares = ("top1", "mean_per_class")
    each = {str(severity): {key: found[key] for key in (*shares, "n")} for severity, found in severities.items()}
    return {"severities": each, "mean": {key: sum(one[key] for one in each.values()) / len(each) for key in shares}}


if __name__ == "__main__":
    command.run(main)
