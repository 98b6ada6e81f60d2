"""Count the multiply-accumulates of one model, and of its passes over datasets in full and in the paper's unit."""

from collections.abc import Iterator
from pathlib import Path

from vecaf import artifacts, command
from vecaf.flops import profile
from vecaf.flops.cell import in_papers_unit
from vecaf.provenance import Stage


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "part (backbone, encoder, captioner), name, model, datasets; of a backbone sizes")
    parser.add_argument("--out", type=Path, required=True, help="output: JSON")
    args = parser.parse_args(argv)
    params = args.params

    with Stage("profile_flops") as stage:
        found = profile(params)
    passes = [
        line for dataset, sizes in params["datasets"].items() for line in passes_of(params, found, dataset, sizes)
    ]
    named = {"part": params["part"], "name": params["name"]}
    artifacts.write_json(args.out, {**named, **found, "passes": passes, "stage": stage.record})
    return f"{params['part']} {params['name']}: {in_words(found)} ({found['source']})"


def passes_of(params: dict, found: dict, dataset: str, sizes: dict) -> Iterator[dict]:
    """Yield what a model does for one dataset: a pass over its pool, and finetuning; None where a size is unknown."""
    size, batch = sizes["pool_size"], sizes["batch_size"]
    if params["part"] != "backbone":
        what = {"encoder": "embed the pool's captions once", "captioner": "caption the pool once"}[params["part"]]
        yield {"dataset": dataset, "what": what, **in_both_units(found["macs"], size, batch)}
        return
    image = found["sizes"][str(sizes["input_size"])]
    yield {"dataset": dataset, "what": "score the pool once", **in_both_units(image["macs"], size, batch)}
    drawn = sizes["batches"] * batch
    yield {"dataset": dataset, "what": "finetune", **in_both_units(image["training_step"], drawn, batch)}


def in_both_units(macs: int | None, times: int | None, batch_size: int) -> dict:
    """Return G MACs in full, and as table 4 counts them: of one image, times the number of batches."""
    if macs is None or times is None:
        return {"total_g": None, "papers_unit_g": None}
    return {"total_g": macs * times / 1e9, "papers_unit_g": in_papers_unit(macs * times, batch_size)}


def in_words(found: dict) -> str:
    sizes = found.get("sizes") or {None: found}
    said = ["not counted" if one["macs"] is None else f"{one['macs'] / 1e9:.4g} G MACs" for one in sizes.values()]
    return ", ".join(f"{text} at {side} px" if side else text for text, side in zip(said, sizes, strict=True))


if __name__ == "__main__":
    command.run(main)
