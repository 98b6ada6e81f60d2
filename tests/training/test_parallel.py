"""Two processes on a CPU train to the weights of one: the global batch is split, gradients and losses are means."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from vecaf.errors import TrainingError
from vecaf.selection.learning_loss import LossHead
from vecaf.training import parallel, recipes
from vecaf.training.finetune import finetune
from vecaf.training.monitor import Monitor

ROOT = Path(__file__).parents[2]
SEEDS = {"batches": 11, "augmentation": 12}
pytestmark = pytest.mark.slow


def train(kind, out=None):
    """Train the tiny model on deterministic inputs; run by each process of the test below.

    kind: with ``captions`` (CEA), or with a ``loss_head`` that is trained along.
    """
    import stand_ins
    from safetensors.torch import save_file

    from vecaf.models import backbone

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (24, 3, stand_ins.SIZE, stand_ins.SIZE), generator=generator, dtype=torch.uint8)
    images = stand_ins.ImageSet(pixels, np.arange(24) % stand_ins.CLASSES)
    spec = stand_ins.SPEC | {"args": stand_ins.SPEC["args"] | {"depth": 4}}
    hidden = 6 if kind == "loss_head" else None
    model = backbone.build(spec, stand_ins.CLASSES, input_size=stand_ins.SIZE, loss_head=hidden)
    recipe = recipes.resolve("paper", {"batch_size": 8, "learning_rate": 0.05, "clip_norm": 1.0})
    along = {"cea": (np.ones((24, 24), np.float32), np.linspace(0, 1, 24), 0.2)}
    if kind == "loss_head":
        along = {"loss_head": LossHead(criterion="ranking").model_dump()}
    result = finetune(
        *(model, images, images.labels),
        **{"train_transform": stand_ins.normalise, "recipe": recipe, "start": 0, "stop": 6, "total": 6, **along},
        seeds=SEEDS,
        monitor=Monitor(images, images, stand_ins.normalise, total=6, points=3),
    )
    if out and result.main:
        losses = torch.tensor(result.log["loss"])
        save_file(model.state_dict() | {"losses": losses, "rows": torch.tensor(len(result.curve))}, out)
        assert result.processes == 2
    return model, result


@pytest.mark.parametrize("kind", ["captions", "loss_head"])
def test_two_processes_train_to_the_weights_of_one(kind, tmp_path):
    from safetensors.torch import load_file

    out = tmp_path / "weights.safetensors"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", __file__, kind]
    command.append(str(out))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]
    together = load_file(out)
    model, result = train(kind)
    assert torch.allclose(together.pop("losses"), torch.tensor(result.log["loss"]), atol=1e-5)
    assert together.pop("rows") == len(result.curve) == 4
    for name, tensor in model.state_dict().items():
        assert torch.allclose(together[name], tensor, atol=1e-5), name


def test_one_process_imports_no_accelerate():
    code = (
        "import sys; from vecaf.training import parallel; parallel.processes('cpu'); print('accelerate' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("WORLD_SIZE", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_uneven_split_is_refused():
    group = object.__new__(parallel.Together)
    group.world, group.rank = 3, 1
    assert group.share(np.arange(6)).tolist() == [1, 4]
    assert group.share(np.arange(9)).tolist() == [1, 4, 7]
    with pytest.raises(TrainingError, match="batch of 8 cannot be split evenly over 3"):
        group.share(np.arange(8))


def test_pairs_stay_together():
    shares = []
    for rank in range(2):
        group = object.__new__(parallel.Together)
        group.world, group.rank = 2, rank
        shares.append(group.share(np.arange(12)))
        assert (shares[-1] + shares[-1][::-1] == 11).all()
    assert sorted(np.concatenate(shares)) == list(range(12))


if __name__ == "__main__":
    train(*sys.argv[1:])
