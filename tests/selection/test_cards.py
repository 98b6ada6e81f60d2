"""The page of cards is the classes' own."""

from pathlib import Path

from vecaf import selection
from vecaf.selection import cards

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_current():
    """Regenerate with `python -m vecaf.selection.cards > docs/methods.md`."""
    assert (ROOT / "docs/methods.md").read_text() == cards.page()


def test_a_card_tells_what_a_reader_asks():
    card = cards.card(selection.get("ta_vaal"))
    for said in (
        "## TA-VAAL (`ta_vaal`)",
        "Kim et al., CVPR 2021",
        "reads: images, predicted losses",
        "cannot choose in loop 1",
        "never chooses a sample twice",
        "| `max_iterations` | none | whole number ≥ 1 or none |",
        "| `image_size` | 32 | 32, 64 |",
        "| `loss_head.criterion` | ranking | margin, ranking |",
        "| `bn_eval` | true | true, false |",
    ):
        assert said in card
    assert "parameter" not in cards.card(selection.get("random"))
