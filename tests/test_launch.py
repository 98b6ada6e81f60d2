import os
import subprocess
import sys
from pathlib import Path

from vecaf import launch

ROOT = Path(__file__).resolve().parent.parent


def test_one_process_per_gpu_and_never_more_than_there_are():
    two = launch.command(2, 4, "scripts.finetune", ["--out", "w"])
    assert two[1:4] == ["-m", "torch.distributed.run", "--standalone"]
    assert "--nproc_per_node=2" in two
    assert two[-4:] == ["-m", "scripts.finetune", "--out", "w"]
    for asked, visible in ((2, 0), (2, 1), (1, 4)):
        assert launch.command(asked, visible, "scripts.finetune", ["x"]) == [
            sys.executable,
            "-m",
            "scripts.finetune",
            "x",
        ]


def test_without_gpus_the_script_runs_and_says_so():
    done = subprocess.run(
        [sys.executable, "-m", "vecaf.launch", "2", "scripts.metrics", "--help"],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "2 GPUs are asked for and 0 visible" in done.stderr
    assert "usage: python -m scripts.metrics" in done.stdout or "usage: metrics.py" in done.stdout
