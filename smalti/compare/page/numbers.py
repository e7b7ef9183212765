"""Numbers as people read them: few digits, a real minus, a dash for none."""

from __future__ import annotations

import math
from collections.abc import Sequence

NONE = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
SPACE = "\N{NARROW NO-BREAK SPACE}"


def signed(text: str) -> str:
    """With a real minus."""
    return text.replace("-", MINUS)


def significant(value: float | None, digits: int = 3) -> str:
    """With so many digits that count, never as a power of ten between 0.0001 and a million."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size < -4 or size >= 6:
        return signed(f"{value:.{digits - 1}e}")
    return signed(f"{value:,.{max(0, digits - 1 - size)}f}".replace(",", SPACE))


def percent(value: float | None) -> str:
    """With a sign; tenths below ten."""
    if value is None or not math.isfinite(value):
        return NONE
    if abs(value) >= 9.95:
        return signed(f"{value:+,.0f}".replace(",", SPACE)) + f"{SPACE}%"
    return signed(f"{value + 0.0:+.1f}" if round(value, 1) else "0.0") + f"{SPACE}%"


def share(value: float | None) -> str:
    """0..1 as percent, without a sign; tenths below ten."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{100 * value:.{1 if 0 < value < 0.0995 else 0}f}{SPACE}%"


def interval(low: float | None, high: float | None) -> str:
    """Two percents in brackets."""
    if low is None or high is None:
        return ""
    return f"[{percent(low).removesuffix(f'{SPACE}%')}, {percent(high).removesuffix(f'{SPACE}%')}]"


def size(count: float | None) -> str:
    """Bytes in the unit that fits."""
    if count is None:
        return NONE
    for unit, step in (("MB", 1e6), ("kB", 1e3)):
        if count >= step:
            return f"{significant(count / step)}{SPACE}{unit}"
    return f"{count:.0f} bytes"


def listed(names: Sequence[str], last: str = "and") -> str:
    """As in "a, b and c"."""
    return f" {last} ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def counted(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}".replace(",", SPACE)
