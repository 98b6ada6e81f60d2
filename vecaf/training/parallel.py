"""The processes that share one finetuning run: this one alone, or one per GPU through accelerate."""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import Tensor, nn

from vecaf.errors import TrainingError


class Alone:
    """A run in one process."""

    main, rank, world = True, 0, 1
    silent: bool | None = None  # of progress bars; None: where output is no terminal

    def __init__(self, device: torch.device | str):
        self.device = torch.device(device)

    def share(self, batch: np.ndarray) -> np.ndarray:
        """Return this process's part of a global batch."""
        return batch

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return the module to call forward on; its gradients are means over the global batch."""
        return module

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of a tensor over the processes."""
        return values

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in one of the processes."""
        return flag

    def wait(self) -> None:
        """Wait until every process is here."""


class Together(Alone):
    """A run in several processes (torchrun, accelerate launch): the global batch is fixed and split among them."""

    def __init__(self, device: torch.device | str):
        from accelerate import Accelerator

        self._accelerator = Accelerator(cpu=torch.device(device).type == "cpu")
        super().__init__(self._accelerator.device)
        self.main = self._accelerator.is_main_process
        self.rank, self.world = self._accelerator.process_index, self._accelerator.num_processes
        self.silent = None if self.main else True

    def share(self, batch: np.ndarray) -> np.ndarray:
        if len(batch) % self.world:
            raise TrainingError(
                f"a batch of {len(batch)} cannot be split evenly over {self.world} processes; choose another "
                "`batch_size` or number of GPUs"
            )
        # Strided: differently augmented copies of an image, neighbours in a batch, go to different processes.
        half = len(batch) // 2
        if len(batch) % (2 * self.world):
            return batch[self.rank :: self.world]
        # The places i and B + 1 − i stay together: they are the pairs that a loss head is trained on.
        first = np.arange(half)[self.rank :: self.world]
        return batch[np.concatenate([first, len(batch) - 1 - first[::-1]])]

    def wrap(self, module: nn.Module) -> nn.Module:
        return self._accelerator.prepare(module)

    def mean(self, values: Tensor) -> Tensor:
        return self._accelerator.reduce(values, reduction="mean")

    def any(self, flag: bool) -> bool:
        return bool(self.mean(torch.tensor(float(flag), device=self.device)) > 0)

    def wait(self) -> None:
        self._accelerator.wait_for_everyone()


def processes(device: torch.device | str) -> Alone:
    """Return the processes of this run; accelerate is imported only where a launcher started several."""
    return Together(device) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else Alone(device)
