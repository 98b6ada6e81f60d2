"""What a killed step finds again, and what it refuses with a sentence."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from vecaf import checkpoint
from vecaf.checkpoint import Checkpoint
from vecaf.errors import ArtifactError

TENSORS = {"weights": torch.arange(6.0).reshape(2, 3), "step": torch.tensor(3)}


@pytest.fixture(autouse=True)
def unasked():
    """The handler of SIGTERM as it was, and no request left over."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
    checkpoint._asked.clear()


def test_a_state_comes_back_to_the_last_bit(tmp_path):
    first = Checkpoint(tmp_path / "a/state", "key")
    assert first.load() is None
    first.save(TENSORS, {"done": 3, "curve": [{"top1": 1 / 3}]})
    tensors, facts = Checkpoint(tmp_path / "a/state", "key").load()
    assert facts == {"done": 3, "curve": [{"top1": 1 / 3}]}
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    first.remove()
    assert first.load() is None
    assert not list((tmp_path / "a").iterdir())


def test_a_foreign_state_is_refused_in_a_sentence_and_not_read(tmp_path, capsys):
    Checkpoint(tmp_path / "state", "key").save(TENSORS, {})
    assert Checkpoint(tmp_path / "state", "other").load() is None
    said = capsys.readouterr().out
    assert "is of other parameters, weights or data; it is not used and this step begins anew" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("where", [0, 20, 90, 200, -1])
def test_a_damaged_state_is_refused_wherever_a_bit_has_flipped(tmp_path, capsys, where):
    Checkpoint(tmp_path / "state", "key").save(TENSORS, {"done": 3})
    content = bytearray((tmp_path / "state").read_bytes())
    content[where] ^= 1
    (tmp_path / "state").write_bytes(content)
    assert Checkpoint(tmp_path / "state", "key").load() is None
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"\n", b"vecaf checkpoint key", b"\x80\x04."])
def test_what_is_no_checkpoint_is_refused(tmp_path, capsys, content):
    (tmp_path / "state").write_bytes(content)
    assert Checkpoint(tmp_path / "state", "key").load() is None
    assert "it is not used and this step begins anew" in capsys.readouterr().out


def test_parts_do_not_stand_in_for_each_other(tmp_path):
    whole = Checkpoint(tmp_path / "parts", "key")
    whole.part(0).save(TENSORS, 4)
    (tmp_path / "parts/part000000000000").rename(tmp_path / "parts/part000000000004")
    assert whole.part(0).load() is None
    assert whole.part(4).load() is None
    whole.remove()
    assert not list(tmp_path.iterdir())


def test_the_interval_and_a_request_to_end_make_one_due(tmp_path):
    assert not checkpoint.NOTHING.due()
    assert Checkpoint(tmp_path / "state", "key", every=0).due()
    patient = Checkpoint(tmp_path / "state", "key", every=1000)
    assert not patient.due()
    os.kill(os.getpid(), signal.SIGTERM)
    assert patient.due()
    with pytest.raises(checkpoint.Stopped, match="the next run goes on from there"):
        patient.end()


def test_without_a_path_a_process_dies_of_sigterm_as_ever():
    code = "import os, signal; from vecaf.checkpoint import Checkpoint; Checkpoint(None, ''); os.kill(os.getpid(), 15)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGTERM


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot write"):
        Checkpoint(tmp_path / "file/state", "key").save(TENSORS, {})
