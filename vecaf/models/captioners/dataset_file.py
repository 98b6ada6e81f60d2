"""Captions that come with a dataset: a CSV, TSV or Parquet table, or a captions file in the format of COCO."""

from __future__ import annotations

import json
import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from vecaf import artifacts
from vecaf.errors import DataError, first_line
from vecaf.models.captioners import base
from vecaf.seeds import keyed_uniform

if TYPE_CHECKING:
    import pandas as pd

NAMED = 10  # files that a message names of each kind of problem
Pairs = list[tuple[str | int, str]]  # (file or id, caption), in the order of the file


class Params(base.Params):
    file: str = Field(
        description="table (.csv, .tsv, .parquet) with the columns file (or id) and caption, or a .json in COCO's form"
    )
    several: Literal["first", "drawn"] = Field(
        "first", description="which of an image's captions: the first in the file, or one drawn by the image's id"
    )


@base.register("dataset")
class DatasetFile(base.Captioner):
    """Captions read from a file, found by an image's id, its path below the root, or its name where only one has it."""

    Params = Params
    aside = frozenset({"file"})  # its content decides, see the record, and not where it lies
    needs_images = False

    def prepare(self, files, elsewhere, device):
        """Read the file and give every image its captions; see the base class.

        Raises DataError when the file cannot be read, or naming the images without a caption and the captions of
        images that are unknown, ambiguous or listed twice, all of them in one message.
        """
        path = Path(self.params.file)
        pairs, twice = _read(path)
        self._captions = _match(path, pairs, twice, files, elsewhere)
        return {"file_hash": artifacts.file_hash(path), "captions": len(pairs)}

    def caption(self, images, labels, classes, ids):
        """Return the captions of some ids; see the base class."""
        found = [self._captions[number] for number in ids]
        if self.params.several == "first":
            return [captions[0] for captions in found]
        draws = keyed_uniform(self.seed, ids)
        return [captions[int(draw * len(captions))] for captions, draw in zip(found, draws, strict=True)]


def file_problem(file: str) -> str | None:
    """Return why a file of captions cannot be read and what to do, or None where it is there; reads none of it."""
    if Path(file).is_file():
        return None
    return (
        f"{file} is no file: write the captions there, a table with the columns file (or id) and caption or a .json in "
        "COCO's form, or name the file that holds them"
    )


def _match(
    path: Path, pairs: Pairs, twice: list[str], files: Sequence[str], elsewhere: Sequence[str]
) -> list[list[str]]:
    """Return the captions of every pool image, in the order of ids."""
    ids = dict.fromkeys(elsewhere) | {file: number for number, file in enumerate(files)}  # None: not of the pool
    shared = Counter(posixpath.basename(file) for file in ids)
    by_name = {posixpath.basename(file): file for file in ids}
    found: list[list[str]] = [[] for _ in files]
    names: list[str | int | None] = [None] * len(files)
    unknown, ambiguous, twice = {}, {}, dict.fromkeys(twice)  # dictionaries keep the order and say each once
    for key, caption in pairs:
        number: int | None
        if isinstance(key, int):
            if not 0 <= key < len(files):
                unknown[f"id {key}"] = None
                continue
            number = key
        else:
            file = posixpath.normpath(key)
            if file not in ids and shared[file] > 1:
                ambiguous[key] = None
                continue
            file = file if file in ids else by_name.get(file)
            if file is None:
                unknown[key] = None
                continue
            number = ids[file]
        if number is None or not caption:
            continue
        if names[number] not in (None, key):
            twice[f"{names[number]} and {key}"] = None
        names[number] = key
        found[number].append(caption)
    _refuse(
        path,
        len(files),
        {
            "images of the pool have no caption": [file for file, own in zip(files, found, strict=True) if not own],
            "captions are of images that the dataset does not have": unknown,
            "names fit several images; write their paths below the dataset's root": ambiguous,
            "images are listed twice under different entries": twice,
        },
    )
    return found


def _refuse(path: Path, count: int, problems: dict[str, Iterable[str]]) -> None:
    lines = []
    for problem, names in problems.items():
        if names := list(names):
            more = f" … and {len(names) - NAMED} more" if len(names) > NAMED else ""
            lines.append(f"  {len(names)} {problem}: {', '.join(map(str, names[:NAMED]))}{more}")
    if lines:
        raise DataError("\n".join([f"the captions of {path} do not fit the pool of {count} images:", *lines]))


def _read(path: Path) -> tuple[Pairs, list[str]]:
    """Return the (file or id, caption) pairs of a file, and the images that a COCO file lists twice."""
    readers = {".csv": _table, ".tsv": _table, ".parquet": _table, ".json": _coco}
    if path.suffix not in readers:
        raise DataError(f"captions file {path}: must end in one of {', '.join(readers)}")
    try:
        return readers[path.suffix](path)
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"cannot read the captions file {path}: {error.strerror or error}") from error
    except Exception as error:  # parsers of three formats raise their own families
        raise DataError(
            f"the captions file {path} is not a whole {path.suffix[1:]} file ({first_line(error)})"
        ) from error


def _table(path: Path) -> tuple[Pairs, list[str]]:
    table = _frame(path)
    key = next((name for name in ("file", "id") if name in table), None)
    if key is None or "caption" not in table:
        columns = ", ".join(map(str, table.columns))
        raise DataError(f"captions file {path}: needs the columns file (or id) and caption, and has {columns}")
    keys = [_number(path, value) if key == "id" else str(value) for value in table[key]]
    return list(zip(keys, map(_tidy, table["caption"]), strict=True)), []


def _frame(path: Path) -> pd.DataFrame:
    import pandas as pd

    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    # As text throughout: a caption “NA” is a caption, and a file 007 is not 7.
    return pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", dtype=str, keep_default_na=False)


def _number(path: Path, value) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = None
    if number is None or (not isinstance(value, str) and number != value):
        raise DataError(f"captions file {path}: id {value!r} is not a whole number")
    return number


def _coco(path: Path) -> tuple[Pairs, list[str]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    try:
        images = [(image["id"], str(image["file_name"])) for image in content["images"]]
        annotations = [(note["image_id"], _tidy(note["caption"])) for note in content["annotations"]]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"captions file {path} is not in COCO's form: it needs `images` (id, file_name) and `annotations` "
            f"(image_id, caption); {error!r}"
        ) from error
    files = dict(images)
    counts = Counter(number for number, _ in images) + Counter(file for _, file in images)
    twice = [str(entry) for entry, count in counts.items() if count > 1]
    return [(files.get(number, f"image_id {number}"), caption) for number, caption in annotations], twice


def _tidy(caption) -> str:
    """Return a caption with single spaces; an empty text for what is none."""
    return " ".join(caption.split()) if isinstance(caption, str) else ""
