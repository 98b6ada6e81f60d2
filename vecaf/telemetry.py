"""What the GPUs of a process did while a stage ran, as the driver counts it (NVML): how busy, how full, what energy."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

EVERY = 1.0  # seconds between two looks; one takes well under a millisecond


def watch(device: object | None) -> Watch | None:
    """Start watching the GPUs that this process sees; None for a stage on the CPU and where there is no driver."""
    if device is not None and not str(device).startswith("cuda"):
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = _handles(pynvml)
    except Exception:  # no driver, no library
        return None
    return Watch(pynvml, handles) if handles else None


def _handles(nvml: Any) -> list[Any]:
    """Return the handles of the visible GPUs; NVML itself does not know CUDA_VISIBLE_DEVICES."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    words = [word.strip() for word in chosen.split(",") if word.strip() not in ("", "-1")]
    return [
        nvml.nvmlDeviceGetHandleByIndex(int(word)) if word.isdigit() else nvml.nvmlDeviceGetHandleByUUID(word)
        for word in words
    ]


class Watch:
    """Looks at GPUs once a second in a thread of its own, until ``stop``."""

    def __init__(self, nvml: Any, handles: list[Any]):
        self._nvml, self._handles = nvml, handles
        self._busy: list[list[int]] = [[] for _ in handles]
        self._memory = [0] * len(handles)
        self._energy = [_energy(nvml, handle) for handle in handles]
        self._began, self._over = time.perf_counter(), threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()

    def _look_on(self) -> None:
        while True:
            for place, handle in enumerate(self._handles):
                try:
                    self._busy[place].append(self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
                    used = self._nvml.nvmlDeviceGetMemoryInfo(handle).used
                    self._memory[place] = max(self._memory[place], used)
                except Exception:  # a GPU that does not tell (a slice of one, say)
                    continue
            if self._over.wait(EVERY):
                return

    def stop(self) -> list[dict[str, Any]]:
        """Return a record for each GPU: utilization (mean share of the time in which it ran kernels, 0 … 1),
        memory_mb (most in use, of all processes, MB of 10⁶ bytes), energy_joules and power_watts (mean); None for what
        the driver does not tell."""
        self._over.set()
        self._thread.join(timeout=5)
        seconds = time.perf_counter() - self._began
        records = []
        for place, handle in enumerate(self._handles):
            busy, before, after = self._busy[place], self._energy[place], _energy(self._nvml, handle)
            joules = None if before is None or after is None else (after - before) / 1000
            records.append(
                {
                    "utilization": round(sum(busy) / len(busy) / 100, 3) if busy else None,
                    "memory_mb": round(self._memory[place] / 1e6, 1) or None,
                    "energy_joules": None if joules is None else round(joules, 1),
                    "power_watts": None if joules is None else round(joules / max(seconds, 1e-9), 1),
                }
            )
        return records


def _energy(nvml: Any, handle: Any) -> int | None:
    """Return the millijoules that a GPU has used since the driver was loaded; Volta and newer tell."""
    try:
        return nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:
        return None
