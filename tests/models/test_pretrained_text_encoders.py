"""The loading code on tiny random models of every family, written by save_pretrained, with real tokenizers."""

import functools
import json
import logging
import shutil
import struct

import huggingface_hub
import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from tiny_language_models import LETTERS, MAKERS, WORDS

from scripts import embed_text
from vecaf import artifacts
from vecaf.errors import ArtifactError, ConfigError, DataError
from vecaf.models import text_encoders
from vecaf.models.text_encoders import loading, pretrained

# family → its class in transformers, the half of it that reads text, how it is pooled and its limit in tokens.
FAMILIES = {
    "clip": (transformers.CLIPModel, "text_model", "projected_eos", 77),
    "clip_new": (transformers.CLIPModel, "text_model", "projected_eos", 77),
    "bert": (transformers.BertModel, None, "cls", 512),
    "mt5": (transformers.MT5EncoderModel, None, "mean", 512),
    "gpt2": (transformers.GPT2Model, None, "last", 1024),
    "distilbert": (transformers.DistilBertModel, None, "cls", 512),
    "roberta": (transformers.RobertaModel, None, "cls", 40),
    "bart": (transformers.BartModel, "encoder", "mean", 1024),
}
CAPTIONS = [
    "a red cat",
    "a picture of a dog on the bright red sea",
    "dog",
    "the bright sea of a picture of the sea on the bright sea of the red picture",
    "a dog on a cat on a dog on a cat",
    "cat",
]


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """Return the folder of a family's tiny model, made once."""

    @functools.cache
    def make(family):
        MAKERS[family](folder := tmp_path_factory.mktemp(family))
        return folder

    return make


def build(folder, **params):
    return text_encoders.build({"kind": "transformers", "model": str(folder), "prompt": None, "seed": 0, **params})


def copy_of(folder, target, *without, **config):
    """Copy a saved model, without some of its files and with changes to its configuration."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns(*without))
    settings = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(settings | config))
    return target


def reference(family, folder, captions, pooling=None, limit=None):
    """The embeddings by transformers alone, written out for each family: one caption at a time, and no padding."""
    cls, half, usual, longest = FAMILIES[family]
    model, tokenizer = cls.from_pretrained(folder).eval(), transformers.AutoTokenizer.from_pretrained(folder)
    return np.stack([_one(model, half, tokenizer(c, truncation=True, max_length=limit or longest), pooling or usual)
                     for c in captions])  # fmt: skip


@torch.no_grad()
def _one(model, half, tokens, pooling):
    ids = torch.tensor([tokens["input_ids"]])
    hidden = (getattr(model, half) if half else model)(input_ids=ids).last_hidden_state[0]
    if pooling == "projected_eos":
        end = int((ids[0] == ids.max()).nonzero()[0])  # the end of text has the highest id
        return model.text_projection(hidden[end]).numpy()
    return {"cls": hidden[0], "last": hidden[-1], "mean": hidden.mean(dim=0)}[pooling].numpy()


# --- what an encoder computes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_is_what_transformers_says_of_each_caption_alone(saved, family):
    expected = reference(family, saved(family), CAPTIONS)
    for batch_size in (1, 4, 64):
        encoder = build(saved(family), batch_size=batch_size)
        text = encoder.encode(CAPTIONS)
        assert np.abs(text - expected).max() < 1e-5
    assert encoder.loaded.pooling == FAMILIES[family][2]
    assert text.dtype == np.float32
    assert text.shape == (len(CAPTIONS), encoder.width)
    assert encoder.width == (12 if "clip" in family else 16)
    apart = np.linalg.norm(text[:, None] - text[None], axis=2)[np.triu_indices(len(text), 1)]
    assert apart.min() > 1e-2  # captions differ by more than any tolerance here


@pytest.mark.parametrize(("family", "pooling"), [("bert", "mean"), ("bert", "last"), ("mt5", "last"), ("gpt2", "mean"),
                                                 ("roberta", "mean"), ("distilbert", "last")])  # fmt: skip
def test_every_pooling_is_over_the_tokens_of_the_caption(saved, family, pooling):
    text = build(saved(family), pooling=pooling).encode(CAPTIONS)
    assert np.abs(text - reference(family, saved(family), CAPTIONS, pooling)).max() < 1e-5


def test_clip_without_its_projection(saved):
    encoder = build(saved("clip"), pooling="last")
    assert encoder.width == 16
    model = transformers.CLIPModel.from_pretrained(saved("clip"))
    projected = encoder.encode(CAPTIONS) @ model.text_projection.weight.detach().numpy().T
    assert np.abs(projected - build(saved("clip")).encode(CAPTIONS)).max() < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_long_captions_are_cut_where_the_model_ends_and_counted(saved, family, caplog):
    long = " ".join(WORDS * 200)
    limit = FAMILIES[family][3]
    encoder = build(saved(family))
    with caplog.at_level(logging.WARNING, pretrained.__name__):
        text = encoder.encode(["a red cat", long, f"{long} and more", "dog"])
    assert encoder.loaded.max_length == limit
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [f"2 of 4 captions are longer than the {limit} tokens of {saved(family)} and were cut there"]
    assert encoder.facts()["truncated"] == 2
    # Also CLIP's: the end of text survives the cut, and the projection is that of its state.
    assert np.abs(text[1] - reference(family, saved(family), [long])[0]).max() < 1e-5
    assert np.abs(text[2] - text[1]).max() < 1e-5


@pytest.mark.parametrize("family", ["clip", "bert", "mt5", "gpt2"])
def test_a_shorter_limit_of_ones_own(saved, family, caplog):
    text = build(saved(family), max_length=6).encode(CAPTIONS)
    assert np.abs(text - reference(family, saved(family), CAPTIONS, limit=6)).max() < 1e-5
    exactly = transformers.AutoTokenizer.from_pretrained(saved(family))("a red cat")["input_ids"]
    caplog.clear()
    fits = max(3, len(exactly))  # three is the shortest limit that is accepted
    build(saved(family), max_length=fits).encode(["a red cat"])
    assert not caplog.records  # a caption that just fits is not cut


def test_encoders_are_frozen_in_float32_even_if_they_were_saved_in_float16(saved, tmp_path):
    half = copy_of(saved("bert"), tmp_path / "half")
    transformers.BertForMaskedLM.from_pretrained(saved("bert")).half().save_pretrained(half)
    model = build(half).loaded.model
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(module.training for module in model.modules())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_only_the_text_half_and_the_encoder_half_are_loaded(saved):
    # Not the whole of it with half thrown away: the decoder of mT5-L would double the memory.
    assert type(build(saved("mt5")).loaded.model) is transformers.MT5EncoderModel
    for family in ("clip", "mt5", "bart", "gpt2", "bert"):
        names = [name for name, _ in build(saved(family)).loaded.model.named_parameters()]
        assert names
        assert not [name for name in names if any(part in name for part in ("decoder", "vision", "lm_head", "cls."))]


# --- streaming ------------------------------------------------------------------------------------------------------


def test_a_large_pool_is_read_in_windows_and_written_in_place(saved, tmp_path, monkeypatch):
    """Extra memory is that of one window's tokens and one batch, whatever N: nothing larger is ever asked for."""
    rng = np.random.default_rng(0)
    captions = [" ".join(rng.choice(WORDS, rng.integers(1, 5))) for _ in range(5000)]
    encoder = build(saved("bert"), batch_size=16)
    asked, widest = {"texts": [], "rows": []}, []
    tokenize, embed = encoder._tokenize, encoder._embed

    def counted_tokenize(texts, start=0):
        asked["texts"].append(len(texts))
        return tokenize(texts, start)

    def counted_embed(tokens, device):
        asked["rows"].append(len(tokens))
        widest.append(max(map(len, tokens)) - min(map(len, tokens)))
        return embed(tokens, device)

    monkeypatch.setattr(encoder, "_tokenize", counted_tokenize)
    monkeypatch.setattr(encoder, "_embed", counted_embed)
    with artifacts.array_writer(tmp_path / "t.npy", (5000, 16), "float32") as out:
        assert encoder.encode(captions, out=out) is out
    assert max(asked["rows"]) == 16
    assert max(asked["texts"]) == 16 * pretrained.WINDOW
    assert np.mean(widest) < 1  # sorted by length: next to no padding
    written = artifacts.read_array(tmp_path / "t.npy")
    sample = [0, 511, 512, 2500, 4999]
    assert np.abs(written[sample] - build(saved("bert")).encode([captions[row] for row in sample])).max() < 1e-5


def test_no_captions_are_no_rows(saved):
    assert build(saved("bert")).encode([]).shape == (0, 16)


def test_embeddings_that_are_not_finite_and_captions_without_tokens_are_named(saved, tmp_path):
    copy_of(saved("gpt2"), tmp_path / "broken", "model.safetensors")
    weights = artifacts.read_weights(saved("gpt2") / "model.safetensors")
    weights["transformer.wte.weight"][ord("q") - ord("!")] = float("nan")  # the row of the letter q
    artifacts.write_weights(tmp_path / "broken" / "model.safetensors", weights, None)
    with pytest.raises(DataError, match="non-finite embedding for id 1: 'quick'"):
        build(tmp_path / "broken").encode(["a cat", "quick", "queen"])
    with pytest.raises(DataError, match="the caption of id 1 has no words"):
        build(saved("gpt2")).encode(["a cat", ""])


def embed(folder, model, captions, device="cpu", **params):
    """Run the command; it writes text.npy and text.json."""
    artifacts.write_table(folder / "captions.parquet", pd.DataFrame({"id": range(len(captions)), "caption": captions}))
    told = json.dumps({"kind": "transformers", "model": str(model), "prompt": None, "seed": 0, **params})
    files = {"captions": "captions.parquet", "out": "text.npy", "record": "text.json"}
    paths = [part for name, file in files.items() for part in (f"--{name}", str(folder / file))]
    return embed_text.main([*paths, "--params", told, "--device", device])


@pytest.mark.parametrize("family", ["clip", "mt5", "gpt2"])
def test_the_command_from_captions_to_embeddings(saved, tmp_path, family):
    said = embed(tmp_path, saved(family), CAPTIONS, prompt="on the sea", batch_size=2)
    text, record = artifacts.read_array(tmp_path / "text.npy"), artifacts.read_json(tmp_path / "text.json")
    prompted = build(saved(family)).encode([f"{caption} on the sea" for caption in CAPTIONS])
    assert said == f"6 captions embedded, width {text.shape[1]}"
    assert text.dtype == np.float32
    assert np.abs(text - prompted).max() < 1e-5
    assert (record["rows"], record["width"]) == text.shape
    assert record["text_hash"] == artifacts.file_hash(tmp_path / "text.npy")
    weights = artifacts.file_hash(saved(family) / "model.safetensors")
    assert record["encoder"]["weights"] == {"model.safetensors": weights}
    assert record["encoder"]["pooling"] == FAMILIES[family][2]


def test_the_device_of_the_command_reaches_the_encoder(saved, tmp_path, monkeypatch):
    seen = []

    def batches(self, captions, device="cpu"):
        seen.append(device)
        yield np.arange(len(captions)), np.zeros((len(captions), self.width), np.float32)

    monkeypatch.setattr(pretrained.Pretrained, "batches", batches)
    monkeypatch.setattr(embed_text.command, "torch_device", lambda name: f"device of {name}")
    embed(tmp_path, saved("bert"), ["a cat"], device="cuda")
    assert seen == ["device of cuda"]


@pytest.mark.parametrize("family", ["clip", "bert", "gpt2", "mt5"])
def test_float16_is_for_gpus_and_never_for_t5(saved, family):
    assert not build(saved(family))._half("cpu")
    assert build(saved(family))._half("cuda") == (family != "mt5")
    assert not build(saved(family), precision="float32")._half("cuda")
    with pytest.raises(ConfigError, match="overflow in float16" if family == "mt5" else "float16 needs a GPU"):
        build(saved(family), precision="float16").encode(CAPTIONS)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("family", FAMILIES)
def test_on_a_gpu(saved, family):
    text = build(saved(family)).encode(CAPTIONS)
    assert np.abs(build(saved(family), precision="float32").encode(CAPTIONS, device="cuda") - text).max() < 1e-4
    half = build(saved(family)).encode(CAPTIONS, device="cuda")
    assert half.dtype == np.float32
    assert np.abs(half - text).max() < 2e-2 * np.abs(text).max()


# --- what is said when it cannot work -------------------------------------------------------------------------------


def test_a_model_of_the_hub_comes_from_the_cache_by_its_revision(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    home = tmp_path / "models--someone--tiny"
    for family, commit, ref in (("gpt2", "0123abc", "main"), ("bert", "4567def", "v2")):
        shutil.copytree(saved(family), home / "snapshots" / commit)
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / ref).write_text(commit)
    encoder = build("someone/tiny")
    assert np.array_equal(encoder.encode(CAPTIONS), build(saved("gpt2")).encode(CAPTIONS))
    assert encoder.facts()["commit"] == "0123abc"
    other = build("someone/tiny", revision="v2")
    assert np.array_equal(other.encode(CAPTIONS), build(saved("bert")).encode(CAPTIONS))
    with pytest.raises(ArtifactError, match=r"the text encoder someone/none cannot be loaded: .*; fetch it once where"):
        build("someone/none").encode(CAPTIONS)


def test_unknown_architectures_and_foreign_code_are_refused(saved, tmp_path):
    unknown = copy_of(saved("bert"), tmp_path / "unknown", model_type="telepathy")
    with pytest.raises(ConfigError, match=r"transformers [\d.]+ does not know its architecture.*telepathy"):
        build(unknown).encode(CAPTIONS)
    mine = {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}
    foreign = copy_of(saved("bert"), tmp_path / "foreign", model_type="mine", auto_map=mine)
    (foreign / "mine.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ConfigError, match="code of its own, which is never run"):
        build(foreign).encode(CAPTIONS)


def test_a_model_of_images_is_refused(saved, tmp_path):
    folder = copy_of(saved("bert"), tmp_path / "vit", "model.safetensors")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=8, patch_size=4
    )
    transformers.ViTModel(config).save_pretrained(folder)
    with pytest.raises(ConfigError, match="a model of type vit does not embed text alone"):
        build(folder).encode(CAPTIONS)


def test_weights_that_would_be_random_are_refused(saved, tmp_path):
    short = copy_of(saved("bert"), tmp_path / "short", num_hidden_layers=3)
    with pytest.raises(ArtifactError, match=r"lacks \d+ tensors of a BertModel \(the first is .*layer\.2"):
        build(short).encode(CAPTIONS)
    narrow = copy_of(saved("bert"), tmp_path / "narrow", hidden_size=32)
    with pytest.raises(ArtifactError, match="cannot be loaded as bert"):
        build(narrow).encode(CAPTIONS)
    broken = copy_of(saved("bert"), tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ArtifactError, match="cannot be loaded as bert"):
        build(broken).encode(CAPTIONS)
    plain = copy_of(saved("clip"), tmp_path / "plain", "model.safetensors")
    transformers.CLIPTextModel.from_pretrained(saved("clip")).save_pretrained(plain)
    with pytest.raises(ArtifactError, match=r"text_projection.*or change `pooling`"):
        build(plain).encode(CAPTIONS)
    assert np.abs(build(plain, pooling="last").encode(CAPTIONS) - build(saved("clip"), pooling="last").encode(CAPTIONS)
                  ).max() < 1e-6  # fmt: skip


def test_parameters_that_a_model_cannot_have(saved):
    for params, said in (
        ({"pooling": "projected_eos"}, "projected_eos needs a CLIP model, this is of type bert"),
        ({"max_length": 513}, "max_length 513 must be between 3 and 512 tokens"),
        ({"max_length": 2}, "max_length: "),
        ({"pooling": "eos"}, "pooling: "),
        ({"batch_size": 0}, "batch_size: "),
        ({"trust_remote_code": True}, "trust_remote_code: Extra inputs"),
    ):
        with pytest.raises(ConfigError, match=said):
            build(saved("bert"), **params).encode(CAPTIONS)
    with pytest.raises(ConfigError, match="no CLS token"):
        build(saved("gpt2"), pooling="cls").encode(CAPTIONS)


# --- SentencePiece --------------------------------------------------------------------------------------------------


def sentencepiece_model():
    """A SentencePiece model of a few words as its protocol buffer, written by hand; mT5 is released as such a file."""

    def field(number, wire, payload):
        return varint(number << 3 | wire) + payload

    def varint(number):
        return (bytes([number & 127 | 128]) + varint(number >> 7)) if number > 127 else bytes([number])

    def message(number, body):
        return field(number, 2, varint(len(body)) + body)

    def piece(text, score, kind):
        return message(1, message(1, text.encode()) + field(2, 5, struct.pack("<f", score)) + field(3, 0, varint(kind)))

    pieces = [piece("<pad>", 0, 3), piece("</s>", 0, 3), piece("<unk>", 0, 2), piece("▁", -3, 1)]
    pieces += [piece(f"▁{word}", -2 - number / 10, 1) for number, word in enumerate(WORDS)]
    pieces += [piece(letter, -9, 1) for letter in LETTERS[1:]]
    trainer = b"".join(field(number, 0, varint(value)) for number, value in ((3, 1), (40, 2), (41, 0), (42, 1)))
    return b"".join(pieces) + message(2, trainer) + message(3, message(1, b"identity"))


@pytest.fixture
def released_mt5(saved, tmp_path):
    folder = copy_of(saved("mt5"), tmp_path / "mt5", "tokenizer.json")
    (folder / "spiece.model").write_bytes(sentencepiece_model())
    return folder


def test_mt5_as_it_is_released_with_a_sentencepiece_file(released_mt5, saved):
    assert np.abs(build(released_mt5).encode(CAPTIONS) - build(saved("mt5")).encode(CAPTIONS)).max() < 1e-5


def test_without_sentencepiece_the_packages_are_named(released_mt5, monkeypatch):
    monkeypatch.setattr(loading, "_importable", lambda package: False)
    with pytest.raises(ConfigError, match="python -m pip install sentencepiece protobuf"):
        build(released_mt5).encode(CAPTIONS)
