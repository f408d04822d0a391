"""The contest's score: profit, plus a bonus for a low p99, less a fine for any audit that differed. Pure.

Formula of both its tests: (settled amount - fees) x (1 + max((11 - p99 ms) x 0.02, 0) - 0.35 if any audit differed).
Both round p99 to hundredths of a millisecond and the bonus to whole percents, halves up (`round(2)` of the organisers'
rinha.js). Money is not rounded: it is in cents until the fees are taken, then a Decimal of cents, and never a float.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from tools.benchmark.events import Totals
from tools.benchmark.scenario import Rules

BONUS_FROM_P99_MS = Decimal(11)
BONUS_PER_MS = Decimal("0.02")
FINE = Decimal("0.35")
_HUNDREDTH = Decimal("0.01")
_PERCENT = Decimal(100)


@dataclass(frozen=True, slots=True)
class Score:
    """Money in cents; `bonus` and `fine` are fractions of the profit; `ceiling_cents` is from `ceiling_cents()`."""

    amount_cents: int
    fees_cents: Decimal
    profit_cents: Decimal
    bonus: Decimal
    fine: Decimal
    score_cents: Decimal
    ceiling_cents: Decimal

    @property
    def of_ceiling(self) -> Decimal | None:
        """The score as a fraction of the ceiling; None when nothing was accepted."""
        return self.score_cents / self.ceiling_cents if self.ceiling_cents else None


def bonus_of(p99_ms: float) -> Decimal:
    """The bonus as a fraction, in whole percents."""
    p99 = Decimal(str(p99_ms)).quantize(_HUNDREDTH, ROUND_HALF_UP)
    return max(((BONUS_FROM_P99_MS - p99) * BONUS_PER_MS).quantize(_HUNDREDTH, ROUND_HALF_UP), Decimal(0))


def score_of(rules: Rules, settled: tuple[Totals, Totals], accepted_cents: int, p99_ms: float, *, fined: bool) -> Score:
    """The score for the totals settled (default, fallback) when the load ends."""
    default, fallback = settled
    fees_cents = (
        Decimal(default.cents) * rules.fee_default_percent + Decimal(fallback.cents) * rules.fee_fallback_percent
    ) / _PERCENT
    amount_cents = default.cents + fallback.cents
    profit_cents = amount_cents - fees_cents
    bonus = bonus_of(p99_ms)
    fine = FINE if fined else Decimal(0)
    return Score(
        amount_cents=amount_cents,
        fees_cents=fees_cents,
        profit_cents=profit_cents,
        bonus=bonus,
        fine=fine,
        score_cents=profit_cents * (1 + bonus - fine),
        ceiling_cents=ceiling_cents(rules, accepted_cents, bonus),
    )


def ceiling_cents(rules: Rules, accepted_cents: int, bonus: Decimal) -> Decimal:
    """The highest score with this p99: everything accepted paid in time at the default's fee, no fine."""
    return accepted_cents * (_PERCENT - rules.fee_default_percent) / _PERCENT * (1 + bonus)
