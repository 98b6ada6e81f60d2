"""The map of selections and the margin test behind it."""

import io
import math

import numpy as np
import pandas as pd
import pytest
import torch

from vecaf.errors import ArtifactError, ConfigError
from vecaf.reporting import embedding_map, figure6, margins


def test_the_margin_of_two_classes_by_hand():
    # Logits (ln 3, 0, −∞-like): probabilities 3/4, 1/4, 0; then two equal classes; then one certain one.
    embeddings = np.array([[math.log(3), 0, -50], [1, 1, -50], [60, 0, 0]], dtype=np.float32)
    found = margins.top_two(embeddings, np.eye(3, dtype=np.float32), np.zeros(3, dtype=np.float32))
    assert found == pytest.approx([0.5, 0.0, 1.0])


def test_cliffs_delta_by_hand():
    # Of six pairs (a, b), a is larger in one, smaller in four, equal in one.
    found = margins.compare(np.array([1.0, 2.0]), np.array([2.0, 3.0, 1.5]))
    assert found.delta == pytest.approx((1 - 4) / 6)
    assert margins.compare(np.array([1.0]), np.array([])) == margins.Comparison(None, None)
    same = margins.compare(np.ones(5), np.ones(4))
    assert (same.delta, same.p) in ((0.0, None), (0.0, 1.0))


def test_the_test_finds_a_shift_and_no_more():
    rng = np.random.default_rng(0)
    a, b = rng.random(300), rng.random(300)
    assert margins.compare(a * 0.8, b).p < 1e-3
    assert margins.compare(a * 0.8, b).delta < 0
    assert margins.compare(a, b).p > 0.01


def test_random_sets_agree_with_drawing_them():
    rng = np.random.default_rng(1)
    values = rng.random(60) ** 2
    rows = np.argsort(values)[:12]
    found = margins.against_random(values, rows)
    drawn = [values[rng.choice(60, 12, replace=False)].mean() for _ in range(20_000)]
    assert found.random_mean == pytest.approx(np.mean(drawn), abs=2e-3)
    assert found.random_sd == pytest.approx(np.std(drawn), rel=0.03)
    assert found.z == pytest.approx((values[rows].mean() - values.mean()) / found.random_sd)
    assert found.z < -4
    assert found.p < 1e-4


def test_the_whole_pool_is_no_random_set():
    found = margins.against_random(np.arange(4.0), np.arange(4))
    assert (found.z, found.p, found.random_sd) == (None, None, 0.0)


LAYOUT = {
    "exhibit": "figure6",
    "title": "Of a test",
    "place_title": "Digits, 20 %",
    "names": {"activeft": "ActiveFT", "vecaf": "VeCAF"},
    "weights_of": "VeCAF",
    "map": {"metric": "cosine", "neighbors": 15, "min_distance": 0.1, "seed": 1},
    "notes": ["A note"],
    "config_digest": "abc",
}


def samples(seeds=(0, 1, 2), count=40):
    """Return a pool of which VeCAF takes the smallest margins and ActiveFT the middle, two of them in common."""
    rng = np.random.default_rng(5)
    tables = []
    for seed in seeds:
        margin = np.linspace(0, 0.975, count) + 0.001 * seed
        ids = np.arange(count)
        x, y = rng.normal(size=(2, count)) if seed == seeds[0] else (np.nan, np.nan)
        tables.append(
            pd.DataFrame(
                {
                    "seed": seed,
                    "id": ids,
                    "class": np.array(["cat", "dog"])[ids % 2],
                    "margin": margin,
                    "x": x,
                    "y": y,
                    "by_activeft": (ids >= 6) & (ids < 14),
                    "by_vecaf": ids < 8,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def csv(found):
    return pd.read_csv(io.StringIO(found.to_csv_text()))


def test_numbers_of_every_seed_by_hand():
    found = csv(figure6.build(samples(), LAYOUT))
    sets = found[found["what"] == "set"].set_index(["seed", "chosen_by"])
    assert len(sets) == 6
    vecaf = sets.loc[(0, "vecaf")]
    assert (vecaf["n"], vecaf["n_alone"]) == (8, 6)
    assert vecaf["mean_margin"] == pytest.approx(0.025 * 3.5)  # of 0, 1, … 7 fortieths
    assert vecaf["random_mean_margin"] == pytest.approx(0.025 * 19.5)
    assert vecaf["delta_alone_against_other"] == -1.0  # 0 … 5 lie below 8 … 13
    assert sets.loc[(0, "activeft"), "delta_alone_against_other"] == 1.0
    assert vecaf["delta_against_rest"] == -1.0
    assert vecaf["z_against_random"] < -3
    drawn = found[found["what"] == "sample"]
    assert drawn["chosen_by"].value_counts().to_dict() == {"vecaf": 6, "activeft": 6, "both": 2}
    assert set(drawn["seed"]) == {0}
    assert drawn[["x", "y"]].notna().all(axis=None)


def test_the_caption_tells_the_test():
    text = figure6.build(samples(), LAYOUT).caption
    assert "Selected by both: 2; by VeCAF alone: 6; by ActiveFT alone: 6." in text
    assert "paired by seed (n = 3): −0.150 (95 % interval −0.150 to −0.150)." in text
    assert "Cliff's δ −1.00" in text
    one = figure6.build(samples(seeds=(4,)), LAYOUT).caption
    assert "paired by seed (n = 1): −0.150." in one


def test_equal_numbers_give_equal_files(tmp_path):
    written = []
    for number in range(2):
        png, pdf = tmp_path / f"{number}.png", tmp_path / f"{number}.pdf"
        figure6.build(samples(), LAYOUT).save(png, pdf)
        written.append((png.read_bytes(), pdf.read_bytes()))
    assert written[0] == written[1]


def test_methods_that_agree_in_everything_are_drawn():
    table = samples()
    table["by_activeft"] = table["by_vecaf"]
    found = figure6.build(table, LAYOUT)
    assert "by VeCAF alone: 0" in found.caption
    assert "Cliff's δ —" in found.caption


def test_other_methods_than_two_are_refused():
    with pytest.raises(ConfigError, match=r"exhibits\.figure6 compares vecaf with one other method"):
        figure6.build(samples(), LAYOUT | {"names": {"vecaf": "VeCAF"}})


def test_a_pool_too_small_for_a_map_is_refused():
    with pytest.raises(ArtifactError, match="at least 8 samples, the pool has 5"):
        embedding_map.coordinates(np.ones((5, 3)), neighbors=3, min_distance=0.1, metric="cosine", seed=0)


@pytest.mark.slow
def test_a_map_is_seeded_and_keeps_neighbours_together():
    rng = np.random.default_rng(0)
    centres = np.repeat(np.eye(3, 8), 30, axis=0)
    embeddings = (centres + 0.05 * rng.normal(size=(90, 8))).astype(np.float16)
    options = {"neighbors": 10, "min_distance": 0.1, "metric": "cosine"}
    threads = torch.get_num_threads()
    one, two, other = (embedding_map.coordinates(embeddings, seed=seed, **options) for seed in (7, 7, 2**40))
    assert torch.get_num_threads() == threads  # else all that runs after it in the process runs with others
    assert one.tobytes() == two.tobytes()
    assert one.tobytes() != other.tobytes()
    assert (one.shape, one.dtype) == ((90, 2), np.float32)
    distances = np.linalg.norm(one[:, None] - one[None], axis=2) + np.eye(90) * 1e9
    assert (distances.argmin(axis=1) // 30 == np.arange(90) // 30).all()


def test_a_name_stands_at_the_top_of_where_its_class_lies_closest_together():
    cluster = np.array([[0.0, 0.0], [0.1, 0.2], [0.0, 0.1], [0.1, 0.0]])
    assert figure6._top(np.vstack([cluster, [[50.0, 50.0]]])).tolist() == [0.1, 0.2]
