"""Fetching datasets where there is a network: by torchvision, or from the mirrors that downloads.json names.

Jobs never come here; `snakemake download` does.
"""

from __future__ import annotations

import hashlib
import http.client
import tarfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vecaf.data.sources import LAYOUTS
from vecaf.errors import DataError, first_line

REGISTRY = Path(__file__).with_suffix(".json")
TIMEOUT = 30  # seconds until a mirror that does not answer is given up
BLOCK = 1 << 20


def dataset(source: str, root: str | None) -> None:
    """Fetch a dataset by torchvision, which compares checksums; raises DataError saying what to do where it cannot."""
    from torchvision import datasets

    known = {"cifar10": datasets.CIFAR10, "caltech101": datasets.Caltech101}
    if source not in known or root is None:
        raise DataError(f"it has to be put below {root} by hand: {LAYOUTS[source][1].format(root=root)}")
    try:
        Path(root).mkdir(parents=True, exist_ok=True)
        known[source](root, download=True)
    except Exception as error:  # network, checksum, archive and disk errors have no common type
        raise DataError(f"torchvision could not fetch it into {root} ({first_line(error)})") from error


def archive(entry: Mapping[str, Any], root: Path) -> None:
    """Fetch an archive and unpack some of its folders below a root, which appears when it is whole.

    entry: ``file``, ``bytes``, ``md5``, ``mirrors``, ``members``. Raises DataError.
    """
    packed = root.parent / entry["file"]
    fetch(entry, packed)
    unpacked = root.with_name(f".{root.name}.partial")
    try:
        with tarfile.open(packed) as tar:
            wanted = [member for member in tar if member.name.removeprefix("./").split("/")[0] in entry["members"]]
            tar.extractall(unpacked, wanted, filter="data")
        unpacked.rename(root)
        packed.unlink()
    except (OSError, tarfile.TarError) as error:
        raise DataError(
            f"{packed} could not be unpacked as {root} ({first_line(error)}); free space or correct the folder, and "
            "run it again"
        ) from error


def fetch(entry: Mapping[str, Any], target: Path) -> None:
    """Download one file, going on where an earlier download stopped; mirrors are tried in order.

    Raises DataError when no mirror gives the whole file, its folder cannot be made, or the checksum differs: the file
    is deleted then.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{target.parent} cannot be made ({first_line(error)}); make it, or name another") from error
    partial = target.with_name(f"{target.name}.partial")
    if not target.exists():
        reasons = []
        for mirror in entry["mirrors"]:
            try:
                _append(mirror, partial, entry["bytes"])
                break
            except (OSError, http.client.HTTPException) as error:
                reasons.append(f"{mirror}: {first_line(error)}")
        else:
            raise DataError(
                f"no mirror delivered {target.name} "
                f"({_done(partial)} of {entry['bytes']} bytes are kept in {partial}): {'; '.join(reasons)}"
            )
        partial.rename(target)
    if (found := _md5(target)) != entry["md5"]:
        target.unlink()
        raise DataError(f"{target.name} has the MD5 {found}, not {entry['md5']}; it was deleted, download it again")


def _append(address: str, partial: Path, size: int) -> None:
    """Add to a partial file what it lacks; a server that cannot go on inside a file sends all of it again."""
    done = _done(partial)
    if done >= size:
        return
    request = urllib.request.Request(address, headers={"Range": f"bytes={done}-"} if done else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        going_on = answer.status == 206
        with (
            partial.open("ab" if going_on else "wb") as file,
            tqdm(
                initial=done if going_on else 0, total=size, unit="B", unit_scale=True, disable=None, leave=False
            ) as bar,
        ):
            while block := answer.read(BLOCK):
                file.write(block)
                bar.update(len(block))
    if (done := _done(partial)) != size:
        raise OSError(f"ended after {done} of {size} bytes")


def _done(partial: Path) -> int:
    return partial.stat().st_size if partial.exists() else 0


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
