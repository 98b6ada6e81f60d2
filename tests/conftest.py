"""Fixtures that several tests share: the paper's configuration, the demo's, and changes laid over them."""

from functools import reduce
from pathlib import Path

import pytest
import yaml

from vecaf import config
from vecaf.config.merging import merge
from vecaf.study import Study

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def paper_raw():
    return yaml.safe_load((ROOT / "config.yaml").read_text())


@pytest.fixture(scope="session")
def demo_raw(paper_raw):
    layers = (yaml.safe_load((ROOT / name).read_text()) for name in ("config/digits.yaml", "demo/study.yaml"))
    return reduce(merge, layers, paper_raw)


@pytest.fixture(scope="session")
def paper(paper_raw):
    return Study(config.load(paper_raw))


@pytest.fixture(scope="session")
def demo(demo_raw):
    return Study(config.load(demo_raw))
