"""The typed schema of the configuration: every key, its type, its default and what it means."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from vecaf import augmentation, selection
from vecaf.config.claims import Claims
from vecaf.config.part import Name, Part
from vecaf.models.clipstyler.options import Options as StylerOptions
from vecaf.models.pretraining import Options as PretrainingOptions
from vecaf.training import recipes

RATIO, SHARE = r"^[0-9]+(\.[0-9]+)?pct$", r"^[0-9]+(/[1-9][0-9]*)?$"
FOLDER = r"^[\w./][\w./-]*$"
# pattern → how what it matches is written
WRITTEN = {RATIO: "1pct, 0.5pct", SHARE: "1, 1/3", FOLDER: "letters, digits, . _ - /"}
Ratio = Annotated[str, Field(pattern=RATIO, description=f"an exact decimal percentage: {WRITTEN[RATIO]}")]
Share = Annotated[str, Field(pattern=SHARE, description=f"an exact fraction: {WRITTEN[SHARE]}")]
Seeds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class Training(Part):
    """How weights are finetuned; dataset and method entries override single keys of it.

    Pools and test sets are scored in the precision of training.
    """

    recipe: Literal["paper", "released"] = Field("paper", description="the paper's text, or the released code's recipe")
    overrides: recipes.Overrides = Field(default_factory=recipes.Overrides, description="single values of the recipe")
    optimizer_state: Literal["carry", "reset"] = Field("carry", description="the optimiser's state from loop to loop")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 on a GPU")


class Curve(Part):
    """The accuracy curve of a cell, evaluated while it is finetuned."""

    points: int = Field(100, ge=1, le=1000, description="evaluated every ⌊batches / points⌋ batches and after the last")
    test_images: int = Field(1000, ge=1, description="size of the fixed seeded subset of the test set")
    probe_images: int = Field(512, ge=1, description="size of the fixed seeded probe set of the pool (its loss)")


class Planted(Part):
    """A pool with a known share of corrupted images: which of them does a domain prompt find?"""

    corruption: Literal["snow", "fog"] = "snow"
    severity: int = Field(3, ge=1, le=5)
    share: float = Field(0.05, gt=0, lt=1, description="of the pool's images that are corrupted")
    images: int = Field(10_000, ge=1, description="at most so many images a split: all of them are packed as pixels")


class Dataset(Part):
    title: str
    source: Literal["digits", "cifar10", "caltech101", "imagenet", "image_folder"]
    root: str | None = Field(None, description="folder of the images; none for the embedded digits")
    extends: str | None = Field(None, description="another dataset whose entries this one starts from")
    split_rule: Literal["stratified_80_20", "30_per_class"] | None = Field(
        None, description="how pool and test set are split where there is no official split (Caltech-101)"
    )
    pool_size: int | None = Field(
        None, ge=1, description="N, checked when the pool is indexed; allows K to be checked early"
    )
    judged_on: Literal["test", "tuning"] = Field(
        "test",
        description="`tuning`: select and train on nine tenths of the pool and judge on its tuning split, to choose "
        "values; what is reported is judged on the test set",
    )
    batches: int = Field(ge=1, description="finetuning budget of a cell, in batches, over all loops")
    seeds: Seeds
    backbone: str = Field(description="the backbone of this dataset where an exhibit names none")
    captioner: str = Field(description="who writes the captions where a method names none")
    caption_shards: int = Field(
        1, ge=1, description="jobs that write the captions, each of a part of the pool; the captions are the same"
    )
    encoder: str = Field(description="the text encoder where a method names none")
    input_size: int = Field(224, ge=8, description="side of the backbone's input, in pixels")
    eval_transform: Literal["squash224", "resize256_crop224"] = "squash224"
    embedding_dtype: Literal["float32", "float16"] = "float32"
    score_batch: int = Field(256, ge=1, description="images per forward pass when scoring and evaluating")
    training: dict[str, Any] = Field(default_factory=dict, description="overrides of the study's `training` section")
    selectors: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="parameters of selectors on this dataset, where a method leaves them open"
    )
    curve: Curve = Field(default_factory=Curve)
    corruption_shards: int = Field(1, ge=1, description="jobs that make one corrupted test set, each of a part")
    planted: Planted | None = Field(None, description="corrupt a share of the pool; the test set stays clear")
    mislabelled: float = Field(
        0.0, ge=0, lt=1, description="share of the pool's labels that are another class's; the test set keeps its own"
    )
    b2a_levels: list[Annotated[float, Field(gt=0, le=100)]] = Field(
        default_factory=list, description="top-1 accuracies in percent whose batches to reach figure 5 shows"
    )
    corrupted_root: str | None = Field(
        None, description="a released ImageNet-C (CORRUPTION/SEVERITY/WNID/*); none: made from the test images"
    )


class BackboneSpec(Part):
    title: str
    timm: str = Field(description="model name in timm")
    width: int = Field(ge=1, description="width of the pre-head embedding")
    weights: str = Field("timm", description="`timm` (its own download), a .safetensors file, or `self_supervised`")
    args: dict[str, Any] = Field(default_factory=dict, description="further arguments of timm.create_model")
    mean: list[float] | None = Field(None, min_length=3, max_length=3)
    std: list[float] | None = Field(None, min_length=3, max_length=3)
    interpolation: Literal["bilinear", "bicubic"] | None = None
    pretraining: PretrainingOptions = Field(
        default_factory=PretrainingOptions, description="how `self_supervised` weights are made"
    )


class Captioner(Part):
    title: str
    kind: str
    params: dict[str, Any] = Field(default_factory=dict)


class Encoder(Part):
    title: str
    kind: str
    params: dict[str, Any] = Field(default_factory=dict)


class Turn(Part):
    """One loop of a schedule: who selects, how much, and which share of the batches follows."""

    selector: str = Field("method", description="`method`: the method's own selector; else a selector's name")
    share: Share
    times: int = Field(1, ge=1, description="of the cell's ratio: K is this many times ratio·N, rounded down")


class OneVsAll(Part):
    one_vs_all: str = Field(description="target class, by name")
    in_finetune: bool = Field(True, description="false: one class against all others in scoring alone")
    form: Literal["logsumexp", "sum"] = Field(
        "logsumexp", description="of the other classes' logits; `sum` as released"
    )


class Stylize(Part):
    """What finetuning sees in place of the selected images."""

    styler: str = Field(description="a name of `stylers`; in table 3 also the domain that the method is made for")
    share: float = Field(1.0, ge=0, le=1, description="of the images that are restyled; the others are only resized")
    quality: int | None = Field(95, ge=1, le=95, description="of the JPEG files they are kept as; null: lossless")


class _Method(Part):
    title: str
    extends: str | None = Field(None, description="another method whose entries this one starts from")
    selector: str | None = Field(None, description="a module of vecaf/selection/; inherited by `extends`")
    cea: augmentation.Readings | None = Field(None, description="embedding augmentation; null switches it off")
    captioner: str | None = Field(None, description="overrides the dataset's captioner")
    encoder: str | None = Field(None, description="overrides the dataset's text encoder")
    prompt: str | None = Field(None, description="a name of `prompts`, appended to every caption")
    objective: Literal["multiclass"] | OneVsAll = "multiclass"
    head: Literal["random", "class_mean"] | None = Field(
        None, description="what finetuning starts the head from; none: the head whose losses its first selection reads"
    )
    training_seed: int | None = Field(
        None,
        ge=0,
        description="of the head that is finetuned, of batches and image augmentation; the cell's seed is then that of "
        "selection alone (exhibit `variance`). none: the cell's",
    )
    accumulate: bool = Field(False, description="train on the union of all loops' selections instead of the latest")
    training: dict[str, Any] = Field(default_factory=dict, description="overrides of the study's `training` section")
    budget: int = Field(1, ge=1, description="finetuning budget, in multiples of the dataset's batches")
    schedules: dict[str, list[Turn]] = Field(default_factory=dict, description="this method's own form of a schedule")
    stylize: Stylize | None = Field(None, description="finetune on restyled images; null: on the pool's own")


Method = create_model(
    "Method",
    __base__=_Method,
    __doc__="A named method: a selector with its readings, an augmentation, an objective and a training recipe.",
    **{name: (selection.get(name).Params | None, None) for name in selection.names()},
)


class Block(Part):
    """A product of datasets × ratios, backbones, methods and schedules that an exhibit shows."""

    datasets: dict[str, Annotated[list[Ratio], Field(min_length=1)]]
    methods: Annotated[list[str], Field(min_length=1)]
    schedules: list[str] = Field(["3loops"], min_length=1)
    backbones: list[str] | None = Field(None, description="none: the dataset's own")
    seeds: Seeds | None = Field(None, description="none: the dataset's own")


class Skip(Part):
    """Cells that the paper does not report: they carry a reason and plan no job."""

    reason: str
    datasets: list[str] | None = None
    methods: list[str] | None = None
    ratios: list[Ratio] | None = None
    schedules: list[str] | None = None


class Exhibit(Part):
    title: str
    kind: Literal["table", "figure"]
    blocks: Annotated[list[Block], Field(min_length=1)]
    not_reported: list[Skip] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list, description="printed under the exhibit")
    selections_only: bool = Field(
        False, description="shows selections of loop 1: none of its cells is finetuned for it"
    )
    weights_of: str | None = Field(
        None,
        description="one of its methods: all of them select once more on what the pool looks like to the weights that "
        "this one has after its first loop (figure 6)",
    )


class OutOfDistribution(Part):
    """What finetuned models are judged on beside their own test set: corrupted copies of it."""

    corruptions: list[Literal["snow", "fog"]] = Field(["snow", "fog"], min_length=1)
    severities: list[Annotated[int, Field(ge=1, le=5)]] = Field([1, 2, 3, 4, 5], min_length=1)


class Threads(Part):
    """CPU threads of each step. Bit equality of results is promised at equal thread count."""

    light: int = Field(1, ge=1, description="select, augment, head, tables")
    heavy: int = Field(8, ge=1, description="pool, caption, embed_text, pretrained, score, finetune, evaluate")


class Keep(Part):
    final_weights: bool = Field(
        True, description="weights after the last loop; forcing an evaluation then retrains nothing"
    )
    intermediates: bool = Field(False, description="weights and scores between loops")


class AssumedRates(Part):
    """Multiply-accumulates a second of each step."""

    caption: float = Field(5e12, gt=0)
    embed_text: float = Field(5e13, gt=0)
    score: float = Field(5e13, gt=0)
    augment: float = Field(1e12, gt=0)
    select: float = Field(5e12, gt=0)
    finetune: float = Field(5e13, gt=0)
    evaluate: float = Field(5e13, gt=0)


class Estimate(Part):
    """What `snakemake estimate` assumes as long as no finished cell of the study says better."""

    device: str = Field("one A100", description="what the rates are of; in words")
    macs_per_second: AssumedRates = Field(default_factory=AssumedRates)
    images_per_second: float = Field(100, gt=0, description="read, decoded and transformed by one CPU thread")
    start_seconds: float = Field(20, ge=0, description="that every job takes before its work begins")
    parallel: int = Field(16, ge=1, description="cells that run at once: their passing files make the peak of the disk")
    pool_sizes: dict[Name, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description="about how large a pool is whose size the configuration does not state"
    )


class Config(Part):
    """The whole study."""

    root: str = Field(
        "results", pattern=FOLDER, description="folder of all outputs; shell commands name it, and its files, unquoted"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpus: int = Field(1, ge=0, description="GPUs of one finetuning job")
    checkpoint_seconds: int = Field(
        600,
        ge=0,
        description="between two checkpoints of a long step; what a kill can cost. 0: whenever one can be written",
    )
    threads: Threads = Field(default_factory=Threads)
    keep: Keep = Field(default_factory=Keep)
    training: Training = Field(default_factory=Training)
    ood: OutOfDistribution = Field(default_factory=OutOfDistribution)
    estimate: Estimate = Field(default_factory=Estimate)
    prompts: dict[Name, str] = Field(default_factory=dict)
    stylers: dict[Name, StylerOptions] = Field(default_factory=dict)
    datasets: dict[Name, Dataset]
    backbones: dict[Name, BackboneSpec]
    captioners: dict[Name, Captioner]
    encoders: dict[Name, Encoder]
    schedules: dict[Name, Annotated[list[Turn], Field(min_length=1)]]
    methods: dict[Name, Method]
    exhibits: dict[Name, Exhibit | None]
    claims: Claims = Field(default_factory=Claims)
    cells: Literal["all", "finished"] = Field(
        "all", description="finished: show those that have finished, here or in results/published/, and run none"
    )
    shows: list[str] | None = Field(None, description="the exhibits of this study by name; none: all that are defined")
