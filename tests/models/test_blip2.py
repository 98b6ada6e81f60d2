"""BLIP-2 through transformers, with a tiny random model that the real loading code reads from a folder."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from scripts import caption
from vecaf import artifacts
from vecaf.errors import ArtifactError, ConfigError, DataError
from vecaf.models import captioners
from vecaf.models.captioners import blip2

transformers = pytest.importorskip("transformers")

CPU = torch.device("cpu")
PROMPT = "Please describe the image within one sentence . The description must contain the keyword"
OTHERS = "a photo of cat dog kit fox red green blue bird tree house small large two on in near water sky grass road"
WORDS = list(dict.fromkeys(f"{PROMPT} {OTHERS}".split()))
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<image>"]


def tokenizer():
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )  # fmt: skip


def save(folder):
    """Write a tiny random BLIP-2, with weights so large that images differ in what is said of them."""
    width = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}
    vision = transformers.Blip2VisionConfig(**width, intermediate_size=32, image_size=16, patch_size=8)
    former = transformers.Blip2QFormerConfig(**width, intermediate_size=32, vocab_size=40)
    text = transformers.OPTConfig(
        **width, ffn_dim=32, word_embed_proj_dim=32, vocab_size=len(SPECIAL) + len(WORDS), max_position_embeddings=128,
        bos_token_id=0, pad_token_id=1, eos_token_id=2, tie_word_embeddings=False,
    )  # fmt: skip
    config = transformers.Blip2Config(
        vision_config=vision.to_dict(), qformer_config=former.to_dict(), text_config=text.to_dict(),
        num_query_tokens=4, image_token_index=SPECIAL.index("<image>"),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = transformers.Blip2ForConditionalGeneration(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.7)
    model.save_pretrained(folder)
    processor = transformers.BlipImageProcessor(size={"height": 16, "width": 16})
    transformers.Blip2Processor(processor, tokenizer(), num_query_tokens=4).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("blip2"))


def ready(folder, **params):
    params.setdefault("max_new_tokens", 8)
    captioner = captioners.build({"kind": "blip2", "model": str(folder), "revision": None, **params})
    captioner.prepare([], [], CPU)
    return captioner


def images(count, side=16):
    """Return noise around a colour each, of different sizes."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 200, (count, 3, 1, 1), dtype=np.uint8)
    return [
        torch.from_numpy(colour + rng.integers(0, 55, (3, side + 3 * number, side + number), dtype=np.uint8))
        for number, colour in enumerate(colours)
    ]


CLASSES = ("cat", "dog", "n02119789")


def said(captioner, pictures, labels=None):
    labels = np.zeros(len(pictures), dtype=np.int64) if labels is None else np.asarray(labels)
    return captioner.caption(pictures, labels, CLASSES, np.arange(len(pictures)))


def by_transformers(folder, picture, prompt=None):
    """Return what transformers' own classes say of one image."""
    processor = transformers.Blip2Processor.from_pretrained(folder)
    model = transformers.Blip2ForConditionalGeneration.from_pretrained(folder).eval()
    inputs = processor(images=[picture], text=prompt, return_tensors="pt")
    tokens = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0]
    given = 5 if prompt is None else inputs["input_ids"].shape[1]
    return " ".join(processor.decode(tokens[given:], skip_special_tokens=True).split())


# --- what is said -----------------------------------------------------------------------------------------------------


def test_captions_are_those_of_transformers_for_single_images(folder):
    pictures = images(6)
    found = said(ready(folder), pictures)
    assert found == [by_transformers(folder, picture) for picture in pictures]
    assert len(set(found)) > 2
    assert all(text and text == " ".join(text.split()) for text in found)


@pytest.mark.parametrize("params", [{}, {"class_keyword": True}, {"prompt": "a photo of"}])
def test_the_batch_size_does_not_matter(folder, params):
    pictures, labels = images(7), [0, 1, 2, 0, 2, 1, 0]
    whole = said(ready(folder, batch_size=7, **params), pictures, labels)
    assert whole == said(ready(folder, batch_size=3, **params), pictures, labels)
    assert whole == [
        said(ready(folder, **params), [one], [label])[0] for one, label in zip(pictures, labels, strict=True)
    ]


def test_a_stack_and_a_list_are_the_same(folder):
    stack = torch.stack([picture[:, :16, :16] for picture in images(4)])
    captioner = ready(folder)
    assert said(captioner, stack) == said(captioner, list(stack))


def test_captions_are_deterministic_and_the_model_is_frozen(folder):
    captioner = ready(folder)
    before = {name: tensor.clone() for name, tensor in captioner._model.state_dict().items()}
    first = said(captioner, images(4))
    torch.manual_seed(99)
    assert first == said(captioner, images(4)) == said(ready(folder), images(4))
    assert not captioner._model.training
    assert not any(parameter.requires_grad for parameter in captioner._model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in captioner._model.state_dict().items())


def test_labels_do_not_reach_captions_by_default(folder):
    captioner, pictures = ready(folder), images(5)
    assert said(captioner, pictures, [0] * 5) == said(captioner, pictures, [1, 2, 0, 1, 2])
    assert captioner._prompts(np.array([0, 1]), CLASSES) is None


def told(captioner, labels, monkeypatch):
    """Return the prompts that the model itself is given, in words."""
    generate, seen = captioner._model.generate, []

    def watched(**inputs):
        seen.extend(captioner._processor.tokenizer.batch_decode(inputs["input_ids"], skip_special_tokens=True))
        return generate(**inputs)

    monkeypatch.setattr(captioner._model, "generate", watched)
    said(captioner, images(len(labels)), labels)
    return seen


def test_the_class_keyword_reaches_the_model_in_words(folder, monkeypatch):
    seen = told(ready(folder, class_keyword=True), [1, 2], monkeypatch)
    assert seen == [f"{PROMPT} dog .", f"{PROMPT} kit fox ."]
    assert "leaks the label" in blip2.Params.model_fields["class_keyword"].description


def test_a_prompt_is_continued_and_not_repeated(folder, monkeypatch):
    picture = images(1)
    assert said(ready(folder, prompt="a photo of"), picture) == [by_transformers(folder, picture[0], "a photo of")]
    assert told(ready(folder, prompt="a photo of"), [2], monkeypatch) == ["a photo of"]


def test_two_prompts_are_refused(folder):
    with pytest.raises(ConfigError, match="class_keyword is a prompt of its own"):
        captioners.build({"kind": "blip2", "prompt": "a photo of", "class_keyword": True})


def test_silence_is_asked_once_more_and_then_named(folder, monkeypatch):
    captioner, pictures, asked = ready(folder), images(3), []

    def silent(images, prompts, **more):
        asked.append((len(images), more))
        return ["a cat", "", "a dog"] if not more else answers

    monkeypatch.setattr(captioner, "_generate", silent)
    answers = ["a bird"]
    assert said(captioner, pictures) == ["a cat", "a bird", "a dog"]
    assert asked == [(3, {}), (1, {"min_new_tokens": 5})]
    answers = [""]
    with pytest.raises(DataError, match="no words for image id 1: give the captioner another"):
        said(captioner, pictures)


def test_the_second_try_is_one_that_transformers_obeys(folder, monkeypatch):
    """A model that ends at once is made to go on."""
    captioner = ready(folder)
    head = captioner._model.language_model.lm_head
    monkeypatch.setattr(head, "forward", lambda hidden: _ending(hidden @ head.weight.T))
    assert captioner._generate(images(2), None) == ["", ""]
    assert all(len(text.split()) == 5 for text in said(captioner, images(2)))


def _ending(logits):
    """Return logits of which the end of the text is the largest."""
    return logits.index_fill(-1, torch.tensor([SPECIAL.index("</s>")]), 1e4)


def test_half_precision_runs_where_a_gpu_would_use_it(folder):
    """float16 in vision and language model, float32 in the Q-Former, as transformers keeps it."""
    captioner = ready(folder)
    model = transformers.Blip2ForConditionalGeneration.from_pretrained(folder, dtype=torch.float16).eval()
    assert next(model.qformer.parameters()).dtype == torch.float32
    captioner._model = model
    assert all(said(captioner, images(2)))


# --- where the weights come from --------------------------------------------------------------------------------------


def test_the_weights_are_told_by_their_content(folder, tmp_path):
    def facts(model):
        return captioners.build({"kind": "blip2", "model": str(model)}).prepare([], [], CPU)

    copy = shutil.copytree(folder, tmp_path / "copy")
    assert facts(copy) == facts(folder)
    assert facts(folder)["dtype"] == "float32"
    assert str(folder) not in json.dumps(facts(folder))
    weights = transformers.Blip2ForConditionalGeneration.from_pretrained(copy)
    torch.nn.init.zeros_(weights.query_tokens)
    weights.save_pretrained(copy)
    assert facts(copy)["weights_hash"] != facts(folder)["weights_hash"]


def test_a_model_of_the_hub_is_told_by_its_commit(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    home = tmp_path / "models--a--b"
    shutil.copytree(folder, home / "snapshots" / "0123abc")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("0123abc")
    captioner = captioners.build({"kind": "blip2", "model": "a/b", "revision": "main"})
    facts = captioner.prepare([], [], CPU)
    assert facts["commit"] == "0123abc"
    assert "weights_hash" not in facts
    assert said(captioner, images(1)) == said(ready(folder, max_new_tokens=30), images(1))


def test_weights_that_cannot_be_had_are_one_sentence_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ArtifactError) as caught:
        captioners.build({"kind": "blip2", "model": "nobody/no-such-blip2", "revision": "abc"}).prepare([], [], CPU)
    text = str(caught.value)
    assert "\n" not in text
    assert "the captioner nobody/no-such-blip2 cannot be loaded: it is not in the cache" in text
    command = "snapshot_download('nobody/no-such-blip2', revision='abc', allow_patterns=['*.json', '*.txt', '*.model', "
    assert f"{command}'model*.safetensors'])" in text


def test_folders_that_hold_no_whole_blip2_have_their_own_sentences(folder, tmp_path):
    def problem(model):
        with pytest.raises(ArtifactError) as caught:
            captioners.build({"kind": "blip2", "model": str(model)}).prepare([], [], CPU)
        return str(caught.value)

    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "processor_config.json").unlink()
    assert "the folder has no image processor (processor_config.json); write" in problem(copy)
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "config.json").write_text("{}")
    assert "holds no BLIP-2 model that transformers can load" in problem(other)
    weights = artifacts.read_weights(folder / "model.safetensors")
    weights.pop("query_tokens")
    shutil.copy(folder / "config.json", other)
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    assert problem(other) == f"{other} lacks 1 tensors of a BLIP-2 model; the first is query_tokens"


def test_the_default_model_is_pinned():
    params = blip2.Params()
    assert params.model == "Salesforce/blip2-opt-2.7b"
    assert len(params.revision) == 40
    assert (params.prompt, params.class_keyword) == (None, False)


# --- the whole step ---------------------------------------------------------------------------------------------------


def test_the_step_captions_a_pool_from_its_folder(folder, tmp_path):
    shapes = [(3, 16, 16), (3, 20, 30), (3, 40, 16)]
    for number in range(12):
        pixels = images(12)[number][:, : shapes[number % 3][1], : shapes[number % 3][2]].permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(tmp_path / f"{number:02d}.png")
    index = pd.DataFrame({"id": [*range(10), 0, 1], "file": [f"{number:02d}.png" for number in range(12)]})
    index = index.assign(label=np.int16(1), split=["pool"] * 10 + ["test"] * 2, tuning=False)
    artifacts.write_table(tmp_path / "index.parquet", index)
    artifacts.write_array(tmp_path / "images.npy", np.zeros((0, 0, 0, 3), dtype=np.uint8))
    meta = {"pool_size": 10, "test_size": 2, "packed": False, "root": str(tmp_path), "dataset": "small"}
    artifacts.write_json(tmp_path / "pool.json", meta | {"classes": ["cat", "dog"]})
    files = [str(tmp_path / name) for name in ("index.parquet", "images.npy", "pool.json")]
    params = {"kind": "blip2", "model": str(folder), "max_new_tokens": 6, "seed": 1}
    told = ["--pool", *files, "--params", json.dumps(params), "--device", "cpu", "--batch-size", "4"]
    caption.main([*told, "--out", str(tmp_path / "c.parquet"), "--record", str(tmp_path / "c.json")])
    table, record = artifacts.read_table(tmp_path / "c.parquet"), artifacts.read_json(tmp_path / "c.json")
    decoded = [torch.from_numpy(np.array(Image.open(tmp_path / f"{n:02d}.png"))).permute(2, 0, 1) for n in range(10)]
    assert table["id"].tolist() == list(range(10))
    assert table["caption"].tolist() == said(ready(folder, max_new_tokens=6), decoded)
    assert set(record["facts"]) == {"weights_hash", "transformers", "dtype"}
    assert record["captions_hash"] == artifacts.file_hash(tmp_path / "c.parquet")
