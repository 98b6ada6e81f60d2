"""The typed schema of claims: the paper's sentences as assertions over numbers.

A claim is a list of assertions that all have to hold. An assertion speaks of numbers in the paper's own terms, the
columns of ``vecaf/reporting/paper/reported.csv``; the tables' layouts say which cells of the study stand there. So the
same assertion is asked of the study's metrics and of what the paper prints.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from vecaf.config.part import Name, Part

Key = Literal["dataset", "backbone", "method", "encoder", "ratio", "schedule", "target_class", "domain", "ods", "cea"]
KEYS = get_args(Key)  # what names a number, in the order in which it is said
Some = str | Annotated[list[str], Field(min_length=1)]


class Conditions(Part):
    """Which numbers are meant. A key that is left out is not asked for; a list means each of its values."""

    dataset: Some | None = None
    backbone: Some | None = None
    method: Some | None = None
    encoder: Some | None = None
    ratio: Some | None = None
    schedule: Some | None = None
    target_class: Some | None = None
    domain: Some | None = None
    ods: bool | None = None
    cea: bool | None = None
    metric: str | None = Field(None, description="which number of a cell; none: the one that the exhibit shows")

    def given(self) -> dict[str, str | bool | list[str]]:
        """Return the conditions that are set."""
        return self.model_dump(exclude_none=True)


class Assertion(Part):
    """``of``, or ``of`` minus or over another number, wherever ``where`` holds, lies above or below a threshold.

    Both sides agree in every key that neither names; naming a method leaves its encoder, ods and cea free, a dataset
    its backbone.
    """

    exhibit: Name | None = Field(None, description="where the numbers stand, in the paper and in this study")
    measure: Name | None = Field(
        None, description="a name of `measures`: this study's numbers, where no exhibit has them"
    )
    where: Conditions = Field(default_factory=Conditions, description="conditions on both sides")
    of: Conditions = Field(default_factory=Conditions)
    minus: Conditions | None = Field(None, description="what is subtracted; each value of a list is a rival of its own")
    over: Conditions | None = Field(None, description="what it is divided by, for costs")
    along: dict[Key, Annotated[list[str], Field(min_length=2)]] | None = Field(
        None, description="one key with its values in order: each step minus the one before, at equal other keys"
    )
    across: Literal["all", "any", "mean"] = Field(
        "all", description="of the comparisons: each of them, one of them, or their mean has to lie there"
    )
    above: float | None = Field(None, description="threshold, in points where accuracies are compared")
    below: float | None = None

    @model_validator(mode="after")
    def _whole(self) -> Assertion:
        if self.exhibit is None and self.measure is None:
            raise ValueError("it names no exhibit and no measure, so there are no numbers to look at")
        if (self.above is None) == (self.below is None):
            raise ValueError("it needs one threshold, above or below")
        if self.minus is not None and self.over is not None:
            raise ValueError("it has minus and over; a difference and a ratio are two assertions")
        if self.along is not None and len(self.along) != 1:
            raise ValueError(f"along names {len(self.along)} keys; an order runs along one")
        return self

    @property
    def threshold(self) -> float:
        return self.below if self.above is None else self.above


class Claim(Part):
    statement: str | None = Field(None, description="in words; none: that of the paper's statement of this name")
    note: str | None = Field(None, description="how the words became these assertions, printed with the claim")
    holds_if: Annotated[list[Assertion], Field(min_length=1)] = Field(description="all of these have to hold")


class Measure(Part):
    """Numbers that no exhibit collects, one row per cell and seed, with the cell's keys, seed and a column a number."""

    file: str = Field(description="Parquet or CSV, below the study's root")
    lacking: str = Field(description="why claims are not testable as long as there is no such file")


class Claims(Part):
    """What the paper says, as assertions that the machine checks."""

    statements: dict[Name, Claim | None] = Field(default_factory=dict)
    measures: dict[Name, Measure] = Field(default_factory=dict)
    stand_ins: dict[Key, dict[str, str]] = Field(
        default_factory=dict, description="the same claims on other data: key → the paper's value → this study's"
    )
