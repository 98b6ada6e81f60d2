"""Saved models are found in a folder, in the cache or on the hub; what is missing is told in one sentence."""

import json
import re
import shutil

import huggingface_hub
import pytest
from huggingface_hub import constants

from vecaf.errors import ArtifactError
from vecaf.models import hub

TEXT = {"role": "text encoder", "weights": hub.SAFETENSORS_OR_PICKLES}
IMAGES = {"role": "captioner", "weights": hub.SAFETENSORS, "processor": True}
WHOLE = ("config.json", "tokenizer.json", "processor_config.json", "model.safetensors")
SHARDS = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]


def save(folder, *names):
    """Write files of these names; only their presence is looked at, but for an index."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        weight_map = {"a": SHARDS[0], "b": SHARDS[1], "c": SHARDS[0]}
        (folder / name).write_text(json.dumps({"weight_map": weight_map}) if ".index." in name else name)
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub; returns what lays a model out in it as the hub's client does."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def add(model, *names, commit="0123abc", ref="main"):
        home = tmp_path / "hub" / f"models--{model.replace('/', '--')}"
        save(home / "refs")
        (home / "refs" / ref).write_text(commit)
        return save(home / "snapshots" / commit, *names)

    return add


@pytest.fixture
def attempts(monkeypatch):
    """No network: what was tried to reach the hub."""
    tried = []

    def unreachable(self, name, **_):
        tried.append(name)
        raise ConnectionError("Name or service not known\nmore lines")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    return tried


@pytest.fixture
def repository(monkeypatch, tmp_path):
    """A hub that has these files of every model; returns what starts it and what was downloaded."""
    downloaded, local = [], huggingface_hub.snapshot_download

    def serve(*names):
        def download(model, *, revision, allow_patterns=(), local_files_only=False):
            if local_files_only:
                return local(model, revision=revision, local_files_only=True)
            downloaded.append((model, revision, list(allow_patterns)))
            return str(save(tmp_path / "snapshots" / "fetched", *allow_patterns))

        class Info:
            siblings = tuple(huggingface_hub.hf_api.RepoSibling(rfilename=name) for name in names)

        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, model, **_: Info)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        return downloaded

    return serve


def refused(model, revision=None, **needs):
    with pytest.raises(ArtifactError) as caught:
        hub.locate(str(model), revision, **needs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- a folder ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        WHOLE,
        ("config.json", "vocab.txt", "preprocessor_config.json", "model.safetensors"),
        ("config.json", "spiece.model", "processor_config.json", "model.safetensors.index.json", *SHARDS),
    ],
)
def test_a_whole_folder_is_taken_and_nobody_is_asked(tmp_path, cache, attempts, names):
    folder = save(tmp_path / "mine", *names)
    assert hub.locate(str(folder), "any", **IMAGES) == hub.locate(str(folder), None, **TEXT) == folder
    assert hub.given(str(folder)) == folder
    assert not attempts


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (["config.json"], "no configuration (config.json);"),
        (["tokenizer.json"], "no tokenizer (tokenizer.json);"),
        (["processor_config.json"], "no image processor (processor_config.json);"),
        (["model.safetensors"], "no weights (model.safetensors);"),
        (["model.safetensors", "tokenizer.json"], "no tokenizer (tokenizer.json) and no weights (model.safetensors);"),
    ],
)
def test_what_a_folder_lacks_is_named_with_what_to_do(tmp_path, gone, said):
    folder = save(tmp_path / "part", *(name for name in WHOLE if name not in gone))
    assert refused(folder, **IMAGES) == (
        f"captioner {folder}: the folder has {said} write the whole model there with save_pretrained, or name a model "
        "of the Hugging Face hub"
    )


def test_an_image_processor_is_demanded_of_captioners_alone(tmp_path):
    folder = save(tmp_path / "text", "config.json", "tokenizer.json", "model.safetensors")
    assert hub.locate(str(folder), None, **TEXT) == folder
    assert "no image processor" in refused(folder, **IMAGES)


def test_a_missing_shard_is_named(tmp_path):
    parts = ("config.json", "tokenizer.json", "model.safetensors.index.json")
    folder = save(tmp_path / "one", *parts, SHARDS[0])
    assert f"no weights ({SHARDS[1]});" in refused(folder, **TEXT)
    lone = save(tmp_path / "lone", "config.json", "tokenizer.json", SHARDS[0])
    assert "no weights (model.safetensors);" in refused(lone, **TEXT)


def test_the_files_of_weights_are_those_that_transformers_loads(tmp_path):
    def names(folder, weights=hub.SAFETENSORS_OR_PICKLES):
        return [path.name for path in hub.weight_files(folder, weights)]

    pickle = save(tmp_path / "pickle", "pytorch_model.bin", "flax_model.msgpack")
    assert names(pickle) == ["pytorch_model.bin"]
    assert names(pickle, hub.SAFETENSORS) == []
    assert names(save(pickle, "model.safetensors", "model.fp16.safetensors")) == ["model.safetensors"]
    assert names(save(tmp_path / "shards", "model.safetensors.index.json", *SHARDS)) == SHARDS
    pickles = [shard.replace("model", "pytorch_model").replace("safetensors", "bin") for shard in SHARDS]
    sharded = save(tmp_path / "pickles", *pickles)
    (sharded / "pytorch_model.bin.index.json").write_text(
        json.dumps({"weight_map": {"a": pickles[0], "b": pickles[1]}})
    )
    assert names(sharded) == pickles


def test_pickles_are_no_weights_where_only_safetensors_are_read(tmp_path):
    folder = save(tmp_path / "bin", "config.json", "tokenizer.json", "processor_config.json", "pytorch_model.bin")
    assert hub.locate(str(folder), None, **TEXT) == folder
    assert "no weights (model.safetensors);" in refused(folder, **IMAGES)


def test_names_that_are_neither_folder_nor_repository(cache, attempts):
    for name in ("./models/none", "/no/such/folder", "~/none", "a/b/c"):
        assert refused(name, **TEXT) == (
            f"text encoder {name}: there is no such folder, and it is no name on the Hugging Face hub"
        )
    assert not attempts


# --- the cache --------------------------------------------------------------------------------------------------------


def test_a_cached_model_is_used_without_asking_the_hub(cache, attempts):
    first = cache("someone/tiny", *WHOLE)
    second = cache("someone/tiny", *WHOLE, commit="4567def", ref="v2")
    assert hub.locate("someone/tiny", None, **TEXT) == first
    assert hub.locate("someone/tiny", "v2", **IMAGES) == second
    assert hub.given("someone/tiny") is None
    assert not attempts


def test_missing_weights_are_one_sentence_with_the_command_that_fetches_them(cache, attempts, tmp_path):
    assert refused("openai/clip-vit-large-patch14", **TEXT) == (
        "the text encoder openai/clip-vit-large-patch14 cannot be loaded: it is not in the cache of the Hugging Face "
        f"hub ({tmp_path / 'hub'}), and the hub cannot provide it (Name or service not known); fetch it once where "
        'there is a network, with the same HF_HOME: python -c "from huggingface_hub import snapshot_download; '
        "snapshot_download('openai/clip-vit-large-patch14', allow_patterns=['*.json', '*.txt', '*.model', "
        "'model*.safetensors', 'pytorch_model*.bin'])\", or name a folder that holds it as the text encoder's `model`"
    )
    assert attempts == ["openai/clip-vit-large-patch14"]  # asked once, not again and again
    assert "snapshot_download('a/b', revision='v2', allow_patterns=['*.json'" in refused("a/b", "v2", **TEXT)


def test_the_command_that_is_told_is_one_that_runs(cache, attempts, monkeypatch):
    """A person pastes it: what a shell hands to python must be a call of the hub's client."""
    import shlex

    command = re.search(r"python -c \".*?\"", refused("a/b", "v2", **IMAGES))[0]
    called = {}
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda model, **more: called.update(more, model=model))
    exec(shlex.split(command)[2], {})
    patterns = ["*.json", "*.txt", "*.model", "model*.safetensors"]
    assert called == {"model": "a/b", "revision": "v2", "allow_patterns": patterns}


def test_with_hub_access_off_the_hub_is_not_asked(cache, attempts, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    text = refused("google/mt5-large", **TEXT)
    assert re.search(r"is not in the cache .*, and HF_HUB_OFFLINE forbids downloads; fetch it once where", text)
    assert not attempts


def test_with_hub_access_off_what_the_cache_lacks_is_named(cache, attempts, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cache("someone/blip2", *(name for name in WHOLE if name != "model.safetensors"))
    text = refused("someone/blip2", **IMAGES)
    assert re.search(r"its copy in the cache .* has no weights \(model.safetensors\), and HF_HUB_OFFLINE forbids", text)
    assert not attempts


# --- the hub ----------------------------------------------------------------------------------------------------------


def test_the_hub_is_asked_for_what_the_cache_does_not_have(cache, repository):
    asked = repository(*WHOLE, "model.fp16.msgpack", "onnx/model.json", "README.md")
    folder = hub.locate("a/b", "main", **IMAGES)
    assert folder.name == "fetched"
    assert asked == [("a/b", "main", list(WHOLE))]


def test_a_copy_in_the_cache_that_is_not_whole_is_completed(cache, repository):
    cache("a/b", *(name for name in WHOLE if name != "tokenizer.json"))
    asked = repository(*WHOLE)
    assert hub.locate("a/b", None, **TEXT).name == "fetched"
    assert len(asked) == 1


def test_of_several_kinds_of_weights_the_first_is_fetched(cache, repository):
    settings = ["config.json", "tokenizer.json"]
    asked = repository(*settings, "model.safetensors", "pytorch_model.bin", "tf_model.h5")
    hub.locate("a/b", None, **TEXT)
    assert asked.pop()[2] == [*settings, "model.safetensors"]
    shutil.rmtree(hub.locate("a/b", None, **TEXT))
    asked = repository(*settings, "pytorch_model.bin", "tf_model.h5")
    hub.locate("a/b", None, **TEXT)
    assert asked[-1][2] == [*settings, "pytorch_model.bin"]
    asked = repository(*settings, "model.safetensors.index.json", *SHARDS, "pytorch_model.bin")
    hub.locate("a/b", None, **TEXT)
    assert asked[-1][2] == [*settings, "model.safetensors.index.json", *SHARDS]


def test_a_repository_without_what_is_needed_is_told_so(cache, repository):
    repository("config.json", "tokenizer.json", "processor_config.json", "pytorch_model.bin")
    assert refused("a/b", **IMAGES) == (
        "captioner a/b: its repository on the hub has no weights (model.safetensors); choose another model"
    )
