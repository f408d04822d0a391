"""How money, times and ids are written, to clients and to processors alike: pure, from whole numbers and bytes."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SECOND_MS = 1_000
_SECOND_US = 1_000_000


class JsonNumber(str):
    """A number of a JSON text as it was written, so that it never becomes a float; a class of its own tells it from a
    string.
    """

    __slots__ = ()


def format_cents(amount_cents: int) -> str:
    """Cents, not negative, as a JSON number with two decimals: `19.90`."""
    return f"{amount_cents // 100}.{amount_cents % 100:02d}"


def format_id(correlation_id: bytes) -> str:
    """The UUID of 16 bytes, in lower case; a fifth of the price of `uuid.UUID`."""
    text = correlation_id.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def format_instant_ms(instant_ms: int) -> str:
    """Milliseconds since 1970 UTC as ISO 8601, the way the processors want it: `2025-07-15T12:34:56.789Z`."""
    second, ms = divmod(instant_ms, _SECOND_MS)
    return f"{_format_second(second)}.{ms:03d}Z"


def format_instant_us(instant_us: int) -> str:
    """Microseconds since 1970 UTC as ISO 8601, with six digits: `2025-07-15T12:34:56.789012Z`."""
    second, us = divmod(instant_us, _SECOND_US)
    return f"{_format_second(second)}.{us:06d}Z"


@lru_cache(maxsize=8)  # this second, and those of a few unknown payments asked for again
def _format_second(second: int) -> str:
    return (EPOCH + timedelta(seconds=second)).replace(tzinfo=None).isoformat()
