"""What a run needs and a machine may lack, looked at before any job starts: a list, with a fix beside each failure.

``needs`` is plain JSON that the rules gather, for the whole study (`snakemake preflight`) or for the jobs of one run:
root; device; gpus; datasets: name → [source, root]; captions: captioner → file; corrupted: dataset → released root;
backbones: name → {timm, weights}; models: hub models as {role, model, revision, kind}; stylers: name → {vgg}; disk:
bytes that the study takes at most, 0 to skip that, and why they are unknown; slurm: {status, partitions: partition →
GPU model or null}, null elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vecaf import cluster
from vecaf.data.sources import root_problem
from vecaf.devices import visible_gpus
from vecaf.models.captioners.dataset_file import file_problem

# File systems that other nodes can see; what is on another one may be there for this machine alone.
SHARED = ("nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "fuse.ceph", "cifs", "panfs", "wekafs", "afs", "9p")
DOWNLOAD = "run `snakemake download` where there is a network"
OLDEST_DRIVERS = {12: 525, 13: 580}  # CUDA's major version → driver, by NVIDIA's table of minor-version compatibility


@dataclass(frozen=True)
class Finding:
    """One line of the list. level: ``ok``, ``warning`` (a run may still go well) or ``FAILED``."""

    level: str
    what: str
    fix: str = ""
    about: str = ""  # the model that it is about, and how that is fetched
    needed: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.level:8} {self.what}" + (f"\n{'':9}→ {self.fix}" if self.fix else "")


def ok(what: str) -> Finding:
    return Finding("ok", what)


def failed(what: str, fix: str = "") -> Finding:
    return Finding("FAILED", what, fix)


def run(needs: Mapping[str, Any]) -> list[Finding]:
    """Return what all checks found, failures and warnings included; reads no image and downloads nothing."""
    parts = (_results, _datasets, models, _gpus) if not needs["slurm"] else (_results, _datasets, models, _slurm)
    return [finding for part in parts for finding in part(needs)]


def problems(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level == "FAILED"]


def _results(needs: Mapping[str, Any]) -> Iterator[Finding]:
    root = Path(needs["root"])
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=root, prefix=".preflight.") as file:
            file.write(b"0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield failed(
            f"root: nothing can be written below {root} ({error.strerror or error})",
            "name another folder as `root`, free space or ask for write access",
        )
        return
    free, wanted, unknown = shutil.disk_usage(root).free, needs["disk"]["bytes"], needs["disk"]["unknown"]
    said = f"root: {root} can be written, {_size(free)} are free"
    if unknown:
        yield Finding("warning", f"{said}; how much the study takes is not known", unknown)
        return
    held = _held(root) if wanted else 0
    if wanted:
        said += f"; the study takes up to {_size(wanted)}, of which {_size(held)} are there"
    if held > wanted > 0:
        yield Finding("warning", f"{said}: more than was expected", "look for files there that are not the study's")
    elif free < wanted - held:
        yield failed(
            said,
            "name a folder with more space as `root`, or set `keep.final_weights: false` and "
            "`keep.intermediates: false` (`final_weights: false` retrains a cell whose evaluation is forced)",
        )
    else:
        yield ok(said)
    if needs["slurm"] and (kind := _file_system(root)) not in SHARED:
        yield Finding(
            "warning",
            f"root: {root} is on {kind}, which compute nodes may not see",
            "clone the project on the file system that all nodes share",
        )


def _held(root: Path) -> int:
    """Return the bytes of all files below a folder; one that is deleted meanwhile counts nothing."""
    total = 0
    for folder, _, files in os.walk(root):
        for file in files:
            with contextlib.suppress(OSError):
                total += (Path(folder) / file).lstat().st_size
    return total


def _datasets(needs: Mapping[str, Any]) -> Iterator[Finding]:
    for (source, root), names in _shared(needs["datasets"]).items():
        problem, fetchable = root_problem(source, root), source in ("cifar10", "caltech101")
        if not problem:
            yield ok(f"{names}: {root or 'embedded'}")
        else:
            yield failed(f"{names}: {problem.what}", DOWNLOAD if fetchable else problem.remedy)
    for name, file in needs["captions"].items():
        problem = file_problem(file)
        yield failed(f"captioners.{name}.params.file: {problem}") if problem else ok(f"captioners.{name}: {file}")
    for name, root in needs["corrupted"].items():
        if Path(root).is_dir():
            yield ok(f"datasets.{name}.corrupted_root: {root}")
        else:
            yield failed(
                f"datasets.{name}.corrupted_root: {root} is no folder",
                f"{DOWNLOAD}, or set it to null: then snow and fog are made from the test images",
            )


def _shared(datasets: Mapping[str, Any]) -> dict[tuple, str]:
    """Return source and root → the datasets that share them, as one key of the configuration or several."""
    names: dict[tuple, list[str]] = {}
    for name, place in datasets.items():
        names.setdefault(tuple(place), []).append(f"datasets.{name}")
    return {place: ", ".join(found) for place, found in names.items()}


def models(needs: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is found of backbones, captioners, text encoders and stylers."""
    for name, spec in needs["backbones"].items():
        about = f"backbones.{name}"
        if spec["weights"] == "timm":
            there = _timm_cached(spec["timm"])
            what = f"{about}: timm's weights of {spec['timm']} are {'' if there else 'not '}in the cache"
            yield Finding("ok" if there else "FAILED", what, "" if there else DOWNLOAD, about, spec)
        elif Path(spec["weights"]).is_file():
            yield ok(f"{about}: {spec['weights']}")
        else:
            yield _no_file(f"{about}.weights", spec["weights"])
    for name, spec in needs["stylers"].items():
        about = f"stylers.{name}.vgg"
        if spec["vgg"] == "torchvision":
            there = _vgg_cached()
            what = f"{about}: torchvision's weights of VGG-19 are {'' if there else 'not '}in the cache"
            yield Finding("ok" if there else "FAILED", what, "" if there else DOWNLOAD, about, spec)
        elif Path(spec["vgg"]).is_file():
            yield ok(f"{about}: {spec['vgg']}")
        else:
            yield _no_file(about, spec["vgg"])
    for spec in needs["models"]:
        about = f"{spec['role']} {spec['model']}"
        if reason := _hub_lacks(spec):
            yield Finding("FAILED", f"{about}: {reason}", f"{DOWNLOAD}, or name a folder as its `model`", about, spec)
        else:
            yield ok(f"{about} is there")


def _no_file(about: str, file: str) -> Finding:
    return failed(f"{about}: there is no file {file}", "name the file that holds them")


def _vgg_cached() -> bool:
    from vecaf.models.clipstyler import networks

    return networks.vgg_cache().is_file()


def _timm_cached(name: str) -> bool:
    import timm
    from huggingface_hub import try_to_load_from_cache
    from torch.hub import get_dir

    config = timm.get_pretrained_cfg(name)
    if config is None:
        return False
    if config.hf_hub_id:
        repository = config.hf_hub_id if not config.hf_hub_id.endswith("/") else f"{config.hf_hub_id}{name}"
        files = ("model.safetensors", "pytorch_model.bin")
        return any(isinstance(try_to_load_from_cache(repository, file), str) for file in files)
    return bool(config.url) and Path(get_dir(), "checkpoints", Path(config.url).name).is_file()


def _hub_lacks(spec: Mapping[str, Any]) -> str | None:
    """Return what is missing of a model of the hub, None if it can be loaded without a network."""
    from vecaf.errors import ArtifactError
    from vecaf.models import hub

    try:
        folder = hub.given(spec["model"]) or hub.cached(spec["model"], spec["revision"], spec["role"])
    except ArtifactError as error:
        return str(error)
    if folder is None:
        return "it is not in the cache"
    lacks = hub.lacking(folder, spec["kind"])
    return f"its copy has no {' and no '.join(lacks)}" if lacks else None


def _gpus(needs: Mapping[str, Any]) -> Iterator[Finding]:
    asked = needs["gpus"] if needs["device"] != "cpu" else 0
    if not asked:
        return
    if not (found := visible_gpus()):
        level = "FAILED" if needs["device"] == "cuda" else "warning"
        yield Finding(
            level, "no GPU is visible: every step runs on the CPU", "check nvidia-smi and CUDA_VISIBLE_DEVICES"
        )
        return
    said = f"GPUs visible: {found}, asked for by `gpus` in one finetuning job: {asked}"
    if found < asked:
        yield Finding("warning", said, f"it runs on {found}; set `gpus: {found}` to say so")
    else:
        yield ok(said)
    driver, cuda = _driver(), _cuda()
    oldest = OLDEST_DRIVERS.get(int(cuda.split(".")[0]), 0)
    if driver is None or int(driver.split(".")[0]) >= oldest:
        yield ok(f"driver {driver or 'unknown'}")
    else:
        yield failed(
            f"driver {driver} is older than {oldest}, which torch's CUDA {cuda} needs",
            "update it, or install a torch built for it",
        )


def _cuda() -> str:
    """Return the version of CUDA that torch is built with, 0 for a torch without."""
    import torch

    return torch.version.cuda or "0"


def _driver() -> str | None:
    try:
        import pynvml

        pynvml.nvmlInit()
        version = pynvml.nvmlSystemGetDriverVersion()
        return version.decode() if isinstance(version, bytes) else version
    except Exception:  # no driver or one that does not say
        return None


def _slurm(needs: Mapping[str, Any]) -> Iterator[Finding]:
    for level, what, fix in cluster.findings(needs["slurm"]):
        yield Finding(level, what, fix)


def _file_system(path: Path) -> str:
    """Return the kind of file system that holds a path, `unknown` where the system does not tell."""
    try:
        mounts = [line.split()[1:3] for line in os.fsdecode(Path("/proc/mounts").read_bytes()).splitlines()]
    except OSError:
        return "unknown"
    place = path.resolve()
    holding = [(len(point), kind) for point, kind in mounts if place.is_relative_to(point)]
    return max(holding)[1] if holding else "unknown"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
