"""Captions in the plan: one job for a pool, several and a join for a large one, and what makes them run again."""

from planning import rules

CAPTIONS = "results/demo/captions/digits/attributes.parquet"
SHARDS = {"datasets": {"digits": {"caption_shards": 4}}}


def own(file):
    return {"captioners": {"own": {"title": "Own", "kind": "dataset", "params": {"file": str(file)}}}}


def test_a_pool_is_captioned_by_one_job(fresh):
    assert rules(fresh.plan(CAPTIONS)) == {"pool": 1, "caption": 1}


def test_a_large_pool_is_captioned_by_its_shards_and_a_join(fresh):
    jobs = fresh.plan(CAPTIONS, overlay=SHARDS)
    assert rules(jobs) == {"pool": 1, "caption_shard": 4, "join_captions": 1}
    assert {(job["shard"], job["shards"]) for job in jobs if job["rule"] == "caption_shard"} == {
        (str(number), "4") for number in range(1, 5)
    }


def test_imagenet_has_shards_in_the_paper(paper):
    assert paper.dataset("imagenet").caption_shards == 64
    assert paper.dataset("cifar10").caption_shards == 1


def test_the_number_of_shards_is_in_no_parameters(demo, demo_raw):
    from vecaf import config
    from vecaf.config.merging import merge
    from vecaf.study import Study

    sharded = Study(config.load(merge(demo_raw, SHARDS)))
    assert sharded.digests == demo.digests
    assert sharded.caption_params("digits", "attributes") == demo.caption_params("digits", "attributes")


def test_parameters_that_change_no_caption_are_no_parameters_of_the_step(paper):
    params = paper.caption_params("cifar10", "blip2")
    assert "batch_size" not in params
    assert (params["model"], params["class_keyword"]) == ("Salesforce/blip2-opt-2.7b", False)
    assert paper.caption_aside("blip2") == {"batch_size": 64}
    assert paper.caption_params("cifar10", "blip2_keyword")["class_keyword"] is True


def test_finished_shards_leave_nothing_to_do(finished):
    """They are deleted once they are joined, and not missed."""
    target = CAPTIONS.replace("attributes", "attributes_unnamed")
    finished.snakemake(target, overlay=SHARDS, fakes=_fakes(finished))
    assert not list((finished.folder / target).parent.glob("*/shard*"))
    assert finished.plan(target, overlay=SHARDS) == []


def test_the_content_of_own_captions_runs_their_step_again_and_their_place_does_not(finished, tmp_path):
    target, fakes = CAPTIONS.replace("attributes", "own"), _fakes(finished)
    (tmp_path / "a.csv").write_text("file,caption\nscan/00000,a zero\n")
    assert rules(finished.plan(target, overlay=own(tmp_path / "none.csv"))) == {"caption": 1}
    finished.snakemake(target, overlay=own(tmp_path / "a.csv"), fakes=fakes)
    (tmp_path / "a.csv").rename(tmp_path / "b.csv")
    assert finished.plan(target, overlay=own(tmp_path / "b.csv")) == []
    (tmp_path / "b.csv").write_text("file,caption\nscan/00000,a nought\n")
    assert rules(finished.plan(target, overlay=own(tmp_path / "b.csv"))) == {"caption": 1}


def test_own_captions_that_are_missing_are_reported_with_the_roots_that_are(fresh, tmp_path):
    overlay = own(tmp_path / "none.csv")
    targets = [CAPTIONS.replace("attributes", "own"), "results/demo/pool/cifar10/index.parquet"]
    assert rules(fresh.plan(*targets, overlay=overlay)) == {"pool": 2, "caption": 1}  # a plan needs no data
    done = fresh.snakemake(*targets, overlay=overlay, check=False)
    assert done.returncode != 0
    _, _, told = done.text.partition("data that the requested targets need is missing:")
    said = [line.strip() for line in told.splitlines() if "datasets." in line or "captioners." in line]
    assert len(said) == 2
    assert said[0].startswith("datasets.cifar10: ")
    assert said[1].startswith(f"captioners.own.params.file: {tmp_path / 'none.csv'} is no file: write the captions")
    assert not (fresh.folder / "results/demo/pool").exists()


def test_captions_of_a_large_pool_are_missed_by_its_shards(fresh, tmp_path):
    overlay = own(tmp_path / "none.csv") | SHARDS
    done = fresh.snakemake(CAPTIONS.replace("attributes", "own"), overlay=overlay, check=False)
    assert done.returncode != 0
    assert done.text.count(f"captioners.own.params.file: {tmp_path / 'none.csv'}") == 1


def test_own_captions_that_nobody_asked_for_are_not_missed(finished, tmp_path):
    target = CAPTIONS.replace("attributes", "attributes_unnamed")
    finished.snakemake(target, overlay=own(tmp_path / "none.csv"), fakes=_fakes(finished))
    assert (finished.folder / target).exists()


def _fakes(project):
    """Return a folder of scripts that only create what their command line names; own files are not outputs."""
    from planning import FAKE

    folder = project.folder / "fakes"
    (folder / "scripts").mkdir(parents=True)
    for script in (project.folder / "scripts").glob("*.py"):
        (folder / "scripts" / script.name).write_text("" if script.stem == "__init__" else FAKE)
    return folder
