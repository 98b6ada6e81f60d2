"""The caption step end to end: shards that join to the same bytes, and killed jobs that go on where they were."""

import json

import numpy as np
import pandas as pd
import pytest

from scripts import caption, join_captions
from vecaf import artifacts
from vecaf.errors import ArtifactError, DataError
from vecaf.models.captioners.attributes import Attributes
from vecaf.models.captioners.progress import Progress

COUNT = 22
ATTRIBUTES = {"kind": "attributes", "seed": 5}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A packed pool of 22 images beside a test set of 3, captioned in batches of 4."""
    monkeypatch.setattr(caption, "BATCH", 4)
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 255, (COUNT + 3, 1, 1, 3), dtype=np.uint8)
    artifacts.write_array(tmp_path / "images.npy", np.repeat(np.repeat(colours, 8, axis=1), 8, axis=2))
    index = pd.DataFrame({"id": [*range(COUNT), *range(3)], "file": [f"scan/{n:03d}" for n in range(COUNT + 3)]})
    index = index.assign(label=rng.integers(0, 2, COUNT + 3), split=["pool"] * COUNT + ["test"] * 3, tuning=False)
    artifacts.write_table(tmp_path / "index.parquet", index)
    meta = {"pool_size": COUNT, "test_size": 3, "packed": True, "root": None, "dataset": "small"}
    artifacts.write_json(tmp_path / "pool.json", meta | {"classes": ["cat", "dog"]})
    return tmp_path


def write(folder, name="c", params=ATTRIBUTES, *more):
    """Run the step and return the bytes of its table."""
    pool = [str(folder / file) for file in ("index.parquet", "images.npy", "pool.json")]
    told = ["--pool", *pool, "--params", json.dumps(params), "--device", "cpu", *map(str, more)]
    caption.main([*told, "--out", str(folder / f"{name}.parquet"), "--record", str(folder / f"{name}.json")])
    return (folder / f"{name}.parquet").read_bytes()


def join(folder, names, params=ATTRIBUTES, *more):
    told = ["--shards", *(str(folder / f"{name}.parquet") for name in names), *map(str, more)]
    told += ["--records", *(str(folder / f"{name}.json") for name in names), "--params", json.dumps(params)]
    join_captions.main([*told, "--out", str(folder / "joined.parquet"), "--record", str(folder / "joined.json")])
    return (folder / "joined.parquet").read_bytes()


# --- one job ----------------------------------------------------------------------------------------------------------


def test_every_image_of_the_pool_has_a_caption_and_the_record_says_from_what(folder):
    write(folder)
    table, record = artifacts.read_table(folder / "c.parquet"), artifacts.read_json(folder / "c.json")
    assert table["id"].tolist() == list(range(COUNT))
    assert table["caption"].str.startswith("A picture of a ").all()
    assert record["captions_hash"] == artifacts.file_hash(folder / "c.parquet")
    assert (record["rows"], record["pool"], record["facts"], record["params"]) == (COUNT, COUNT, {}, ATTRIBUTES)
    assert record["stages"][0]["stage"] == "caption"


def test_captions_that_come_with_the_dataset_need_no_pixels(folder):
    rows = {"file": [f"scan/{n:03d}" for n in reversed(range(COUNT))], "caption": [f"word {n}" for n in range(COUNT)]}
    pd.DataFrame(rows).to_csv(folder / "own.csv", index=False)
    (folder / "images.npy").unlink()
    artifacts.write_array(folder / "images.npy", np.zeros((COUNT + 3, 1, 1, 3), dtype=np.uint8))
    write(folder, "c", {"kind": "dataset", "seed": 5}, "--source", folder / "own.csv", "--batch-size", 1)
    assert artifacts.read_table(folder / "c.parquet")["caption"].tolist() == [f"word {21 - n}" for n in range(COUNT)]
    facts = artifacts.read_json(folder / "c.json")["facts"]
    assert facts == {"captions": COUNT, "file_hash": artifacts.file_hash(folder / "own.csv")}
    pd.DataFrame(rows)[:-1].to_csv(folder / "own.csv", index=False)
    with pytest.raises(DataError, match="1 images of the pool have no caption: scan/000"):
        write(folder, "other", {"kind": "dataset", "seed": 5}, "--source", folder / "own.csv")
    assert not (folder / "other.parquet").exists()


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b", "-1/2"])
def test_impossible_shards_are_refused(folder, shard, capsys):
    with pytest.raises(SystemExit):
        write(folder, "c", ATTRIBUTES, f"--shard={shard}")
    assert "is not I/N with I in 1..N" in capsys.readouterr().err


# --- several jobs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [2, 3, 4, 9])
@pytest.mark.parametrize("shuffled", [False, True])
def test_any_number_of_shards_gives_the_same_bytes(folder, shards, shuffled):
    params = ATTRIBUTES | {"shuffled": shuffled}
    whole = write(folder, "whole", params)
    for number in range(1, shards + 1):
        write(folder, f"part{number}", params, "--shard", f"{number}/{shards}")
    names = [f"part{number}" for number in range(1, shards + 1)]
    assert join(folder, names, params) == join(folder, names[::-1], params) == whole
    record = artifacts.read_json(folder / "joined.json")
    assert (record["rows"], len(record["stages"])) == (COUNT, shards)
    assert record["captions_hash"] == artifacts.file_hash(folder / "joined.parquet")


@pytest.mark.parametrize("count", [0, 1, 4, 5, 22, 1000])
@pytest.mark.parametrize("shards", [1, 2, 7])
def test_shards_are_whole_batches_in_a_row(monkeypatch, count, shards):
    monkeypatch.setattr(caption, "BATCH", 4)
    parts = [caption.positions_of(number, shards, count) for number in range(1, shards + 1)]
    assert np.concatenate(parts).tolist() == list(range(count))
    assert all(part[0] % 4 == 0 for part in parts if len(part))


def test_shards_that_do_not_belong_together_are_refused(folder):
    for number in (1, 2, 3):
        write(folder, f"part{number}", ATTRIBUTES, "--shard", f"{number}/3")
    with pytest.raises(ArtifactError, match="hold 14 ids of a pool of 22; delete them and run the target again"):
        join(folder, ["part1", "part3"])
    with pytest.raises(ArtifactError, match="hold 16 ids of a pool of 22"):
        join(folder, ["part1", "part2", "part2"])
    write(folder, "part2", ATTRIBUTES | {"name_class": False}, "--shard", "2/3")
    with pytest.raises(
        ArtifactError, match=r"part2\.json is of other parameters, weights or images than .*part1\.json"
    ):
        join(folder, ["part1", "part2", "part3"])
    assert not (folder / "joined.parquet").exists()


# --- a killed job -----------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """What no error handling catches."""


@pytest.fixture
def captioned(monkeypatch):
    """Return the ids that were captioned so far; `captioned.limit` kills the job after so many batches."""
    caption_ = Attributes.caption

    class Seen(list):
        limit = None

        def ids(self):
            return [int(number) for batch in self for number in batch]

    seen = Seen()

    def watched(self, images, labels, classes, ids):
        if seen.limit is not None and len(seen) >= seen.limit:
            raise Killed
        seen.append(ids)
        return caption_(self, images, labels, classes, ids)

    monkeypatch.setattr(Attributes, "caption", watched)
    return seen


def kill(folder, captioned, batches, params=ATTRIBUTES, *more):
    captioned.limit = batches
    with pytest.raises(Killed):
        write(folder, "c", params, "--resume", folder / "resume/c.jsonl", *more)
    assert not (folder / "c.parquet").exists()
    captioned.limit = None
    captioned.clear()


def test_a_killed_job_goes_on_and_gives_the_same_bytes(folder, captioned, capsys):
    whole = write(folder, "whole")
    captioned.clear()
    kill(folder, captioned, 3)
    assert write(folder, "c", ATTRIBUTES, "--resume", folder / "resume/c.jsonl") == whole
    assert captioned.ids() == list(range(12, COUNT))
    assert "going on after 12 captions" in capsys.readouterr().out
    (stage,) = artifacts.read_json(folder / "c.json")["stages"]
    assert stage["seconds"] >= stage["earlier_seconds"] > 0
    assert not list((folder / "resume").iterdir())


def test_a_shard_is_resumed_like_a_whole_pool(folder, captioned):
    whole = write(folder, "whole", ATTRIBUTES, "--shard", "2/2")
    captioned.clear()
    kill(folder, captioned, 1, ATTRIBUTES, "--shard", "2/2")
    assert write(folder, "c", ATTRIBUTES, "--shard", "2/2", "--resume", folder / "resume/c.jsonl") == whole
    assert captioned.ids() == list(range(16, COUNT))


def test_a_job_that_is_killed_again_and_again_arrives(folder, captioned):
    whole = write(folder, "whole")
    captioned.clear()
    for _ in range(5):
        kill(folder, captioned, 1)
    assert write(folder, "c", ATTRIBUTES, "--resume", folder / "resume/c.jsonl") == whole
    assert captioned.ids() == [20, 21]


@pytest.mark.parametrize("torn", [b'["A pic', b'["A picture of a cat: blue."]', b"\x00\x00\x00\n", b"\xff\n"])
def test_a_line_that_was_cut_off_is_dropped(folder, captioned, torn):
    whole = write(folder, "whole")
    captioned.clear()
    kill(folder, captioned, 3)
    with (folder / "resume/c.jsonl").open("ab") as file:
        file.write(torn)
    assert write(folder, "c", ATTRIBUTES, "--resume", folder / "resume/c.jsonl") == whole
    assert captioned.ids() == list(range(12, COUNT))


def test_a_line_that_was_altered_is_not_believed_nor_are_those_behind_it(folder, captioned, capsys):
    whole = write(folder, "whole")
    captioned.clear()
    kill(folder, captioned, 3)
    lines = (folder / "resume/c.jsonl").read_text().splitlines(keepends=True)
    (folder / "resume/c.jsonl").write_text("".join([*lines[:2], lines[2].replace("of", "if", 1), *lines[3:]]))
    assert write(folder, "c", ATTRIBUTES, "--resume", folder / "resume/c.jsonl") == whole
    assert captioned.ids() == list(range(4, COUNT))
    assert "is damaged after 4 captions; the rest is not used." in capsys.readouterr().out


@pytest.mark.parametrize("change", ["params", "version", "pool", "shard", "facts"])
def test_progress_of_something_else_is_not_used(folder, captioned, capsys, monkeypatch, change):
    kill(folder, captioned, 3)
    params, more = ATTRIBUTES, []
    if change == "params":
        params = ATTRIBUTES | {"name_class": False}
    elif change == "version":
        more = ["--step-version", "2"]
    elif change == "pool":
        index = artifacts.read_table(folder / "index.parquet")
        artifacts.write_table(folder / "index.parquet", index.assign(label=1 - index["label"]))
    elif change == "shard":
        more = ["--shard", "1/2"]
    else:
        monkeypatch.setattr(Attributes, "prepare", lambda *_: {"weights_hash": "other"})
    fresh = write(folder, "fresh", params, *more)
    captioned.clear()
    assert write(folder, "c", params, "--resume", folder / "resume/c.jsonl", *more) == fresh
    assert captioned.ids()[0] == 0
    assert "is of other parameters, weights or images: its captions are not used." in capsys.readouterr().out


def test_progress_that_cannot_be_kept_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"cannot write .*file/c\.jsonl: "):
        Progress(tmp_path / "file" / "c.jsonl", "key").read()
