"""Ratios as exact decimals: `1pct` is one hundredth, never 0.01 in floating point."""

from decimal import Decimal
from fractions import Fraction


def ratio_of(token: str) -> Fraction:
    """Return the exact ratio that a token such as ``1pct`` or ``0.5pct`` names."""
    return Fraction(token.removesuffix("pct")) / 100


def times(token: str, factor: int) -> str:
    """Return the token of a multiple of a ratio: three times ``0.5pct`` is ``1.5pct``."""
    return f"{(Decimal(token.removesuffix('pct')) * factor).normalize():f}pct"


def subset_size(token: str, pool_size: int) -> int:
    """Return K = floor(ratio·N), exactly (ImageNet: 12,811 / 25,623 / 51,246 at 1, 2 and 4 %)."""
    return int(ratio_of(token) * pool_size)
