import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vecaf import artifacts
from vecaf.errors import ArtifactError


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_write_leaves_nothing_and_keeps_the_old_file(tmp_path):
    target = tmp_path / "a.json"
    artifacts.write_json(target, {"x": 1})
    with pytest.raises(TypeError):
        artifacts.write_json(target, {"x": object()})
    with pytest.raises(ValueError, match="JSON compliant"):
        artifacts.write_json(target, {"x": float("nan")})
    assert artifacts.read_json(target) == {"x": 1}
    assert leftovers(tmp_path) == ["a.json"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match=r"cannot write .*a\.npy: No space left on device"):
        artifacts.write_array(tmp_path / "a.npy", np.zeros(4))
    assert leftovers(tmp_path) == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot write"):
        artifacts.write_text(tmp_path / "file" / "a.txt", "x")


def test_a_write_that_the_system_really_stops(tmp_path):
    code = f"""
import resource, signal, numpy as np
from vecaf import artifacts
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
artifacts.write_array({str(tmp_path / "a.npy")!r}, np.zeros(1 << 16))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Nothing was left behind" in done.stderr
    assert leftovers(tmp_path) == []


def test_a_killed_writer_leaves_no_file_that_could_be_believed(tmp_path):
    code = f"""
import os, numpy as np
from vecaf import artifacts
with artifacts.array_writer({str(tmp_path / "e.npy")!r}, (10, 2), "float32") as rows:
    rows[:5] = 1
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert not (tmp_path / "e.npy").exists()
    artifacts.write_array(tmp_path / "e.npy", np.zeros(3))
    assert leftovers(tmp_path) == ["e.npy"]  # what the killed one left behind went with the next write


@pytest.mark.parametrize(
    "reader",
    [
        artifacts.read_json,
        artifacts.read_array,
        artifacts.read_table,
        artifacts.read_weights,
        artifacts.read_weights_metadata,
        artifacts.read_text,
    ],
)
def test_missing_and_cut_files_are_refused_by_name(tmp_path, reader):
    with pytest.raises(ArtifactError, match=r"cannot read .*nothing_here"):
        reader(tmp_path / "nothing_here")
    cut = tmp_path / "cut"
    cut.write_bytes(b"\x93NUMPY\x01\x00v")
    with pytest.raises(ArtifactError, match=r"cut is not .*delete it and run its target again"):
        reader(cut)


def test_arrays_and_weights_come_back(tmp_path):
    import torch

    artifacts.write_array(tmp_path / "a.npy", np.arange(6, dtype="float16").reshape(2, 3).T)
    assert isinstance(artifacts.read_array(tmp_path / "a.npy"), np.memmap)
    np.testing.assert_array_equal(artifacts.read_array(tmp_path / "a.npy"), np.arange(6).reshape(2, 3).T)
    artifacts.write_weights(tmp_path / "w.safetensors", {"w": torch.arange(4.0).view(2, 2).T}, {"ids": "abc"})
    assert artifacts.read_weights(tmp_path / "w.safetensors")["w"].tolist() == [[0, 2], [1, 3]]
    assert artifacts.read_weights_metadata(tmp_path / "w.safetensors") == {"ids": "abc"}


def test_text_is_utf8_whatever_the_locale_says(tmp_path):
    code = (
        "import sys; from vecaf import artifacts; artifacts.write_text(sys.argv[1], artifacts.read_text(sys.argv[2]))"
    )
    artifacts.write_text(tmp_path / "in.md", "90.0 ± 0.1 − λ")
    ascii_locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", code, str(tmp_path / "out.md"), str(tmp_path / "in.md")]
    subprocess.run(command, check=True, env={**os.environ, **ascii_locale})
    assert (tmp_path / "out.md").read_bytes() == "90.0 ± 0.1 − λ".encode()


def test_equal_weights_have_equal_bytes(tmp_path):
    import torch

    tensors, metadata = {"b": torch.ones(2), "a": torch.zeros(3)}, {"ids_hash": "x", "stop": "3", "loop": "1"}
    for number in range(12):
        artifacts.write_weights(tmp_path / f"{number}", tensors, metadata)
    assert len({artifacts.file_hash(tmp_path / f"{number}") for number in range(12)}) == 1


def test_digests_ignore_order_and_see_every_value():
    assert artifacts.digest({"a": 1, "b": [1, 2]}) == artifacts.digest({"b": [1, 2], "a": 1})
    assert artifacts.digest({"a": 1}) != artifacts.digest({"a": 2})
    assert artifacts.ids_hash(np.array([3, 1])) == artifacts.ids_hash(np.array([1, 3], dtype="int32"))
