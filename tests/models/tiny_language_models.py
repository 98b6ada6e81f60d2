"""Tiny random language models of every family, with real tokenizers, as save_pretrained and the hub lay them out."""

import functools
import json

import tokenizers
import torch
import transformers

WORDS = ["a", "red", "cat", "dog", "on", "the", "sea", "picture", "of", "bright"]
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]


def save(folder, model, **tokenizer_config):
    """Write a model whose weights are large enough for captions to differ, with the settings of its tokenizer."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))


def write_bpe(folder, tokens):
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")


def write_wordpiece(folder):
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(tokens)))


def make_clip(folder, width=16, layers=2, projection=12, eos=2):
    """The whole of CLIP; eos=2 is the configuration of OpenAI's checkpoints, whose end is found as the highest id."""
    tokens = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    write_bpe(folder, tokens)
    size = {"hidden_size": width, "intermediate_size": 32, "num_hidden_layers": layers, "num_attention_heads": 2}
    text = {**size, "vocab_size": len(tokens), "eos_token_id": eos, "bos_token_id": len(tokens) - 2, "pad_token_id": 1}
    if eos == 2:  # as OpenAI's; others give the width of the projection for the whole model only
        text["projection_dim"] = projection
    vision = {**size, "hidden_size": 16, "image_size": 8, "patch_size": 4}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=projection)
    model = transformers.CLIPModel(config)
    special = {"bos_token": "<|startoftext|>", **dict.fromkeys(("eos_token", "unk_token", "pad_token"), tokens[-1])}
    save(folder, model, tokenizer_class="CLIPTokenizer", model_max_length=77, **special)


def make_bert(folder, width=16, layers=2):
    write_wordpiece(folder)
    config = transformers.BertConfig(
        vocab_size=100, hidden_size=width, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32
    )
    # As the released checkpoints: with the head of a masked language model and without a pooler.
    save(folder, transformers.BertForMaskedLM(config), tokenizer_class="BertTokenizer", model_max_length=512)


def make_distilbert(folder):
    write_wordpiece(folder)
    config = transformers.DistilBertConfig(vocab_size=100, dim=16, n_layers=2, n_heads=2, hidden_dim=32)
    save(folder, transformers.DistilBertModel(config), tokenizer_class="DistilBertTokenizer")


def make_mt5(folder, width=16, layers=2):
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0)]
    pieces += [(f"▁{word}", -2.0 - number / 10) for number, word in enumerate(WORDS)]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram([*pieces, *((c, -9.0) for c in LETTERS[1:])], unk_id=2))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.enable_padding()  # some checkpoints are saved so; it must not reach the encoder
    tokenizer.save(str(folder / "tokenizer.json"))
    config = transformers.MT5Config(vocab_size=60, d_model=width, d_kv=8, d_ff=32, num_layers=layers, num_heads=2)
    save(folder, transformers.MT5ForConditionalGeneration(config), tokenizer_class="T5Tokenizer", extra_ids=0)


def byte_level(*special):
    return [*special, *sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())]


def make_gpt2(folder, width=16, layers=2):
    write_bpe(folder, tokens := [*byte_level(), "<|endoftext|>"])
    config = transformers.GPT2Config(vocab_size=len(tokens), n_embd=width, n_layer=layers, n_head=2)
    save(folder, transformers.GPT2LMHeadModel(config), tokenizer_class="GPT2Tokenizer", model_max_length=1024)


def make_roberta(folder):
    write_bpe(folder, tokens := byte_level("<s>", "<pad>", "</s>", "<unk>", "<mask>"))
    config = transformers.RobertaConfig(
        vocab_size=len(tokens), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=42,
    )  # fmt: skip
    save(folder, transformers.RobertaModel(config), tokenizer_class="RobertaTokenizer")


def make_bart(folder):
    write_bpe(folder, tokens := byte_level("<s>", "<pad>", "</s>", "<unk>", "<mask>"))
    layers = {f"{side}_{what}": 2 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    config = transformers.BartConfig(
        vocab_size=len(tokens), d_model=16, encoder_ffn_dim=32, decoder_ffn_dim=32, **layers
    )
    save(folder, transformers.BartModel(config), tokenizer_class="BartTokenizer")


MAKERS = {
    "clip": make_clip,
    "clip_new": functools.partial(make_clip, eos=53),
    "bert": make_bert,
    "mt5": make_mt5,
    "gpt2": make_gpt2,
    "distilbert": make_distilbert,
    "roberta": make_roberta,
    "bart": make_bart,
}
