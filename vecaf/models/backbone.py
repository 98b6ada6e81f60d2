"""Backbones: timm models by name, with a linear head on their pre-head embedding."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from vecaf import artifacts
from vecaf.errors import ArtifactError, ConfigError, TrainingError, first_line
from vecaf.models import loss_prediction

State = dict[str, Tensor]
LOSS_HEAD = "loss_head."  # what the names of its tensors begin with, beside timm's own


class Backbone(nn.Module):
    """A timm model seen as embedding and linear head: ``forward(x) = classify(embed(x))``.

    ``width``: d of the embedding. ``head``: the nn.Linear (d → C), or nn.Identity for C = 0. ``loss_head``: a
    ``LossPrediction`` that is trained along, or None. State dicts have timm's own names. Raises ConfigError when the
    model's head is not one linear layer on its pre-head embedding.
    """

    def __init__(self, model: nn.Module, name: str):
        super().__init__()
        self.model, self.name = model, name
        self.loss_head: loss_prediction.LossPrediction | None = None
        self.width = int(getattr(model, "head_hidden_size", model.num_features))
        if not isinstance(self.head, nn.Linear | nn.Identity):
            kind = type(self.head).__name__
            raise ConfigError(f"backbone {name}: its head is a {kind}, not one linear layer; choose another timm model")

    @property
    def head(self) -> nn.Module:
        return self.model.get_classifier()

    @property
    def classifier(self) -> str:
        """The head's name in the state dict."""
        return next((name for name, module in self.model.named_modules() if module is self.head), "head")

    def embed(self, images: Tensor) -> Tensor:
        """Return the pre-head embeddings (B, d) of normalised images (B, 3, S, S)."""
        return self.model.forward_head(self.model.forward_features(images), pre_logits=True)

    def embed_and_predict(self, images: Tensor, *, spare: bool = False) -> tuple[Tensor, Tensor | None]:
        """Return the embeddings (B, d) and the losses (B,) that the loss head predicts, None without one.

        The head reads the mean over positions of the features at four depths (patch tokens of the residual stream of a
        ViT). spare: it sends no gradient into the backbone.
        """
        if self.loss_head is None:
            return self.embed(images), None
        final, maps = self.model.forward_intermediates(images, indices=self._levels, norm=False)
        features = [part.mean(dim=(2, 3)) for part in maps]
        predicted = self.loss_head([part.detach() for part in features] if spare else features)
        return self.model.forward_head(final, pre_logits=True), predicted

    def add_loss_head(self, hidden: int, seed: int) -> None:
        """Add a head that predicts losses, drawn from the seed; raises ConfigError without four depths to read."""
        self._levels, widths = loss_prediction.depths(self.model, self.name)
        self.loss_head = loss_prediction.build(widths, hidden, seed)

    def classify(self, embeddings: Tensor) -> Tensor:
        """Return the logits (B, C) of embeddings (B, d)."""
        return self.head(embeddings)

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.embed(images))

    def set_head(self, weight: Tensor, bias: Tensor) -> None:
        """Copy a head, weight (C, d) and bias (C,), into the model; raises TrainingError when the shapes differ."""
        wanted = tuple(self.head.weight.shape) if isinstance(self.head, nn.Linear) else None
        if tuple(weight.shape) != wanted or tuple(bias.shape) != wanted[:1]:
            raise TrainingError(
                f"head of shape {tuple(weight.shape)} with bias {tuple(bias.shape)} does not fit {self.name}, whose "
                f"head is {wanted}; make the head from the embeddings of this backbone and dataset"
            )
        with torch.no_grad():
            self.head.weight.copy_(weight)
            self.head.bias.copy_(bias)

    def state_dict(self, *args: Any, **kwargs: Any) -> State:
        state = self.model.state_dict(*args, **kwargs)
        if self.loss_head is not None:
            state |= {LOSS_HEAD + name: tensor for name, tensor in self.loss_head.state_dict().items()}
        return state

    def load_state_dict(self, state_dict: Mapping[str, Tensor], *args: Any, **kwargs: Any):
        if own := {name: tensor for name, tensor in state_dict.items() if name.startswith(LOSS_HEAD)}:
            self.loss_head.load_state_dict({name.removeprefix(LOSS_HEAD): tensor for name, tensor in own.items()})
        rest = {name: tensor for name, tensor in state_dict.items() if name not in own}
        return self.model.load_state_dict(rest, *args, **kwargs)


def build(
    spec: Mapping[str, Any],
    num_classes: int,
    *,
    input_size: int,
    state: Mapping[str, Tensor] | None = None,
    drop_path: float = 0.0,
    seed: int = 0,
    loss_head: int | None = None,
) -> Backbone:
    """Return a backbone with a linear head for ``num_classes`` classes, in eval mode, on the CPU, in float32.

    spec: ``timm`` (name), ``width``, and optionally ``args`` of timm.create_model. num_classes: 0 for no head. state:
    weights under timm's names, with the heads or without; without them (or without a state) the heads, or everything,
    are drawn from ``seed``. drop_path: stochastic depth while training, 0 for none, whatever timm's default is.
    loss_head: hidden width of a head that predicts losses, None for no such head. Raises ConfigError for an unknown
    model, arguments it does not take or another width than the spec's, TrainingError for weights that do not fit.
    """
    model = Backbone(_create(spec, num_classes, input_size, drop_path, seed), spec["timm"])
    if model.width != spec["width"]:
        raise ConfigError(f"backbone {spec['timm']}: width is {spec['width']}, but the model's is {model.width}")
    if loss_head is not None:
        model.add_loss_head(loss_head, seed)
    if state is not None:
        _load(model, state, "the given weights")
    return model.eval()


def _create(spec: Mapping[str, Any], num_classes: int, input_size: int, drop_path: float, seed: int) -> nn.Module:
    """Return the timm model itself, drawn from the seed and without touching the global random state."""
    name, args = spec["timm"], _arguments(spec)
    if drop_path:
        args["drop_path_rate"] = drop_path
    if not timm.is_model(name.partition(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        raise ConfigError(
            f"backbone {name!r} is not a model of timm" + (f"; near it: {', '.join(near)}" if near else "")
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = _timm_model(name, num_classes, input_size, args)
        except (TypeError, RuntimeError, ValueError, AssertionError) as error:
            given = f" with args {args}" if args else ""
            raise ConfigError(f"backbone {name} cannot be built for {input_size} px{given}: {error}") from error
    if "drop_path_rate" not in args:  # timm gives Swin 0.1 of its own accord, where a recipe may ask for none
        for module in model.modules():
            if isinstance(module, timm.layers.DropPath):
                module.drop_prob = 0.0
    return model


def _arguments(spec: Mapping[str, Any]) -> dict[str, Any]:
    return dict(spec.get("args") or {})


def _timm_model(name: str, num_classes: int, input_size: int, args: Mapping[str, Any], **more: Any) -> nn.Module:
    try:
        return timm.create_model(name, num_classes=num_classes, img_size=input_size, **args, **more)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        return timm.create_model(name, num_classes=num_classes, **args, **more)  # convolutions take any size


def _load(model: Backbone, state: Mapping[str, Tensor], source: str) -> None:
    """Load weights, heads where there are any; raises TrainingError naming the first tensors that do not fit."""
    wanted = model.state_dict()
    head = {f"{model.classifier}.weight", f"{model.classifier}.bias"}
    head |= {name for name in (*wanted, *state) if name.startswith(LOSS_HEAD)}
    problems = [
        f"{name} is {_shape(state[name])}, the model needs {_shape(tensor)}"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    missing = [name for name in wanted if name not in state and name not in head]
    foreign = [name for name in state if name not in wanted and name not in head]
    problems += [f"{name} is missing" for name in missing] + [f"{name} is unknown to the model" for name in foreign]
    if problems:
        more = f" … and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise TrainingError(
            f"weights do not fit {model.name}: {source}: {'; '.join(problems[:3])}{more}. "
            "Check `timm`, `args`, the number of classes and the weights of this backbone."
        )
    model.load_state_dict({name: tensor for name, tensor in state.items() if name in wanted}, strict=False)


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a scalar"


def load_pretrained(spec: Mapping[str, Any], input_size: int) -> tuple[State, dict[str, Any]]:
    """Return the pretrained weights of a spec without their classifier, float32, and facts about them.

    spec["weights"]: ``timm`` (timm's own download) or the path of a safetensors file with timm's names; position
    embeddings are resampled to ``input_size`` by timm. The facts are plain JSON: source, parameters, resampled.
    Raises ArtifactError when the weights cannot be had, TrainingError when they do not fit.
    """
    weights = str(spec.get("weights", "timm"))
    if weights == "self_supervised":
        raise ConfigError(f"backbone {spec['timm']}: weights `self_supervised` are made from a pool, not loaded")
    model = build(spec, 0, input_size=input_size)
    info = _download(model, spec, input_size) if weights == "timm" else _from_file(model, weights)
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    return state, info | {"parameters": sum(parameter.numel() for parameter in model.parameters())}


def _download(model: Backbone, spec: Mapping[str, Any], input_size: int) -> dict[str, Any]:
    name = spec["timm"]
    try:
        loaded = _timm_model(name, 0, input_size, _arguments(spec), pretrained=True)
    except Exception as error:  # hub, network, cache and tag errors have no common type
        raise ArtifactError(
            f"cannot get timm's weights of {name} ({first_line(error)}). Fetch them once where there is a network: "
            f"python -c \"import timm; timm.create_model('{name}', pretrained=True)\" (cached under HF_HOME), or name "
            "a .safetensors file as the backbone's `weights`."
        ) from error
    model.load_state_dict(loaded.state_dict())
    cfg = loaded.pretrained_cfg
    resampled = tuple(cfg["input_size"][1:]) != (input_size, input_size)
    return {"source": cfg.get("hf_hub_id") or cfg.get("url"), "tag": cfg.get("tag"), "resampled": resampled}


def _from_file(model: Backbone, file: str) -> dict[str, Any]:
    path = Path(file)
    if path.suffix != ".safetensors":
        raise ConfigError(f"backbone weights {file!r}: must be `timm`, `self_supervised` or a .safetensors file")
    original = {name: tensor.float() for name, tensor in artifacts.read_weights(path).items()}
    classifiers = model.model.pretrained_cfg.get("classifier") or ()
    for classifier in (classifiers,) if isinstance(classifiers, str) else classifiers:
        for part in ("weight", "bias"):
            original.pop(f"{classifier}.{part}", None)
    # Each model family of timm brings the function that renames and resamples its own checkpoints.
    adapt = getattr(sys.modules[type(model.model).__module__], "checkpoint_filter_fn", None)
    state = dict(original)
    if adapt is not None:
        try:
            state = adapt(dict(original), model.model)
        except Exception:
            state = dict(original)  # what does not fit is named below, by tensor and shape
    _load(model, state, file)
    resampled = any(name in original and state[name].shape != original[name].shape for name in state)
    return {"source": file, "weights_hash": artifacts.file_hash(path), "resampled": resampled}


def data_config(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return mean, std (3 floats each, for images in [0, 1]) and interpolation: timm's own, or the spec's if given."""
    found = timm.get_pretrained_cfg(spec["timm"])
    config = timm.data.resolve_data_config({}, pretrained_cfg=found.to_dict() if found else {})
    chosen = {key: spec[key] if spec.get(key) is not None else config[key] for key in ("mean", "std", "interpolation")}
    return chosen | {key: tuple(map(float, chosen[key])) for key in ("mean", "std")}
