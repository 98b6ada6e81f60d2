"""A tiny random CLIP and a tiny random VGG-19 as files, for the code that loads the real ones."""

import json

import torch
import transformers
from safetensors.torch import save_file

from vecaf.models.clipstyler.networks import LAYERS

LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
WIDTHS = (4, 4, 6, 6, 8, 8, 8, 8, 12)
QUICK = {"size": 32, "crop": 32, "reconstruction": 30, "steps": 12, "batch_size": 2, "views": 2}


def clip(folder):
    """Write a CLIP whose weights are large enough for texts and images to differ, and its tokenizer."""
    tokens = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**size, "vocab_size": len(tokens), "eos_token_id": 2, "bos_token_id": len(tokens) - 2, "pad_token_id": 1}
    vision = {**size, "image_size": 16, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.CLIPModel(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    special = {"bos_token": "<|startoftext|>", **dict.fromkeys(("eos_token", "unk_token", "pad_token"), tokens[-1])}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return str(folder)


def vgg(seed=0, widths=WIDTHS):
    """Return tensors of a VGG-19 of small widths up to relu4_1, under torchvision's names."""
    generator = torch.Generator().manual_seed(seed)
    state, channels = {}, 3
    for layer, width in zip([layer for layer in LAYERS if layer is not None], widths, strict=True):
        deviation = (2 / (9 * channels)) ** 0.5
        state[f"features.{layer}.weight"] = torch.randn(width, channels, 3, 3, generator=generator) * deviation
        state[f"features.{layer}.bias"] = 0.1 * torch.randn(width, generator=generator)
        channels = width
    return state


def vgg_file(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(vgg(seed), path)
    return str(path)
