"""A view as JSON with exact numbers: every amount is in cents and as decimal text."""

import json
from dataclasses import asdict
from typing import Any

from tools.ring_view.snapshot import Listed, Search, Snapshot

AMOUNT_CENTS = "amount_cents"


def decimal_text(amount_cents: int) -> str:
    """Writes an amount with two decimals, without using a float."""
    return f"{amount_cents // 100}.{amount_cents % 100:02d}"


def to_json(view: Snapshot | Search | list[Listed], *, indent: int | None = 2) -> str:
    """Writes a view as JSON text.

    Args:
        view: what was seen.
        indent: spaces per level; None for all in one line.
    """
    if isinstance(view, list):
        plain: Any = [asdict(listed) for listed in view]
    else:
        plain = asdict(view)
    if isinstance(view, Snapshot):
        plain |= {"running": view.running, "unsettled": view.unsettled}
        for process, row in zip(view.processes, plain["processes"], strict=True):
            row["alive"] = process.alive
    return json.dumps(_with_amounts(plain), indent=indent, ensure_ascii=False)


def _with_amounts(plain: Any) -> Any:
    """Adds `amount` beside every `amount_cents`, at any depth."""
    if isinstance(plain, dict):
        whole = {}
        for key, value in plain.items():
            whole[key] = _with_amounts(value)
            if key == AMOUNT_CENTS:
                whole["amount"] = decimal_text(value)
        return whole
    if isinstance(plain, list | tuple):
        return [_with_amounts(value) for value in plain]
    return plain
