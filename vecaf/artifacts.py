"""Files between steps: how each kind is written, read and refused.

Every write goes to a temporary name beside the target and is renamed, so a file that exists is complete. Tables are
Parquet, arrays ``.npy`` (memory-mappable), weights safetensors, records JSON. Nothing is pickled. Every function raises
ArtifactError for a file that it cannot read or write.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vecaf.errors import ArtifactError

if TYPE_CHECKING:
    import pandas as pd
    import torch

METADATA = "vecaf"  # the key of a weights file under which its metadata stands as JSON


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it into place on success, remove it on any error."""
    path, temporary = Path(path), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(f".{path.name}.*.partial"):  # a killed writer's; only one job writes a file
            stale.unlink(missing_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())  # a rename of unflushed bytes can survive a power cut as an empty file
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private; results are meant to be shared
        temporary.replace(path)
    except OSError as error:
        raise ArtifactError(f"cannot write {path}: {error.strerror or error}. Nothing was left behind.") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def digest(value: Any) -> str:
    """Return the first 16 hex digits of the SHA-256 of a JSON-able value."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    hasher = hashlib.sha256()
    with _opened(path) as file:
        while block := file.read(1 << 20):
            hasher.update(block)
    return hasher.hexdigest()


def ids_hash(ids: np.ndarray) -> str:
    """Return the SHA-256 of a sorted id list (little-endian int64), in hex."""
    return hashlib.sha256(np.sort(np.asarray(ids, dtype="<i8")).tobytes()).hexdigest()


@contextlib.contextmanager
def _opened(path: str | Path):
    """Open a file for reading; raises ArtifactError naming it when it is missing or unreadable."""
    try:
        with Path(path).open("rb") as file:
            yield file
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}") from error


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as JSON with sorted keys; raises ValueError for NaN and infinities, which JSON does not have."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Return the value of a JSON file; raises ArtifactError when it is missing or not valid."""
    with _opened(path) as file:
        try:
            return json.loads(file.read())
        except ValueError as error:
            raise ArtifactError(f"{path} is not valid JSON ({error}); delete it and run its target again") from error


def write_array(path: str | Path, array: np.ndarray) -> None:
    """Write an array in C order; raises ValueError for one of Python objects."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)


@contextlib.contextmanager
def array_writer(path: str | Path, shape: tuple[int, ...], dtype: str) -> Iterator[np.ndarray]:
    """Yield a writable memory map of the final array; it appears under ``path`` only when the block ends well."""
    with atomic(path) as temporary:
        yield (memmap := np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape))
        memmap.flush()
        del memmap


def read_array(path: str | Path, *, mmap: bool = True) -> np.ndarray:
    """Return an array, by default a read-only memory map; raises ArtifactError when it is missing or not whole."""
    with _opened(path):
        pass
    try:
        return np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ArtifactError(
            f"{path} is not a whole .npy array ({error}); delete it and run its target again"
        ) from error


def read_recorded(path: str | Path, key: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Return an array and the JSON record beside it; key: where the record has the array's hash.

    Raises ArtifactError where they are not of one run. Hashing reads the whole file.
    """
    record = Path(path).with_suffix(".json")
    told = read_json(record)
    if told.get(key) != file_hash(path):
        raise ArtifactError(f"{path} is not the array that {record} tells of; delete both and run their target again")
    return read_array(path), told


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as Parquet, without its index and with its ``attrs``."""
    with atomic(path) as temporary:
        table.to_parquet(temporary, index=False)


def read_table(path: str | Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Return a Parquet table, or some columns of it; raises ArtifactError unless it is whole and has them."""
    import pandas as pd

    with _opened(path):
        pass
    try:
        return pd.read_parquet(path, columns=columns)
    except Exception as error:  # pyarrow raises its own family
        raise _no_table(path, error) from error


def table_attributes(path: str | Path) -> dict[str, Any]:
    """Return the ``attrs`` of a Parquet table without reading its rows; raises ArtifactError as ``read_table`` does."""
    return json.loads((_schema(path).metadata or {}).get(b"PANDAS_ATTRS", b"{}"))


def table_columns(path: str | Path) -> list[str]:
    """Return the names of a table's columns without reading its rows; raises ArtifactError as ``read_table`` does."""
    return list(_schema(path).names)


def _schema(path: str | Path) -> Any:
    from pyarrow import parquet

    with _opened(path):
        pass
    try:
        return parquet.read_schema(path)
    except Exception as error:  # pyarrow raises its own family
        raise _no_table(path, error) from error


def _no_table(path: str | Path, error: Exception) -> ArtifactError:
    return ArtifactError(f"{path} is not a whole Parquet table ({error}); delete it and run its target again")


def write_weights(path: str | Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors; equal tensors and metadata give equal bytes."""
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # One key: safetensors writes several in an arbitrary order, and equal weights would have unequal hashes.
    written = {METADATA: canonical(metadata)} if metadata else None
    with atomic(path) as temporary:
        save_file(contiguous, temporary, metadata=written)


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file by name, on the CPU; raises ArtifactError when it is missing or not whole."""
    from safetensors.torch import load_file

    with _safetensors(path):
        return load_file(path)


def read_weights_metadata(path: str | Path) -> dict[str, str]:
    """Return the metadata of a weights file, {} without any; raises ArtifactError as ``read_weights`` does."""
    from safetensors import safe_open

    with _safetensors(path), safe_open(path, framework="numpy") as file:
        return json.loads((file.metadata() or {}).get(METADATA, "{}"))


@contextlib.contextmanager
def _safetensors(path: str | Path) -> Iterator[None]:
    """Refuse a weights file that is missing or not whole while it is read."""
    from safetensors import SafetensorError

    with _opened(path):
        pass
    try:
        yield
    except SafetensorError as error:
        raise ArtifactError(
            f"{path} is not a whole safetensors file ({error}); delete it and run its target again"
        ) from error


def write_text(path: str | Path, text: str) -> None:
    """Write a text."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_text(path: str | Path) -> str:
    """Return a text; raises ArtifactError when its file is missing or not UTF-8."""
    with _opened(path) as file:
        try:
            return file.read().decode()
        except UnicodeDecodeError as error:
            raise ArtifactError(f"{path} is not UTF-8 ({error}); delete it and run its target again") from error
