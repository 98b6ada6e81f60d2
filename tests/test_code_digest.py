import json
import textwrap

import pytest

from vecaf import code_digest

MODULE = '''
"""A module."""
from vecaf import helper


def act(x):
    """Act."""
    return helper.twice(x)  # because
'''


@pytest.fixture
def project(tmp_path):
    (tmp_path / "vecaf").mkdir()
    (tmp_path / "vecaf" / "__init__.py").write_text("")
    (tmp_path / "vecaf" / "helper.py").write_text("def twice(x):\n    return 2 * x\n")
    (tmp_path / "vecaf" / "other.py").write_text("x = 1\n")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "step.py").write_text(MODULE)

    def digest(*more):
        for cached in (code_digest._bare, code_digest._file_digest, code_digest._imports, code_digest._code_digest):
            cached.cache_clear()
        return code_digest.code_digest("scripts/step.py", *more, root=tmp_path)

    return tmp_path, digest


def test_comments_docstrings_and_layout_change_nothing(project):
    folder, digest = project
    before = digest()
    (folder / "scripts" / "step.py").write_text(
        MODULE.replace("Act.", "Act, in other words.")
        .replace("# because", "# for another reason")
        .replace("\n\n\n", "\n\n")
    )
    assert digest() == before


def test_code_of_the_step_and_of_what_it_imports_counts(project):
    folder, digest = project
    before = digest()
    (folder / "scripts" / "step.py").write_text(MODULE.replace("twice(x)", "twice(x) + 1"))
    changed = digest()
    assert changed != before
    (folder / "vecaf" / "helper.py").write_text("def twice(x):\n    return x + x\n")
    assert digest() not in (before, changed)


def test_code_that_the_step_does_not_import_counts_not(project):
    folder, digest = project
    before = digest()
    (folder / "vecaf" / "other.py").write_text("x = 2\n")
    assert digest() == before


def test_imports_inside_functions_are_followed(project):
    folder, digest = project
    inner = textwrap.dedent(MODULE).replace('"""Act."""', "from vecaf.other import x as y")
    (folder / "scripts" / "step.py").write_text(inner)
    before = digest()
    (folder / "vecaf" / "other.py").write_text("x = 2\n")
    assert digest() != before


def test_a_file_that_is_no_code_counts_as_it_is(project):
    folder, digest = project
    (folder / "vecaf" / "figure.style").write_text("font.size: 8  # points\n")
    before = digest("vecaf/figure.style")
    assert before != digest()
    (folder / "vecaf" / "figure.style").write_text("font.size: 9  # points\n")
    assert digest("vecaf/figure.style") != before


def test_expensive_steps_are_acknowledged():
    """Fails when the code of an expensive step changed and nobody said whether its results change."""
    assert code_digest.drifted() == [], (
        "run `python -m vecaf.code_digest raise STEP` if results change (every cell's step runs again), "
        "or `… acknowledge STEP` if they do not"
    )


def test_raising_and_acknowledging(tmp_path, monkeypatch, capsys):
    lock = tmp_path / "step_versions.json"
    lock.write_text(json.dumps({"score": {"version": 3, "code": "old", "entries": ["scripts/score.py"]}}))
    monkeypatch.setattr(code_digest, "LOCK", lock)
    assert code_digest.drifted() == ["score"]
    assert code_digest.main(["acknowledge", "score"]) == 0
    assert code_digest.drifted() == []
    assert json.loads(lock.read_text())["score"]["version"] == 3
    assert code_digest.main(["raise", "score"]) == 0
    assert json.loads(lock.read_text())["score"]["version"] == 4
    assert code_digest.main(["raise", "scores"]) == 2
    assert "'scores' is not one of score" in capsys.readouterr().err
