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
    return merge(*(yaml.safe_load((ROOT / file).read_text()) for file in ("config.yaml", "claims.yaml")))


@pytest.fixture(scope="session")
def laid_over(paper_raw):
    """Return a function that lays files over the paper's configuration, in the order of a command line."""

    def lay(*files):
        return reduce(merge, (yaml.safe_load((ROOT / file).read_text()) for file in files), paper_raw)

    return lay


@pytest.fixture(scope="session")
def demo_raw(laid_over):
    return laid_over("config/digits.yaml", "demo/study.yaml")


@pytest.fixture(scope="session")
def paper(paper_raw):
    return Study(config.load(paper_raw))


@pytest.fixture(scope="session")
def demo(demo_raw):
    return Study(config.load(demo_raw))


def pytest_collection_modifyitems(items):
    """Put modules with slow tests first: begun last, one of some minutes would run alone while other cores idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
