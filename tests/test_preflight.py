"""Every check of preflight says ok where things are in order, and what to do where they are not."""

import json
import re
from pathlib import Path

import pytest
import torch

from scripts import disk
from scripts import preflight as script
from vecaf import cluster, preflight
from vecaf.errors import VecafError

DEMO = {
    "root": None,
    "device": "cpu",
    "gpus": 0,
    "datasets": {"digits": ["digits", None]},
    "captions": {},
    "corrupted": {},
    "backbones": {},
    "models": [],
    "stylers": {},
    "slurm": None,
    "disk": {"bytes": 0, "unknown": None},
}
CONFIG = "AccountingStorageType   = accounting_storage/{accounting}\nMinJobAge               = {age} sec\n"


@pytest.fixture
def found(tmp_path):
    """Return a function that runs the checks on a machine that lacks nothing, with changed needs."""

    def found(**changes):
        return preflight.run(DEMO | {"root": str(tmp_path / "results")} | changes)

    return found


def the_failure(findings):
    (bad,) = preflight.problems(findings)
    return bad


def test_a_machine_that_lacks_nothing(found, tmp_path):
    findings = found()
    assert {finding.level for finding in findings} == {"ok"}
    assert len(findings) == 2
    assert not list((tmp_path / "results").iterdir())


def test_missing_data_are_told_with_how_to_get_them(found, tmp_path):
    findings = found(
        datasets={"cifar10": ["cifar10", "none"], "cropped": ["cifar10", "none"], "net": ["imagenet", str(tmp_path)]},
        captions={"theirs": "captions.csv"},
        corrupted={"net": str(tmp_path / "c")},
    )
    told = [str(finding) for finding in preflight.problems(findings)]
    assert len(told) == 4
    assert told[0].startswith("FAILED   datasets.cifar10, datasets.cropped: none is no folder")
    assert "→ run `snakemake download`" in told[0]
    assert "→ get ILSVRC2012 from image-net.org" in told[1]
    assert "captioners.theirs.params.file: captions.csv is no file" in told[2]
    assert "set it to null" in told[3]


@pytest.mark.parametrize("source", ["cifar10", "imagenet"])
def test_a_semicolon_in_a_folders_name_parts_nothing(found, source):
    root = "/data; old; fetch it once/in"
    (bad,) = preflight.problems(found(datasets={"mine": [source, root]}))
    assert bad.what.startswith(f"datasets.mine: {root} is no folder: {source} needs ")
    assert bad.fix.startswith({"cifar10": "run `snakemake download`", "imagenet": "get ILSVRC2012"}[source])


def test_a_disk_that_is_too_small(found):
    bad = the_failure(found(disk={"bytes": 10**18, "unknown": None}))
    assert "the study takes up to 1000000.0 TB, of which 0 B are there" in bad.what
    assert "keep.final_weights" in bad.fix


def test_what_is_there_already_needs_no_more_space(found, tmp_path, monkeypatch):
    (tmp_path / "results/cells").mkdir(parents=True)
    (tmp_path / "results/cells/weights").write_bytes(b"0" * 5000)
    usage = preflight.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert "FAILED" not in {finding.level for finding in found(disk={"bytes": 5500, "unknown": None})}
    assert "FAILED" in {finding.level for finding in found(disk={"bytes": 6500, "unknown": None})}
    assert "more than was expected" in str(found(disk={"bytes": 4000, "unknown": None})[0])


def test_a_folder_that_cannot_be_written(found, tmp_path):
    (tmp_path / "file").write_text("")
    assert "nothing can be written" in the_failure(found(root=str(tmp_path / "file/results"))).what


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def test_weights(found, tmp_path, no_cache):
    (tmp_path / "mine.safetensors").write_text("")
    hub = {"role": "text encoder", "kind": "encoder", "revision": None}
    findings = found(
        backbones={
            "dino": {"timm": "vit_small_patch16_224.dino", "weights": "timm"},
            "mine": {"timm": "vit_tiny_patch16_224", "weights": str(tmp_path / "mine.safetensors")},
            "lost": {"timm": "vit_tiny_patch16_224", "weights": str(tmp_path / "lost.safetensors")},
        },
        models=[hub | {"model": "some/where"}, hub | {"model": str(tmp_path)}],
        stylers={
            "snow": {"vgg": "torchvision"},
            "fog": {"vgg": str(tmp_path / "lost.safetensors")},
            "rain": {"vgg": str(tmp_path / "mine.safetensors")},
        },
    )
    told = [finding.what for finding in preflight.problems(findings)]
    assert "timm's weights of vit_small_patch16_224.dino are not in the cache" in told[0]
    assert "backbones.lost.weights: there is no file" in told[1]
    assert told[2] == "stylers.snow.vgg: torchvision's weights of VGG-19 are not in the cache"
    assert "stylers.fog.vgg: there is no file" in told[3]
    assert told[4] == "text encoder some/where: it is not in the cache"
    assert "its copy has no configuration (config.json)" in told[5]
    fine = [finding.what for finding in findings if finding.level == "ok"]
    assert any(what.startswith("backbones.mine: ") for what in fine)
    assert any(what.startswith("stylers.rain.vgg: ") for what in fine)
    to_fetch = [finding.needed for finding in preflight.problems(findings) if finding.needed is not None]
    assert {"vgg": "torchvision"} in to_fetch  # what `download` then fetches


@pytest.mark.parametrize(
    ("device", "visible", "driver", "cuda", "levels"),
    [
        ("auto", 2, "580.65", "13.2", ["ok", "ok"]),
        ("auto", 1, "580.65", "13.2", ["warning", "ok"]),
        ("auto", 2, "570.86", "13.2", ["ok", "FAILED"]),
        ("auto", 2, "570.86", "12.8", ["ok", "ok"]),  # a torch that was installed for an older driver
        ("auto", 0, None, "13.2", ["warning"]),
        ("cuda", 0, None, "13.2", ["FAILED"]),
        ("cpu", 0, None, "13.2", []),
    ],
)
def test_gpus_of_a_workstation(found, monkeypatch, device, visible, driver, cuda, levels):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(preflight, "visible_gpus", lambda: visible)
    monkeypatch.setattr(preflight, "_driver", lambda: driver)
    assert [finding.level for finding in found(device=device, gpus=2)[2:]] == levels


@pytest.fixture
def slurm(monkeypatch, tmp_path):
    """Return a function that sets what SLURM says, and returns the checks' levels and texts."""

    def slurm(
        status="sacct", accounting="slurmdbd", age=300, partitions=None, sinfo="gpu gpu:a100:4(S:0-1)\ncpu (null)\n"
    ):
        answers = {"scontrol": CONFIG.format(accounting=accounting, age=age), "sinfo": sinfo}
        monkeypatch.setattr(cluster, "_ask", lambda *words: answers[words[0]])
        monkeypatch.setattr(cluster.shutil, "which", lambda name: name)
        asked = {"status": status, "partitions": partitions or {"cpu": None, "gpu": "a100"}}
        return [(level, f"{what} {fix}") for level, what, fix in cluster.findings(asked)]

    return slurm


def test_a_cluster_in_order(slurm):
    assert [level for level, _ in slurm()] == ["ok"] * 4


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ({"accounting": "none"}, "set `slurm-status-command: squeue`"),
        ({"status": "squeue", "age": 40}, "MinJobAge of 120 or more"),
        ({"partitions": {"long": None}}, "there is no partition long set slurm_partition in"),
        ({"partitions": {"gpu": "h100"}}, "partition gpu has no GPU called h100"),
        ({"partitions": {"cpu": "a100"}}, "partition cpu has no GPU called a100"),
    ],
)
def test_what_a_cluster_lacks(slurm, says, told):
    bad = [text for level, text in slurm(**says) if level == "FAILED"]
    assert len(bad) == 1
    assert told in bad[0]


def test_squeue_serves_without_accounting(slurm):
    assert {level for level, _ in slurm(status="squeue", accounting="none")} == {"ok"}


@pytest.mark.parametrize(
    ("age", "level", "told"),
    [
        (0, "ok", "for good"),  # slurm.conf: zero prevents any purging of job records
        (119, "FAILED", "after 119 s"),
        (120, "ok", "for 120 s"),
        ("INFINITE", "warning", "MinJobAge cannot be read"),
    ],
)
def test_how_long_squeue_tells_of_ended_jobs(slurm, age, level, told):
    (said,) = [found for found in slurm(status="squeue", age=age) if told in found[1]]
    assert said[0] == level


def test_the_list_is_read_by_a_person(tmp_path, capsys, demo_raw):
    said = disk.main(["--params", json.dumps({"study": demo_raw, "jobs": 2}), "--out", str(tmp_path / "disk.json")])
    assert re.fullmatch(r"at most 0\.\d+ GB", said)
    needs = DEMO | {"root": str(tmp_path / "results")}
    words = ["--disk", str(tmp_path / "disk.json"), "--params"]
    assert script.main([*words, json.dumps(needs)]) == "2 checks, none failed"
    told = capsys.readouterr().out
    assert "ok       datasets.digits: embedded" in told
    assert re.search(r"the study takes up to \d+ MB, of which 0 B are there", told)
    with pytest.raises(VecafError, match="1 of 2 checks failed"):
        script.main([*words, json.dumps(needs | {"datasets": {"c": ["cifar10", None]}})])


def test_a_pool_of_unknown_size_leaves_the_disk_unknown_and_says_what_to_set(found, tmp_path, paper_raw):
    raw = {key: value for key, value in paper_raw.items() if key != "estimate"}
    disk.main(["--params", json.dumps({"study": raw, "jobs": 2}), "--out", str(tmp_path / "disk.json")])
    told = found(disk=json.loads((tmp_path / "disk.json").read_text()))[0]
    assert told.level == "warning"
    assert "estimate.pool_sizes.caltech101" in told.fix


def test_file_systems_are_told_by_the_longest_mount(monkeypatch):
    mounts = b"a / ext4 rw\nb /data nfs4 rw\nc /data/local xfs rw\nd /gr\xf6sse ext4 rw\n"  # /grösse is no UTF-8
    monkeypatch.setattr(preflight.Path, "read_bytes", lambda self: mounts)
    assert preflight._file_system(Path("/data/x")) == "nfs4"
    assert preflight._file_system(Path("/data/local/x")) == "xfs"
    assert preflight._file_system(Path("/home")) == "ext4"
