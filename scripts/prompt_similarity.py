"""Say how similar every caption of a pool is to a domain prompt."""

from pathlib import Path

from vecaf import artifacts, command
from vecaf.errors import ArtifactError
from vecaf.models import text_encoders
from vecaf.models.text_encoders import similarity


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "kind of encoder, its own parameters, prompt, seed")
    command.device_argument(parser)
    parser.add_argument("--captions", type=Path, required=True, help="Parquet table of id and caption")
    parser.add_argument("--text", type=Path, required=True, help="(N, width) embeddings of captions alone, with record")
    parser.add_argument("--out", type=Path, required=True, help="output: (N,) cosines, row = id")
    args = parser.parse_args(argv)

    text, record = artifacts.read_recorded(args.text, "text_hash")
    if record["captions_hash"] != artifacts.file_hash(args.captions):
        raise ArtifactError(
            f"{args.text} embeds other captions than {args.captions}; delete it and run its target again"
        )
    captions = artifacts.read_table(args.captions).sort_values("id")["caption"].tolist()
    encoder, prompt = text_encoders.build(args.params), args.params["prompt"]
    device = command.torch_device(args.device) if encoder.uses_gpu else "cpu"
    found = similarity.to_prompt(encoder, captions, text, prompt, device)
    artifacts.write_array(args.out, found)
    return f"similarity to “{prompt}”: mean {found.mean():.3f}, at most {found.max():.3f}"


if __name__ == "__main__":
    command.run(main)
