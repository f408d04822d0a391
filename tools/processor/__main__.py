"""Starts one simulated payment processor: `python3 -m tools.processor --name default --port 8001`.

Needs httptools, orjson and uvloop. If this Python lacks them, it goes on in the project's own environment, which it
makes first.
"""

import _signal  # type: ignore[import-not-found]  # built in, where `signal` takes a while to load

if __name__ == "__main__":
    # Until it listens, Ctrl-C ends the process: a KeyboardInterrupt during imports is a traceback, or gets lost.
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import argparse
import importlib.util
import logging
import sys
import time
from decimal import Decimal, InvalidOperation

EXIT_CANNOT_LISTEN = 3
PERCENT_MAX = 100
PERCENT_DIGITS_MAX = 4
PORT_MAX = 65_535
PACKAGES = ("httptools", "orjson", "uvloop")


class UtcFormatter(logging.Formatter):
    """Writes a line's time as the gateway's log has it, so that the two can be read side by side."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


def percent(text: str) -> Decimal:
    """A fee in percent, exact, from an option's text."""
    try:
        value = Decimal(text)
        if 0 <= value <= PERCENT_MAX and value == round(value, PERCENT_DIGITS_MAX):
            return value
    except InvalidOperation:  # no number, or NaN
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 100 with at most {PERCENT_DIGITS_MAX} decimals")


def port_number(text: str) -> int:
    """A TCP port from an option's text."""
    if not text.isdecimal() or int(text) > PORT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return int(text)


def milliseconds(text: str) -> int:
    """A delay from an option's text."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of milliseconds")
    return int(text)


def options_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tools.processor",
        description="A simulated payment processor with the endpoints, limits and traps of the contest's. It keeps its "
        "payments in memory and runs until Ctrl-C or SIGTERM.",
        epilog="Try: curl http://127.0.0.1:8001/payments/service-health; with -H 'X-Rinha-Token: 123' also "
        "/admin/payments-summary and /admin/payments (every row).",
    )
    parser.add_argument("--name", default="default", help="name for its log and GET / (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=port_number, default=8001, help="0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--fee-percent",
        type=percent,
        default=Decimal(7),
        help="7 is a feePerTransaction of 0.07 (default: %(default)s)",
    )
    parser.add_argument("--token", default="123", help="value of X-Rinha-Token (default: %(default)s)")
    parser.add_argument("--delay-ms", type=milliseconds, default=0, help="initial delay (default: %(default)s)")
    parser.add_argument("--failing", action="store_true", help="payments fail from the start")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs until told to stop, and returns the exit status."""
    options = options_parser().parse_args(arguments)
    if any(importlib.util.find_spec(name) is None for name in PACKAGES):
        from tools.environment import reexec  # noqa: PLC0415 - not in the image, and not needed there

        reexec(dev=False)
    import uvloop  # noqa: PLC0415 - there only now

    from tools.processor.api import Settings  # noqa: PLC0415
    from tools.processor.server import serve  # noqa: PLC0415

    handler = logging.StreamHandler()
    handler.setFormatter(UtcFormatter("%(asctime)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    settings = Settings(
        name=options.name,
        fee=options.fee_percent / PERCENT_MAX,
        token=options.token,
        delay_ms=options.delay_ms,
        failing=options.failing,
    )
    try:
        uvloop.run(serve(settings, options.host, options.port))
    except OSError as error:
        sys.stderr.write(f"cannot listen on {options.host}:{options.port}: {error.strerror or error}\n")
        return EXIT_CANNOT_LISTEN
    return 0


if __name__ == "__main__":
    sys.exit(main())
