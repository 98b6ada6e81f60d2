"""A finished demo in seconds: the real rules with scripts that only create their outputs, for tests on planned jobs."""

import shutil

import pytest
from planning import FAKE, Project, copy_project


@pytest.fixture(scope="session")
def fresh(tmp_path_factory):
    """A fresh clone: nothing has been run."""
    return copy_project(tmp_path_factory.mktemp("fresh"))


@pytest.fixture(scope="session")
def _finished(tmp_path_factory):
    project = copy_project(tmp_path_factory.mktemp("finished"))
    fakes = tmp_path_factory.mktemp("fakes")
    (fakes / "scripts").mkdir()
    for script in (project.folder / "scripts").glob("*.py"):
        (fakes / "scripts" / script.name).write_text("" if script.stem == "__init__" else FAKE)
    return project, project.snakemake(fakes=fakes).text


@pytest.fixture
def finished(_finished, tmp_path):
    """A demo whose every job has run, in a copy of its own; the scripts are fakes, rules and library are real."""
    done, log = _finished
    shutil.copytree(done.folder, tmp_path / "project", symlinks=True)
    project = Project(tmp_path / "project")
    project.log = log  # of the run that finished it
    return project
