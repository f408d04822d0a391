"""The payments of a load: id and amount of each are computed from the run, the user and the turn.

So the generator need not record what it sent, and missing payments can be named at the end. `load.js` computes the
same; `test_generator.py` checks that. Ids are SHA-256 cut to the shape of a version 4 UUID (RFC 9562 § 5.4), as evenly
spread as random ones. `run` differs in every run: a gateway remembers ids, so it would not charge the same ids again.
Amounts depend on `seed` instead, so that a load can be repeated.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from tools.benchmark.scenario import Amount

_VARIANT = "89ab"  # the first digit of a UUID's fourth group carries two fixed bits
_STRIDE = 1_000_003  # a prime greater than any range, so it has no common factor with one
_SEED_DIGITS = 12  # 48 bits: exact in a JavaScript number, far wider than any range of amounts


class Sent(NamedTuple):
    """One payment of the load: the `turn`-th (from 0) of the user numbered `user`."""

    user: int
    turn: int
    amount_cents: int


def correlation_id(run: str, user: int, turn: int) -> str:
    """The lower-case UUID that the `turn`-th payment of this user carries in this run."""
    digest = sha256(f"{run}/{user}/{turn}".encode()).hexdigest()
    variant = _VARIANT[int(digest[15], 16) % 4]
    return f"{digest[:8]}-{digest[8:12]}-4{digest[12:15]}-{variant}{digest[16:19]}-{digest[20:32]}"


def amount_cents(seed: int, amount: Amount, user: int, turn: int) -> int:
    """The cents of the `turn`-th payment of this user."""
    spread = amount.cents_max - amount.cents_min + 1
    if spread == 1:
        return amount.cents_min
    digest = sha256(f"{seed}/{user}/{turn}".encode()).hexdigest()
    return amount.cents_min + int(digest[:_SEED_DIGITS], 16) % spread


def spread_cents(seed: int, amount: Amount, turn: int) -> int:
    """The cents of the `turn`-th payment of a load at a constant rate; takes less CPU than `amount_cents`.

    Consecutive amounts are far apart, and every amount of the range comes once before any repeats.
    """
    spread = amount.cents_max - amount.cents_min + 1
    return amount.cents_min + (seed + turn * _STRIDE) % spread


def possible(run: str, seed: int, amount: Amount, *, users: int, turns: int) -> Iterator[tuple[str, Sent]]:
    """Yields (id, payment) for users 1 to `users` and turns 0 to `turns` - 1: everything such a run could have sent."""
    for user in range(1, users + 1):
        for turn in range(turns):
            yield correlation_id(run, user, turn), Sent(user, turn, amount_cents(seed, amount, user, turn))
