"""Killed and asked to end, finetuning, scoring and TA-VAAL's game go on to the last bit of an undisturbed run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import stand_ins
import torch

from vecaf import checkpoint as checkpoints
from vecaf.checkpoint import Checkpoint, Stopped
from vecaf.selection import adversarial
from vecaf.selection.learning_loss import LossHead
from vecaf.training import recipes, score
from vecaf.training.finetune import finetune
from vecaf.training.monitor import Monitor

ROOT = Path(__file__).parents[2]
SPEC = stand_ins.SPEC | {"args": stand_ins.SPEC["args"] | {"depth": 4}}
BATCHES, IMAGES = 130, 40  # more than two blocks in which losses are fetched
pytestmark = pytest.mark.slow


def inputs():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (IMAGES, 3, stand_ins.SIZE, stand_ins.SIZE), generator=generator, dtype=torch.uint8)
    return stand_ins.ImageSet(pixels, np.arange(IMAGES) % stand_ins.CLASSES)


def train(checkpoint=checkpoints.NOTHING, loss_head=True):
    """Finetune with everything that has a state: momentum, stochastic depth, a loss head, captions, a monitor."""
    from vecaf.models import backbone

    torch.set_num_threads(1)
    images = inputs()
    model = backbone.build(
        SPEC,
        stand_ins.CLASSES,
        input_size=stand_ins.SIZE,
        drop_path=0.1,
        loss_head=6 if loss_head else None,
    )
    recipe = recipes.resolve("released", {"batch_size": 8, "learning_rate": 0.05, "repeated_augmentation": 1})
    result = finetune(
        *(model, images, images.labels),
        **{"train_transform": stand_ins.jitter, "recipe": recipe, "start": 0, "stop": BATCHES, "total": BATCHES},
        seeds={"batches": 11, "augmentation": 12},
        cea=(np.ones((IMAGES, 24), np.float32), np.linspace(0, 1, IMAGES), 0.2),
        loss_head=LossHead(criterion="margin").model_dump() if loss_head else None,
        monitor=Monitor(images, images, stand_ins.normalise, total=BATCHES, points=10),
        checkpoint=checkpoint,
    )
    curve = [{name: row[name] for name in ("batch", "probe_loss", "top1")} for row in result.curve]
    return model.state_dict() | result.optimizer_state, result.log, curve


def play(checkpoint=checkpoints.NOTHING):
    generator = np.random.default_rng(0)
    torch.set_num_threads(1)
    images = generator.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    sides = adversarial.sides(images, generator.random(24), np.arange(10), np.arange(10, 24))
    game = adversarial.new_game(3, width=4, latent=4, image_size=32, learning_rate=1e-3)
    adversarial.train(game, *sides, iterations=25, batch_size=4, beta=1.0, gamma=1.0, seed=5, checkpoint=checkpoint)
    return adversarial.state(game), adversarial.score(game, sides[1], batch_size=8, bn_eval=True).tolist(), None


def judge(checkpoint=checkpoints.NOTHING):
    from vecaf.models import backbone

    torch.set_num_threads(1)
    images = inputs()
    model = backbone.build(SPEC, stand_ins.CLASSES, input_size=stand_ins.SIZE, loss_head=6)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.linspace(-0.3, 0.4, parameter.numel()).view_as(parameter))
    embeddings, predicted = np.zeros((IMAGES, 24), np.float16), np.zeros(IMAGES, np.float32)
    losses = score.score(
        *(model, images, stand_ins.normalise),
        batch_size=2,
        embeddings=embeddings,
        predicted_losses=predicted,
        checkpoint=checkpoint,
    )
    return {"embeddings": torch.from_numpy(embeddings), "predicted": torch.from_numpy(predicted)}, losses.tolist(), None


STEPS = {"train": train, "play": play, "judge": judge}


@pytest.fixture(autouse=True)
def unasked():
    before, threads = signal.getsignal(signal.SIGTERM), torch.get_num_threads()
    yield
    signal.signal(signal.SIGTERM, before)
    torch.set_num_threads(threads)
    checkpoints._asked.clear()


class Watched(Checkpoint):
    """Asks this process to end when a state is due for the n-th time, as a time limit would."""

    left = 0

    def due(self):
        Watched.left -= 1
        if Watched.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().due()


def same(first, second):
    tensors, *facts = first
    others, *more = second
    assert facts == more
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, others[name]), name


@pytest.mark.parametrize("step", STEPS)
def test_asked_to_end_it_keeps_its_state_and_goes_on(step, tmp_path, capsys):
    whole, stops = STEPS[step](), 0
    for often in (3, 8, 1):
        Watched.left = often
        with pytest.raises(Stopped, match="the next run goes on from there"):
            STEPS[step](Watched(tmp_path / "state", "key"))
        checkpoints._asked.clear()
        stops += 1
    Watched.left = 0
    same(STEPS[step](Checkpoint(tmp_path / "state", "key")), whole)
    assert capsys.readouterr().out.count("going on after") == stops


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_moment_it_goes_on(step, tmp_path):
    """SIGKILL, three times, each as soon as there is something new to lose."""
    command = [sys.executable, __file__, step, str(tmp_path / "state")]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{Path(__file__).parent}", "OMP_NUM_THREADS": "1"}
    seen = set()
    for _ in range(3):
        running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until = time.monotonic() + 60
        while running.poll() is None and time.monotonic() < until and not (states(tmp_path) - seen):
            time.sleep(0.002)
        running.kill()
        assert running.wait() == -signal.SIGKILL, running.stderr.read().decode()
        seen |= states(tmp_path)
    assert len(seen) >= 3
    same(STEPS[step](Checkpoint(tmp_path / "state", "key", every=0)), STEPS[step]())


def states(folder):
    """Return which states have been written so far, told apart by file and time of writing."""
    found = set()
    for file in folder.rglob("*"):
        if file.is_file() and not file.name.startswith("."):
            found.add((file.name, file.stat().st_mtime_ns))
    return found


@pytest.mark.parametrize("step", STEPS)
def test_a_damaged_state_costs_time_and_nothing_else(step, tmp_path, capsys):
    Watched.left = 4
    with pytest.raises(Stopped):
        STEPS[step](Watched(tmp_path / "state", "key"))
    checkpoints._asked.clear()
    for file in [path for path in tmp_path.rglob("*") if path.is_file()]:
        content = bytearray(file.read_bytes())
        content[-5] ^= 4
        file.write_bytes(content)
    same(STEPS[step](Checkpoint(tmp_path / "state", "key")), STEPS[step]())
    said = capsys.readouterr().out
    assert "is damaged" in said
    assert "going on" not in said


if __name__ == "__main__":
    STEPS[sys.argv[1]](Checkpoint(sys.argv[2], "key", every=0))
