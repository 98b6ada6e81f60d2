"""Text encoders and captioners counted from configurations: closed forms, published sizes, torch's own counter."""

import json

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from vecaf.errors import ArtifactError, ConfigError
from vecaf.flops import captioners, configurations, papers_arithmetic, text_encoders
from vecaf.flops.closed_form import transformer_macs, vit_macs
from vecaf.models.text_encoders import loading

CLIP, BLIP2 = "openai/clip-vit-large-patch14", "Salesforce/blip2-opt-2.7b"
# Parameters of the text tower, the encoder or the whole model, in millions, from the models' cards and papers.
PUBLISHED = {
    CLIP: 123.65,
    "google-bert/bert-large-uncased": 335.1,
    "google/mt5-large": 564.4,
    "openai-community/gpt2-large": 774.0,
}


@pytest.fixture(autouse=True)
def nothing_cached(monkeypatch, tmp_path):
    """Neither the hub nor what this machine may have of it: what is counted here is counted everywhere."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path / "none"), raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def config_folder(folder, config):
    folder.mkdir(exist_ok=True)
    config.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("model", PUBLISHED)
def test_stated_configurations_have_the_published_sizes(model):
    config, source = configurations.find(model, None, "text encoder")
    built = loading.skeleton(config)
    size = sum(parameter.numel() for parameter in built.parameters()) / 1e6
    assert size == pytest.approx(PUBLISHED[model], rel=1e-3)
    assert source == "as stated in vecaf/flops/configurations.py"


def test_the_paper_s_encoder_has_a_text_tower_of_its_closed_form():
    """6.65 G MACs over all 77 positions, 0.38 times DeiT-B; the paper counts the image tower, 29 times more."""
    found = text_encoders.profile({"kind": "transformers", "model": CLIP}, tokens=77)
    assert found["macs"] == papers_arithmetic.TEXT_TOWER == pytest.approx(6.65e9, rel=1e-3)
    assert (found["width"], found["tokens"]) == (768, 77)
    assert pytest.approx(190.96e9, rel=1e-4) == papers_arithmetic.IMAGE_TOWER
    assert papers_arithmetic.IMAGE_TOWER / vit_macs(768, 12, 16, 224) == pytest.approx(10.9, abs=0.05)


@pytest.mark.parametrize(
    ("config", "block"),
    [
        (transformers.BertConfig(hidden_size=32, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4), 3),
        (transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4), 2),
    ],
)
def test_a_model_in_a_folder_is_counted_by_its_own_configuration(tmp_path, config, block):
    folder = config_folder(tmp_path / "model", config)
    found = text_encoders.profile({"kind": "transformers", "model": folder})
    tokens = text_encoders.CAPTION_TOKENS
    assert found["macs"] == transformer_macs(32, block, tokens)
    assert found["source"] == f"{folder}, the model's folder"
    assert found["width"] == 32


def test_an_encoder_decoder_is_counted_without_its_decoder(tmp_path):
    config = transformers.MT5Config(
        d_model=16, d_kv=4, d_ff=24, num_layers=2, num_decoder_layers=7, num_heads=3, vocab_size=50
    )
    found = text_encoders.profile({"kind": "transformers", "model": config_folder(tmp_path / "t5", config)}, tokens=10)
    inner = 3 * 4
    assert found["macs"] == 2 * (10 * (4 * 16 * inner + 3 * 16 * 24) + 2 * 10**2 * inner)


def test_what_has_no_network_costs_nothing_and_what_is_unknown_is_not_zero():
    assert text_encoders.profile({"kind": "tfidf", "width": 12})["macs"] == 0
    assert text_encoders.profile({"kind": "tfidf", "width": 12})["width"] == 12
    assert captioners.profile({"kind": "attributes"})["macs"] == 0
    assert captioners.profile({"kind": "llava"})["macs"] is None
    assert text_encoders.profile({"kind": "word2vec"})["macs"] is None


def test_a_model_without_a_configuration_is_refused_with_the_command_that_fetches_it():
    with pytest.raises(ArtifactError, match="the architecture of the text encoder some/model is unknown here: fetch"):
        text_encoders.profile({"kind": "transformers", "model": "some/model", "revision": "abc"})
    with pytest.raises(ArtifactError, match="no such folder"):
        configurations.find("/no/such/folder", None, "captioner")


def test_an_architecture_that_transformers_does_not_know_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "tomorrow"}))
    with pytest.raises(ConfigError, match="cannot tell its architecture"):
        configurations.find(str(tmp_path), None, "captioner")


def tiny_blip2(language):
    width = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
    vision = transformers.Blip2VisionConfig(**width, intermediate_size=64, image_size=16, patch_size=4)
    former = transformers.Blip2QFormerConfig(**width, intermediate_size=64, encoder_hidden_size=32)
    return transformers.Blip2Config(
        vision_config=vision.to_dict(),
        qformer_config=former.to_dict(),
        text_config=language.to_dict(),
        num_query_tokens=4,
    )


OPT = transformers.OPTConfig(
    hidden_size=64, num_attention_heads=2, num_hidden_layers=2, ffn_dim=128, word_embed_proj_dim=64, vocab_size=90
)
T5 = transformers.T5Config(
    d_model=24,
    d_kv=6,
    d_ff=48,
    num_layers=2,
    num_decoder_layers=2,
    num_heads=4,
    vocab_size=70,
    decoder_start_token_id=0,
)


def by_torch(run):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("language", [OPT, T5], ids=["decoder", "encoder-decoder"])
def test_a_small_blip2_costs_what_torch_counts_when_it_captions(tmp_path, language):
    """Images through tower and Q-Former exactly; generation but for the upper triangle of attention."""
    config, generated = tiny_blip2(language), 9
    folder = config_folder(tmp_path / "blip2", config)
    spec = {"kind": "blip2", "model": folder, "revision": None, "max_new_tokens": generated}
    parts = captioners.profile(spec)["parts"]

    model = transformers.Blip2ForConditionalGeneration._from_config(config, attn_implementation="eager").eval()
    image, asked = torch.zeros(1, 3, 16, 16), torch.zeros(1, 4, 32)
    assert parts["vision"] == by_torch(lambda: model.vision_model(pixel_values=image))
    seen = torch.zeros(1, 17, 32)
    assert parts["q_former"] == by_torch(lambda: model.qformer(query_embeds=asked, encoder_hidden_states=seen))
    assert parts["projection"] == 4 * 32 * model.language_projection.out_features
    given = torch.zeros(1, 5, model.language_projection.out_features)
    length = {"max_new_tokens": generated, "min_new_tokens": generated, "do_sample": False}
    spoken = by_torch(
        lambda: model.language_model.generate(
            inputs_embeds=given, attention_mask=torch.ones(1, 5, dtype=torch.long), **length
        )
    )
    assert parts["language"] == pytest.approx(spoken, rel=0.06)


def test_a_longer_prompt_and_a_longer_caption_cost_more(tmp_path):
    folder = config_folder(tmp_path / "blip2", tiny_blip2(OPT))
    spec = {"kind": "blip2", "model": folder, "revision": None, "max_new_tokens": 9}
    plain, asked = captioners.profile(spec), captioners.profile(spec | {"class_keyword": True})
    longer = captioners.profile(spec | {"max_new_tokens": 12})
    assert plain["macs"] < longer["macs"] < asked["macs"]  # 3 tokens more, and the 18 of the released code's prompt
    assert plain["parts"]["vision"] == asked["parts"]["vision"]
    assert plain["macs"] == sum(plain["parts"].values())


def test_the_captioner_of_the_paper_has_its_published_size():
    config, _ = configurations.find(BLIP2, None, "captioner")
    with torch.device("meta"):
        model = transformers.Blip2ForConditionalGeneration._from_config(config)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e9 == pytest.approx(3.745, abs=0.001)
