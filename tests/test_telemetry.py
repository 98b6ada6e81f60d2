"""What GPUs did, from a stand-in for the driver; on a machine with one, from the driver itself."""

import sys
import time
from types import SimpleNamespace

import pytest

from vecaf import telemetry
from vecaf.provenance import Stage


class Driver:
    """Two GPUs: the first is busy half of the time, the second does not tell its energy."""

    def __init__(self):
        self.looks = 0

    def nvmlInit(self):
        pass

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetHandleByUUID(self, name):
        return {"GPU-b": 1}[name]

    def nvmlDeviceGetUtilizationRates(self, handle):
        self.looks += handle == 0
        return SimpleNamespace(gpu=100 * (self.looks % 2) if handle == 0 else 30)

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(used=5_000_000_000 - self.looks * 1_000_000 + handle)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if handle == 1:
            raise RuntimeError("not supported")
        return int(time.monotonic() * 200_000)  # mJ at 200 W


@pytest.fixture
def driver(monkeypatch):
    driver = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    monkeypatch.setattr(telemetry, "EVERY", 0.005)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return driver


def test_a_stage_tells_what_each_gpu_did(driver):
    with Stage("finetune", "cuda") as stage:
        time.sleep(0.2)
    first, second = stage.record["gpus"]
    assert first["utilization"] == pytest.approx(0.5, abs=0.1)
    assert first["memory_mb"] == pytest.approx(4999, abs=1)
    assert first["power_watts"] == pytest.approx(200, rel=0.2)
    assert first["energy_joules"] == pytest.approx(40, rel=0.5)
    assert second["utilization"] == pytest.approx(0.3)
    assert second["energy_joules"] is None


@pytest.mark.parametrize(("chosen", "count"), [("", 0), ("1", 1), ("GPU-b,0", 2), ("-1", 0)])
def test_only_the_gpus_of_the_job_are_watched(driver, monkeypatch, chosen, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    watch = telemetry.watch(None)
    assert (len(watch.stop()) if watch else 0) == count


def test_a_stage_on_the_cpu_watches_nothing(driver):
    with Stage("finetune", "cpu") as stage:
        pass
    assert "gpus" not in stage.record
    assert driver.looks == 0


def test_a_gpu_that_tells_nothing_costs_nothing(driver, monkeypatch):
    monkeypatch.setattr(driver, "nvmlDeviceGetUtilizationRates", lambda handle: 1 / 0, raising=False)
    with Stage("finetune", "cuda") as stage:
        time.sleep(0.02)
    assert stage.record["gpus"][0]["utilization"] is None
