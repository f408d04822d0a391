"""What a run used, as text: containers, processors, generator, machine. Pure."""

from collections.abc import Iterator

from tools.benchmark.meters import Metered
from tools.benchmark.outcome import MACHINE_BOUND_BELOW_PERCENT, Used, per_payment_us
from tools.benchmark.text import NOT_KNOWN, number, table

NS_PER_S = 1e9
NS_PER_MS = 1e6
BYTES_PER_MB = 1e6
HEADER = ("container", "CPU s", "µs/payment", "of its CPU", "throttled", "ms", "MB", "of cap", "peak MB", "of cap")


def usage_lines(used: Used, payments: int) -> Iterator[str]:
    """Yields a table of the target's containers, and a line on everything else.

    Args:
        used: what was used.
        payments: accepted while the meters ran.
    """
    if used.containers:
        rows = [list(HEADER), *(_row(each, payments, used.metered_s) for each in used.containers)]
        if used.cpu_ns is not None:
            each_us = per_payment_us(used.cpu_ns, payments)
            total = ["together", number(used.cpu_ns / NS_PER_S, 2), number(each_us, 0)]
            rows.append(total + [""] * (len(HEADER) - len(total)))
        yield from table(rows)
    else:
        yield "containers: none found behind the target, so no meters"
    processors_ns = sum(each.usage.cpu_ns for each in used.processors if each.usage)
    shown = f"{processors_ns / NS_PER_S:.2f}" if used.processors else NOT_KNOWN
    bound = ": machine-bound" if used.machine_idle_percent < MACHINE_BOUND_BELOW_PERCENT else ""
    yield (
        f"beside it, CPU s: generator {used.generator_cpu_s:.2f}, processors {shown}; "
        f"machine idle {used.machine_idle_percent:.0f} %{bound}"
    )


def _row(metered: Metered, payments: int, metered_s: float) -> list[str]:
    usage = metered.usage
    if usage is None:
        return [metered.service, "ended" if metered.ended else "not readable", *[NOT_KNOWN] * (len(HEADER) - 2)]
    of_cpu = None if usage.cpus_limit is None else usage.cpu_ns / NS_PER_S / metered_s / usage.cpus_limit
    return [
        metered.service,
        number(usage.cpu_ns / NS_PER_S, 2),
        number(per_payment_us(usage.cpu_ns, payments), 0),
        NOT_KNOWN if of_cpu is None else f"{of_cpu:.0%}",
        f"{usage.throttled_periods:,} of {usage.periods:,}",
        number(usage.throttled_ns / NS_PER_MS, 0),
        *_memory(usage.memory_bytes, usage.memory_limit_bytes),
        *_memory(usage.memory_peak_bytes, usage.memory_limit_bytes),
    ]


def _memory(used_bytes: int, limit_bytes: int | None) -> tuple[str, str]:
    share = f"{used_bytes / limit_bytes:.0%}" if limit_bytes else NOT_KNOWN
    return number(used_bytes / BYTES_PER_MB), share
