"""Join the captions that several jobs have written for parts of one pool, in the order of ids."""

from pathlib import Path

import numpy as np

from vecaf import artifacts, command
from vecaf.errors import ArtifactError
from vecaf.models import captioners


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "kind of captioner, its own parameters, seed")
    parser.add_argument("--shards", nargs="+", type=Path, required=True, metavar="FILE", help="tables of id, caption")
    parser.add_argument("--records", nargs="+", type=Path, required=True, metavar="FILE", help="their JSON records")
    parser.add_argument("--source", help="file of the captions that come with a dataset; `none` without one")
    parser.add_argument("--out", type=Path, required=True, help="output: Parquet table of id and caption")
    parser.add_argument("--record", type=Path, required=True, help="output: JSON on what the captions come from")
    args = parser.parse_args(argv)
    import pandas as pd

    records = [artifacts.read_json(path) for path in args.records]
    for path, record in zip(args.records, records, strict=True):
        if any(record[key] != records[0][key] for key in ("params", "facts", "pool")):
            raise ArtifactError(f"{path} is of other parameters, weights or images than {args.records[0]}; delete both")
    table = pd.concat([artifacts.read_table(path) for path in args.shards]).sort_values("id", ignore_index=True)
    if not np.array_equal(table["id"], np.arange(records[0]["pool"])):
        raise ArtifactError(
            f"the shards {args.shards[0]} … {args.shards[-1]} hold {table['id'].nunique()} ids of a pool of "
            f"{records[0]['pool']}; delete them and run the target again"
        )
    captions = captioners.build(args.params, file=args.source).finish(table["caption"].tolist())
    artifacts.write_table(args.out, table.assign(caption=captions))
    joined = records[0] | {"rows": len(table), "stages": [stage for record in records for stage in record["stages"]]}
    artifacts.write_json(args.record, joined | {"captions_hash": artifacts.file_hash(args.out)})
    return f"{len(table)} captions of {len(records)} shards, {len(set(captions))} distinct"


if __name__ == "__main__":
    command.run(main)
