"""Where a saved model of transformers lies: in a folder, in the machine's cache of the Hugging Face hub, or on the hub.

The cache is looked at before the hub, an unreachable hub is given up at once and none is asked with HF_HUB_OFFLINE,
since compute nodes have no network. Backbones come through timm, which looks up its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vecaf import artifacts
from vecaf.errors import ArtifactError, first_line

SAFETENSORS = ("model.safetensors",)
SAFETENSORS_OR_PICKLES = (*SAFETENSORS, "pytorch_model.bin")  # the first kind that a model has is the one loaded
WEIGHTS = {"captioner": SAFETENSORS, "encoder": SAFETENSORS_OR_PICKLES}  # that each kind of step loads
# What a saved model holds beside its weights: one file of each is enough. Without a vocabulary transformers would
# invent one.
CONFIGURATION = {"configuration": ("config.json",)}
TOKENIZER = {"tokenizer": ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")}
PROCESSOR = {"image processor": ("processor_config.json", "preprocessor_config.json")}
SETTINGS = ("*.json", "*.txt", "*.model")  # of a repository: all but weights and what other libraries need
HUB_TIMEOUT = 10  # seconds until a hub that does not answer counts as out of reach


def locate(model: str, revision: str | None, *, role: str, weights: Sequence[str], processor: bool = False) -> Path:
    """Return the folder of a model: the given one, else that of the hub's cache, filled from the hub where it must be.

    model: a folder, or a name on the hub. revision: commit, tag or branch there; None for its main branch. role: what
    the model is to the reader of a message. weights: the kinds of files of weights that may be loaded, in this order.
    processor: whether it needs the settings of an image processor, too. Raises ArtifactError that says what a folder
    lacks, or how to fetch what this machine does not have.
    """
    parts = _parts(processor)
    if folder := given(model):
        if lacks := _lacking(folder, parts, weights):
            raise ArtifactError(
                f"{role} {model}: the folder has {_none_of(lacks)}; write the whole model there with save_pretrained, "
                "or name a model of the Hugging Face hub"
            )
        return folder
    here = cached(model, revision, role)
    lacks = _lacking(here, parts, weights) if here else []
    if here and not lacks:
        return here
    fetched = _fetch(model, revision, role, weights, lacks)
    if lacks := _lacking(fetched, parts, weights):
        raise ArtifactError(f"{role} {model}: its repository on the hub has {_none_of(lacks)}; choose another model")
    return fetched


def lacking(folder: Path, kind: str) -> list[str]:
    """Name what a folder lacks of a model of a kind: ``captioner`` or ``encoder``."""
    return _lacking(folder, _parts(kind == "captioner"), WEIGHTS[kind])


def _parts(processor: bool) -> dict[str, Sequence[str]]:
    return CONFIGURATION | TOKENIZER | (PROCESSOR if processor else {})


def given(model: str) -> Path | None:
    """Return the folder that a model's name stands for, None for a model of the hub."""
    folder = Path(model).expanduser()
    return folder if folder.is_dir() else None


def weight_files(folder: Path, weights: Sequence[str]) -> list[Path]:
    """Return the files of weights that transformers loads from a folder, those that are there, sorted by name."""
    return [folder / name for name in _weight_names(folder, weights) if (folder / name).is_file()]


def _weight_names(folder: Path, weights: Sequence[str]) -> list[str]:
    """Name the file of weights of the first kind that a folder has, or all shards that its index names."""
    for name in weights:
        if (folder / name).is_file():
            return [name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            return sorted(set(artifacts.read_json(index)["weight_map"].values()))
    return [weights[0]]


def _lacking(folder: Path, parts: dict[str, Sequence[str]], weights: Sequence[str]) -> list[str]:
    """Name the parts of a saved model that a folder lacks."""
    lacks = [
        f"{part} ({patterns[0]})"
        for part, patterns in parts.items()
        if not any(path.is_file() for pattern in patterns for path in folder.glob(pattern))
    ]
    absent = [name for name in _weight_names(folder, weights) if not (folder / name).is_file()]
    return lacks + [f"weights ({', '.join(absent)})"] * bool(absent)


def _none_of(parts: Sequence[str]) -> str:
    return "no " + " and no ".join(parts)


def cached(model: str, revision: str | None, role: str) -> Path | None:
    """Return the folder of a model in this machine's cache, whole or not; None when nothing of it is there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(model, revision=revision, local_files_only=True))
    except HFValidationError as error:
        raise ArtifactError(
            f"{role} {model}: there is no such folder, and it is no name on the Hugging Face hub"
        ) from error
    except OSError:  # LocalEntryNotFoundError: nothing of this model or revision is cached
        return None


def _fetch(model: str, revision: str | None, role: str, weights: Sequence[str], lacks: Sequence[str]) -> Path:
    """Download what is loaded of a model into the cache; lacks: what is known to be missing from the cache's copy."""
    from huggingface_hub import HfApi, constants, snapshot_download

    if constants.HF_HUB_OFFLINE:
        raise ArtifactError(_how_to_fetch(model, revision, role, weights, lacks, "HF_HUB_OFFLINE forbids downloads"))
    try:
        # A download alone would try an unreachable hub for minutes.
        files = [file.rfilename for file in HfApi().model_info(model, revision=revision, timeout=HUB_TIMEOUT).siblings]
        return Path(snapshot_download(model, revision=revision, allow_patterns=_loaded(files, weights)))
    except Exception as error:  # hub, network and cache errors have no common type
        reason = f"the hub cannot provide it ({first_line(error)})"
        raise ArtifactError(_how_to_fetch(model, revision, role, weights, lacks, reason)) from error


def _loaded(files: Sequence[str], weights: Sequence[str]) -> list[str]:
    """Return those files of a repository that are loaded; others repeat the weights for other libraries."""
    top = [Path(file) for file in files if "/" not in file]
    kinds = ([file for file in top if file.match(pattern)] for pattern in _patterns(weights))
    chosen = next((found for found in kinds if found), [])
    return [file.name for file in top if file in chosen or any(file.match(pattern) for pattern in SETTINGS)]


def _patterns(weights: Sequence[str]) -> list[str]:
    """Return the patterns that the shards of weights fit, too: model*.safetensors for model.safetensors."""
    return [f"{Path(name).stem}*{Path(name).suffix}" for name in weights]


def _how_to_fetch(
    model: str, revision: str | None, role: str, weights: Sequence[str], lacks: Sequence[str], reason: str
) -> str:
    from huggingface_hub import constants

    cache = f"the cache of the Hugging Face hub ({constants.HF_HUB_CACHE})"
    state = f"its copy in {cache} has {_none_of(lacks)}" if lacks else f"it is not in {cache}"
    chosen = f", revision='{revision}'" if revision else ""
    patterns = [*SETTINGS, *_patterns(weights)]
    return (
        f"the {role} {model} cannot be loaded: {state}, and {reason}; fetch it once where there is a network, with the "
        f'same HF_HOME: python -c "from huggingface_hub import snapshot_download; snapshot_download('
        f"'{model}'{chosen}, allow_patterns={patterns})\", or name a folder that holds it as the {role}'s `model`"
    )
