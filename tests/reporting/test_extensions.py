"""The table of controls: a grid like Table 1 that the paper has nothing beside."""

from test_table1 import cell, frame, layout, line

from vecaf.reporting import extensions


def test_controls_stand_beside_each_other_and_beside_no_paper():
    rows = [
        cell("random", "1pct", [0.5, 0.6, 0.7]),
        cell("random", "1pct", [0.8], schedule="single_3x"),
        cell("activeft", "1pct", [0.6, 0.7]),
    ]
    names = [("random", "3loops"), ("random", "single_3x"), ("activeft", "3loops")]
    cards = {"random": "Random, reads ids alone", "activeft": "ActiveFT (Xie et al., CVPR 2023), reads embeddings"}
    schedules = {"single_3x": "own selection of 3 × the ratio for all batches"}
    told = layout(names, [("cifar10", "1pct")], cards=cards, schedules=schedules)
    built = extensions.build(frame(rows), told)
    found = line(built, schedule="single_3x")
    assert (found["row"], found["mean"], found["paper"]) == ("Random single, 3 × the ratio", "80.0000", "")
    text = " ".join(built.to_markdown().split())
    assert "it reports nothing for CIFAR-10" in text
    assert "n = 1 to 3 (of seeds 0, 1, 2)" in text
    assert "single, 3 × the ratio: own selection of 3 × the ratio for all batches." in text
    assert "Selectors: Random, reads ids alone; ActiveFT (Xie et al., CVPR 2023), reads embeddings." in text


def test_a_variant_of_full_data_has_one_cell_under_all_ratios_as_full_data_has():
    rows = [cell("random", "1pct", [0.5]), cell("full_long", "100pct", [0.9], schedule="single")]
    names = [("random", "3loops"), ("full_long", "single")]
    told = layout(names, [("cifar10", "1pct"), ("cifar10", "2pct")], variants={"full_long": {"of": "full"}})
    found = line(extensions.build(frame(rows), told), method="full_long")
    assert (found["ratio"], found["mean"]) == ("100pct", "90.0000")
