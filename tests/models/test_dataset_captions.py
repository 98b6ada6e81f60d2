"""Captions that come with a dataset: four formats, every image found, everything that does not fit said at once."""

import json

import numpy as np
import pandas as pd
import pytest

from vecaf import artifacts
from vecaf.errors import ConfigError, DataError
from vecaf.models import captioners
from vecaf.models.captioners import dataset_file

FILES = ["train/cat/01.jpg", "train/cat/02.jpg", "train/dog/03.jpg"]
TEST = ["test/cat/01.jpg", "test/dog/09.jpg"]
ROWS = [
    ("train/dog/03.jpg", "a dog"),
    ("train/cat/01.jpg", "a  red\ncat "),
    ("train/cat/02.jpg", "NA"),
    ("train/dog/03.jpg", "a dog, again"),
    ("test/dog/09.jpg", "not of the pool"),
]


def write(path, rows=ROWS, key="file"):
    table = pd.DataFrame(rows, columns=[key, "caption"])
    if path.suffix == ".parquet":
        table.to_parquet(path)
    elif path.suffix == ".json":
        files = list(dict.fromkeys(file for file, _ in rows))
        images = [{"id": 100 + number, "file_name": file} for number, file in enumerate(files)]
        notes = [{"id": n, "image_id": 100 + files.index(file), "caption": text} for n, (file, text) in enumerate(rows)]
        path.write_text(json.dumps({"info": {}, "images": images, "annotations": notes}))
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


def ready(path, files=FILES, elsewhere=TEST, **params):
    captioner = captioners.build({"kind": "dataset", "file": str(path), **params})
    captioner.facts = captioner.prepare(files, elsewhere, None)
    return captioner


def said(captioner, ids=(0, 1, 2)):
    return captioner.caption(None, None, None, np.asarray(ids))


def refused(path, *args, **params):
    with pytest.raises(DataError) as caught:
        ready(path, *args, **params)
    return str(caught.value)


# --- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["c.csv", "c.tsv", "c.parquet", "c.json"])
def test_all_formats_say_the_same(tmp_path, name):
    captioner = ready(write(tmp_path / name))
    assert said(captioner) == ["a red cat", "NA", "a dog"]
    assert said(captioner, [2, 0]) == ["a dog", "a red cat"]
    assert captioner.facts == {"file_hash": artifacts.file_hash(tmp_path / name), "captions": 5}
    assert not captioner.needs_images


@pytest.mark.parametrize("name", ["c.csv", "c.parquet"])
def test_images_can_be_named_by_their_ids(tmp_path, name):
    rows = [(2, "two"), (0, "zero"), (1, "one"), (0, "naught")]
    assert said(ready(write(tmp_path / name, rows, key="id"))) == ["zero", "one", "two"]


def test_a_name_alone_is_enough_where_only_one_image_has_it(tmp_path):
    rows = [("03.jpg", "three"), ("02.jpg", "two"), ("./train/cat/01.jpg", "one")]
    assert said(ready(write(tmp_path / "c.csv", rows))) == ["one", "two", "three"]
    rows[2] = ("01.jpg", "of the pool or of the test set?")
    text = refused(write(tmp_path / "c.csv", rows))
    assert "1 names fit several images; write their paths below the dataset's root: 01.jpg" in text
    assert "1 images of the pool have no caption: train/cat/01.jpg" in text


def test_one_of_several_captions_is_drawn_by_the_id(tmp_path):
    files = [f"{number}.jpg" for number in range(200)]
    path = write(tmp_path / "c.csv", [(file, f"{file} {n}") for file in files for n in "abc"])
    drawn = said(ready(path, files, [], several="drawn", seed=1), range(200))
    assert {text[-1] for text in drawn} == set("abc")
    assert all(text.startswith(file) for text, file in zip(drawn, files, strict=True))
    assert drawn == said(ready(path, files, [], several="drawn", seed=1), range(200))
    assert drawn[150:] == said(ready(path, files, [], several="drawn", seed=1), range(150, 200))
    assert drawn != said(ready(path, files, [], several="drawn", seed=2), range(200))
    assert all(text.endswith("a") for text in said(ready(path, files, []), range(200)))


def test_captions_of_the_test_set_may_stand_in_the_file_and_empty_ones_count_as_none(tmp_path):
    path = write(tmp_path / "c.json", [*ROWS[1:3], ("train/dog/03.jpg", " "), *ROWS[3:]])
    assert said(ready(path)) == ["a red cat", "NA", "a dog, again"]


# --- what is refused --------------------------------------------------------------------------------------------------


def test_all_that_does_not_fit_is_said_together_up_to_ten_by_name(tmp_path):
    files = [f"a/{number:02d}.jpg" for number in range(15)]
    rows = [("a/00.jpg", "x"), ("00.jpg", "y"), ("a/01.jpg", ""), *((f"b/{n}.jpg", "z") for n in range(12))]
    lines = refused(write(tmp_path / "c.csv", rows), files, []).splitlines()
    assert lines[0] == f"the captions of {tmp_path / 'c.csv'} do not fit the pool of 15 images:"
    assert lines[1].startswith("  14 images of the pool have no caption: a/01.jpg, a/02.jpg, ")
    assert lines[1].endswith("a/10.jpg … and 4 more")
    assert lines[2].startswith("  12 captions are of images that the dataset does not have: b/0.jpg, ")
    assert lines[2].endswith("b/9.jpg … and 2 more")
    assert lines[3] == "  1 images are listed twice under different entries: a/00.jpg and 00.jpg"
    assert len(lines) == 4


def test_ids_outside_the_pool_are_named(tmp_path):
    text = refused(write(tmp_path / "c.csv", [(0, "a"), (1, "b"), (2, "c"), (3, "d"), (-1, "e")], key="id"))
    assert "2 captions are of images that the dataset does not have: id 3, id -1" in text
    assert "id 'x1' is not a whole number" in refused(write(tmp_path / "c.csv", [("x1", "a")], key="id"))
    assert "id 0.5 is not a whole number" in refused(write(tmp_path / "c.parquet", [(0.5, "a")], key="id"))


def test_a_coco_file_that_contradicts_itself_is_refused(tmp_path):
    path = write(tmp_path / "c.json")
    content = json.loads(path.read_text())
    content["images"].append({"id": 999, "file_name": "train/cat/02.jpg"})
    content["annotations"].append({"image_id": 7, "caption": "lost"})
    path.write_text(json.dumps(content))
    text = refused(path)
    assert "1 images are listed twice under different entries: train/cat/02.jpg" in text
    assert "does not have: image_id 7" in text
    path.write_text(json.dumps({"images": [], "captions": []}))
    assert "is not in COCO's form: it needs `images` (id, file_name) and `annotations`" in refused(path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("c.txt", b"", "must end in one of .csv, .tsv, .parquet, .json"),
        ("c.csv", b"name,text\na,b\n", "needs the columns file (or id) and caption, and has name, text"),
        ("c.csv", b"", "is not a whole csv file"),
        ("c.csv", b"file,caption\n\xff\xfe,x\n", "is not a whole csv file"),
        ("c.json", b"{", "is not a whole json file"),
        ("c.json", b"[]", "is not in COCO's form"),
        ("c.parquet", b"PAR1", "is not a whole parquet file"),
    ],
)
def test_files_that_are_no_captions_are_refused_in_words(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    assert sentence in refused(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    text = refused(tmp_path / "none.csv")
    assert text == f"cannot read the captions file {tmp_path / 'none.csv'}: No such file or directory"
    with pytest.raises(ConfigError, match="file: Field required"):
        captioners.build({"kind": "dataset"})


def test_a_missing_file_is_told_before_a_job_reads_it(tmp_path):
    file = tmp_path / "captions.csv"
    assert dataset_file.file_problem(str(tmp_path)).startswith(f"{tmp_path} is no file: write the captions there")
    assert "the columns file (or id) and caption" in dataset_file.file_problem(str(file))
    file.write_text("")
    assert dataset_file.file_problem(str(file)) is None
