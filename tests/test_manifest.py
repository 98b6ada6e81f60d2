"""The record of a run: complete at its start, and closed at its end."""

from vecaf import artifacts, manifest


def test_a_record_tells_what_was_run(tmp_path, paper_raw):
    file = manifest.begin(tmp_path, ["-n", "table1"], paper_raw, {"finetune": 3})
    record = artifacts.read_json(file)
    assert file.parent == tmp_path / "manifest"
    assert record["arguments"] == ["-n", "table1"]
    assert record["config"] == paper_raw
    assert record["config_digest"] == artifacts.digest(paper_raw)
    assert record["jobs"] == {"finetune": 3}
    assert {"torch", "snakemake", "python"} <= record["environment"].keys()
    assert len(record["environment"]["lock"]) == 64
    assert "outcome" not in record


def test_the_end_of_a_run_is_added(tmp_path):
    file = manifest.begin(tmp_path, [], {}, {})
    manifest.end(file, "failure")
    record = artifacts.read_json(file)
    assert record["outcome"] == "failure"
    assert record["finished"] >= record["started"]
