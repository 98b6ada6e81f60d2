"""Finetune one loop of a cell on the ids that its selection chose."""

from pathlib import Path

import numpy as np

from vecaf import artifacts, command
from vecaf.data import image_sets
from vecaf.data.images import Images
from vecaf.data.transforms import EvalTransform, TrainTransform
from vecaf.errors import ArtifactError
from vecaf.models import backbone, head
from vecaf.provenance import Stage
from vecaf.training import finetune, recipes
from vecaf.training.monitor import Monitor, fixed_subset


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "backbone, training, objective, start, stop, total, curve, seeds, cea, loss_head")
    command.pool_arguments(parser)
    command.device_argument(parser)
    command.checkpoint_arguments(parser)
    parser.add_argument("--selection", type=Path, nargs="+", required=True, help="ids; several files: their union")
    parser.add_argument("--weights", type=Path, nargs="+", required=True, help="of the loop before; or backbone, head")
    parser.add_argument("--optimizer", type=Path, help="optimiser state of the loop before")
    parser.add_argument("--embeddings", type=Path, help="pool embeddings behind this loop's selection (CEA)")
    parser.add_argument("--text", type=Path, help="caption embeddings of the pool (CEA), record beside")
    parser.add_argument("--stylized", type=Path, help="what is seen in place of the selected images")
    parser.add_argument("--batches", type=Path, help="log of the loops before")
    parser.add_argument("--curve", type=Path, help="curve of the loops before")
    parser.add_argument("--history", type=Path, help="record of the loops before")
    parser.add_argument("--batch-size", type=int, default=256, help="images per forward pass when nothing is trained")
    for name in ("out", "optimizer-out", "batches-out", "curve-out", "record"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="output")
    args = parser.parse_args(argv)
    params, device = args.params, command.torch_device(args.device)
    training = params["training"]
    recipe = recipes.resolve(training["recipe"], training["overrides"])
    inputs = (args.pool[0], *args.selection, *args.weights, args.optimizer, args.embeddings, args.text, args.stylized)
    checkpoint = command.checkpoint(args, *inputs)

    with Stage("finetune", device) as stage:
        classes = artifacts.read_json(args.pool[2])["classes"]
        pool = Images.open(*args.pool, split="pool", root=args.root)
        ids = np.unique(
            np.concatenate([artifacts.read_table(file)["id"].to_numpy(np.int64) for file in args.selection])
        )
        chosen = (restyled(args.stylized, ids, classes) if args.stylized else pool.subset(ids)).in_memory()
        model = starting_model(args.weights, params, len(classes), recipe.drop_path)
        objective = head.resolve_objective(params["objective"], classes)
        result = finetune.finetune(
            model,
            chosen,
            chosen.labels,
            train_transform=train_transform(params, recipe),
            recipe=recipe,
            start=params["start"],
            stop=params["stop"],
            total=params["total"],
            seeds=params["seeds"],
            objective=objective,
            cea=captions_of(ids, params, args) if "cea" in params else None,
            loss_head=params.get("loss_head"),
            optimizer_state=carried(args.optimizer, params) if args.optimizer else None,
            device=device,
            precision=training["precision"],
            monitor=monitor_of(pool, args, params, objective, device),
            checkpoint=checkpoint,
        )
    if not result.main:
        return f"process {result.processes}: done"
    stage.record |= {
        "training_seconds": round(result.seconds, 4),
        "monitor_seconds": round(result.monitor_seconds, 4),
        "processes": result.processes,
    }
    write(args, params, recipe, ids, model, result, stage.record)
    checkpoint.remove()
    loss = np.mean(result.log["loss"][-10:])
    return f"batches {params['start']}…{params['stop']} on {len(ids)} images, loss of the last ten {loss:.3f}"


def restyled(file: Path, ids: np.ndarray, classes: list[str]) -> Images:
    """Return the images that stand in for the selected ones; raises ArtifactError when they are of other ids."""
    images, _ = image_sets.read([file], classes)
    if not np.array_equal(images.ids, ids):
        raise ArtifactError(f"{file} holds other images than were selected; delete it and run its target again")
    return images


def starting_model(weights: list[Path], params: dict, classes: int, drop_path: float) -> backbone.Backbone:
    """Return the model of the loop before, or the pretrained backbone with the head that was scored."""
    loss_head = params.get("loss_head")
    model = backbone.build(
        params["backbone"],
        classes,
        input_size=params["input_size"],
        state=carried(weights[0], params),
        drop_path=drop_path,
        seed=params["seeds"].get("loss_head", 0),
        loss_head=loss_head["hidden"] if loss_head else None,
    )
    if len(weights) > 1:
        first = artifacts.read_weights(weights[1])
        model.set_head(first["weight"], first["bias"])
    return model


def carried(file: Path, params: dict) -> dict:
    """Return the tensors of the loop before; a loss head that starts afresh in every loop is not among them."""
    fresh = not params.get("loss_head", {}).get("carry", True)
    tensors = artifacts.read_weights(file)
    return {name: tensor for name, tensor in tensors.items() if not (fresh and backbone.LOSS_HEAD in name)}


def train_transform(params: dict, recipe: recipes.Recipe) -> TrainTransform:
    return TrainTransform(
        params["input_size"],
        scale=recipe.crop_scale,
        ratio=recipe.crop_ratio,
        crop=recipe.crop,
        flip=recipe.flip,
        **backbone.data_config(params["backbone"]),
    )


def captions_of(ids: np.ndarray, params: dict, args) -> tuple:
    """Return t, α and η of the selected ids, from the scores behind their selection (equations 8 and 9)."""
    from vecaf.augmentation import Readings, cea

    readings = Readings(**params["cea"]["cea"])
    embeddings, (text, _) = artifacts.read_array(args.embeddings), artifacts.read_recorded(args.text, "text_hash")
    projected, attention = cea.for_selection(embeddings, text, ids, readings, params["cea"]["seed"])
    return projected.numpy(), attention.numpy(), readings.step


def monitor_of(pool: Images, args, params: dict, objective, device) -> Monitor:
    test = Images.open(*args.pool, split="test", root=args.root)
    curve, seeds = params["curve"], params["seeds"]
    return Monitor(
        pool.subset(fixed_subset(seeds["probe"], pool.ids, curve["probe_images"])).in_memory(),
        test.subset(fixed_subset(seeds["curve"], test.ids, curve["test_images"])).in_memory(),
        EvalTransform(params["input_size"], params["eval_transform"], **backbone.data_config(params["backbone"])),
        total=params["total"],
        points=curve["points"],
        objective=objective,
        device=device,
        batch_size=args.batch_size,
        precision=params["training"]["precision"],
    )


def write(args, params: dict, recipe: recipes.Recipe, ids: np.ndarray, model, result, stage: dict) -> None:
    """Write weights and logs; the logs hold all loops so far, and the record comes last."""
    import pandas as pd

    history = artifacts.read_json(args.history)["loops"] if args.history else []
    loop = len(history) + 1
    batches = pd.DataFrame(result.log).assign(loop=loop)
    curve = pd.DataFrame(result.curve).assign(loop=loop)
    if args.history:
        batches = pd.concat([artifacts.read_table(args.batches), batches], ignore_index=True)
        curve = pd.concat([artifacts.read_table(args.curve), curve], ignore_index=True)
    ids_hash = artifacts.ids_hash(ids)
    artifacts.write_weights(args.out, model.state_dict(), {"ids_hash": ids_hash, "stop": str(params["stop"])})
    artifacts.write_weights(args.optimizer_out, result.optimizer_state)
    artifacts.write_table(args.batches_out, batches)
    artifacts.write_table(args.curve_out, curve)
    record = {
        "loop": loop,
        "images": len(ids),
        "ids_hash": ids_hash,
        "weights_hash": artifacts.file_hash(args.out),
        "recipe": recipe.model_dump(),
        "batches": params["stop"] - params["start"],
        "stage": stage,
    }
    artifacts.write_json(args.record, {"loops": [*history, record]})


if __name__ == "__main__":
    command.run(main)
