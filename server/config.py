"""The settings of an instance: from the environment to one frozen, checked object. Only reader of os.environ.

`SETTINGS` is the whole list; a test holds the README's table to it. A wrong value stops the start, with a sentence that
says which setting is wrong and what it must be.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, NamedTuple

from server.addresses import (
    PORT_MAX,
    TcpListen,
    UnixListen,
    is_same_url,
    parse_listen,
    parse_processor_url,
    parse_redis_url,
    socket_path,
    without_password,
)
from server.errors import ConfigError
from shm import DISPATCHERS_MAX, INSTANCE_PATTERN, WORKERS_MAX, Geometry

_UNIX_PATH_BYTES_MAX = 107  # sun_path of unix(7), less its closing zero


@dataclass(frozen=True)
class Config:
    """Everything that can be set, with units in the names (bp: hundredths of a percent). `SETTINGS` explains each."""

    instance: str
    siblings: tuple[str, ...]
    listen: TcpListen | UnixListen
    processor_default_url: str
    processor_fallback_url: str
    redis_url: str
    web_workers: int
    dispatchers: int
    lane_slots: int
    waiting_slots: int
    journal_records: int
    recent_ids: int
    lookups_per_s: int
    purge_enabled: bool
    amount_max_cents: int
    fee_default_bp: int
    fee_fallback_bp: int
    wait_ms_per_fee_point: int
    slow_ms: int
    attempt_timeout_ms: int
    attempts_max: int
    in_flight_max: int
    flush_ms: int
    leave_ms: int
    drain_ms: int
    stuck_ms: int
    log_level: str

    @property
    def geometry(self) -> Geometry:
        """The segment that these settings ask for."""
        return Geometry(self.web_workers, self.dispatchers, self.lane_slots, self.waiting_slots, self.journal_records)

    @property
    def in_flight_max_per_dispatcher(self) -> int:
        """One dispatcher's share of the payments that its instance may have in flight at each processor."""
        return self.in_flight_max // self.dispatchers


class Setting(NamedTuple):
    """One setting.

    Args:
        variable: its name in the environment.
        default: the text used when it is not set.
        parse: turns a text into the value; raises ValueError with the end of a sentence that begins "must be".
        unit: for the README.
        reason: what it does and why the default is what it is, for the README.
    """

    variable: str
    default: str
    parse: Callable[[str], Any]
    unit: str
    reason: str


def _whole(least: int, most: int, *, power_of_two: bool = False) -> Callable[[str], int]:
    kind = "power of two" if power_of_two else "whole number"

    def parse(text: str) -> int:
        number = int(text) if re.fullmatch(r"[0-9]{1,18}", text) else -1
        if not least <= number <= most or (power_of_two and number & (number - 1)):
            raise ValueError(f"a {kind} from {least} to {most}")
        return number

    return parse


def _scaled(scale: int, least: str, most: str, what: str) -> Callable[[str], int]:
    """Makes a parser of decimals, times `scale` and exactly whole: seconds to milliseconds, currency to cents."""

    def parse(text: str) -> int:
        is_plain = re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,18})?", text)  # Decimal would take 1_0, too
        value = Decimal(text if is_plain else "NaN")
        step = Decimal(1) / scale
        if not value.is_finite() or not Decimal(least) <= value <= Decimal(most) or value != value.quantize(step):
            raise ValueError(f"{what} from {least} to {most}, in steps of {step}")
        return int(value * scale)

    return parse


def _seconds(least: str, most: str) -> Callable[[str], int]:
    return _scaled(1000, least, most, "a number of seconds")


def _flag(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ValueError("0 or 1")
    return text == "1"


def _instance(text: str) -> str:
    if not INSTANCE_PATTERN.fullmatch(text):
        raise ValueError("1 to 32 lower-case letters, digits and hyphens, not beginning with a hyphen")
    return text


def _siblings(text: str) -> tuple[str, ...]:
    names = tuple(text.split(",")) if text else ()
    if not all(INSTANCE_PATTERN.fullmatch(name) for name in names):
        raise ValueError("names of instances separated by commas")
    return names


def _log_level(text: str) -> str:
    if text not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ValueError("DEBUG, INFO, WARNING or ERROR")
    return text


IDS_FOLLOWED_MIN = 1 << 15  # latest ids known of each sibling, at least: 110 s of a contest's peak, below 10 MB
_PERCENT = _scaled(100, "0", "100", "a percentage")
_SLOTS_MAX = 1 << 19  # two tables of that size can be read through within STUCK_S, at half a core
_SLOTS = _whole(2, _SLOTS_MAX)

SETTINGS: dict[str, Setting] = {
    "instance": Setting("INSTANCE", "local", _instance, "name", "names the segment `/gateway-<INSTANCE>`: keep it "
        "the same over restarts, never a host name, or accepted payments are not found again"),
    "siblings": Setting("SIBLINGS", "", _siblings, "names", "all other instances whose segments are in the same "
        "/dev/shm, separated by commas: ids that one of them accepted are not paid again here. Its latest ids always "
        "count; all that it remembers, while it or one of its web workers is down, and for a while after this instance "
        "started, stood still or lacked a web worker. Needs REDIS_URL"),
    "listen": Setting("LISTEN", "tcp:127.0.0.1:9999", parse_listen, "address", "`unix:/folder` (made if missing): "
        "worker n on `<folder>/<INSTANCE>-<n>.sock`, for HAProxy; `tcp:host:port`: worker n on port + n"),
    "processor_default_url": Setting("PROCESSOR_DEFAULT_URL", "http://payment-processor-default:8080",
        parse_processor_url, "URL", "the cheaper processor, by the contest's name"),
    "processor_fallback_url": Setting("PROCESSOR_FALLBACK_URL", "http://payment-processor-fallback:8080",
        parse_processor_url, "URL", "the dearer processor, by the contest's name; must be another one, or "
        "the summary would say other things than the processors"),
    "redis_url": Setting("REDIS_URL", "", parse_redis_url, "URL", "totals between the instances "
        "of this gateway, and no other; empty: this instance is the only one and keeps its own"),
    "web_workers": Setting("WEB_WORKERS", "1", _whole(1, WORKERS_MAX), "processes", "accept payments; more than one "
        "burns the CPU quota faster without accepting more. haproxy.cfg needs a server line for each"),
    "dispatchers": Setting("DISPATCHERS", "1", _whole(1, DISPATCHERS_MAX), "processes", "pay; one keeps several "
        "hundred requests in flight. Can't change while the segment exists"),
    "lane_slots": Setting("LANE_SLOTS", "4096", _whole(2, 1 << 18, power_of_two=True), "payments, a power of two",
        "accepted and not yet taken, per worker and dispatcher: seconds of the contest's peak. What comes within 0.2 s "
        "must fit, or gets a 503. With SIBLINGS all lanes together hold 32,768 at most"),
    "waiting_slots": Setting("WAITING_SLOTS", "65536", _SLOTS, "payments", "accepted and not ended, per dispatcher; "
        "over three minutes of the contest's peak with both processors down; beyond it clients get 503"),
    "journal_records": Setting("JOURNAL_RECORDS", "131072", _whole(2, _SLOTS_MAX, power_of_two=True),
        "payments, a power of two", "ended and still remembered, per dispatcher (230 bytes each): seven minutes of "
        "the contest's peak. At least twice WEB_WORKERS x LANE_SLOTS: what has a copy in a lane is not to be "
        "forgotten"),
    "recent_ids": Setting("RECENT_IDS", "32768", _SLOTS, "ids", "known to each web worker, for 202 and 409 on "
        "repeats without asking the dispatcher (about 150 bytes each)"),
    "lookups_per_s": Setting("LOOKUPS_PER_S", "50", _whole(1, 100_000), "per second", "`GET /payments/{id}` per web "
        "worker: a miss searches the whole table, and those of its siblings, about 2 ms each"),
    "purge_enabled": Setting("PURGE_ENABLED", "0", _flag, "0 or 1", "whether `POST /purge-payments` empties the "
        "totals: a test's tool, so off"),
    "amount_max_cents": Setting("AMOUNT_MAX", "1000000.00", _scaled(100, "0.01", "1000000000", "an amount"),
        "currency", "larger amounts are refused with 422: a typing mistake more often than a payment"),
    "fee_default_bp": Setting("FEE_DEFAULT_PERCENT", "7", _PERCENT, "percent", "the default processor's fee, the "
        "contest's final"),
    "fee_fallback_bp": Setting("FEE_FALLBACK_PERCENT", "10", _PERCENT, "percent", "the fallback processor's fee, the "
        "contest's final"),
    "wait_ms_per_fee_point": Setting("WAIT_S_PER_FEE_POINT", "1.5", _seconds("0", "3600"), "seconds",
        "how long a payment waits for the cheaper processor, per percentage point it saves"),
    "slow_ms": Setting("SLOW_MS", "1250", _whole(1, 60_000), "milliseconds", "a processor slower than this is not "
        "waited for: an audit's window ends 1.5 s ago, and a payment in flight that long could be missing from it"),
    "attempt_timeout_ms": Setting("ATTEMPT_TIMEOUT_S", "30", _seconds("1", "600"), "seconds", "how long an attempt "
        "waits for its answer: giving up early makes an unknown outcome of a slow one"),
    "attempts_max": Setting("ATTEMPTS_MAX", "0", _whole(0, 65_535), "attempts", "after so many sure noes a payment "
        "is refused; 0: it is tried until it is paid"),
    "in_flight_max": Setting("IN_FLIGHT_MAX", "384", _whole(1, 10_000), "requests", "per processor and instance: two "
        "instances and their look-ups (16 per dispatcher) make up the 800 that a processor runs at once; an outage's "
        "probes (5 per dispatcher) find a place in its queue. With more instances or dispatchers: 800 / instances - 16 "
        "x DISPATCHERS"),
    "flush_ms": Setting("FLUSH_MS", "12", _whole(1, 20), "milliseconds", "the longest that a settlement waits for "
        "others before its totals go to Redis; with none about to follow it does not wait"),
    "leave_ms": Setting("LEAVE_S", "1.5", _seconds("0", "60"), "seconds", "a stopping worker answers 404 on /health "
        "this long before it stops listening: three checks of HAProxy"),
    "drain_ms": Setting("DRAIN_S", "5", _seconds("0", "600"), "seconds", "a stopping dispatcher settles what it can "
        "this long; the rest stays in the segment. Keep `stop_grace_period` in docker-compose.yml above LEAVE_S + "
        "DRAIN_S + 7.5 s"),
    "stuck_ms": Setting("STUCK_S", "5", _seconds("1", "600"), "seconds", "a process whose heartbeat is older than "
        "this is killed and replaced (60 s while it starts); ten beats, so that a starved machine kills nobody. Keep "
        "it below HAProxy's `timeout server` (10 s)"),
    "log_level": Setting("LOG_LEVEL", "INFO", _log_level, "level", "INFO tells starts, stops, outages and alarms, "
        "nothing per payment"),
}  # fmt: skip


def load(environment: Mapping[str, str]) -> Config:
    """The settings in `environment`, usually os.environ; an empty value counts as not set.

    Raises:
        ConfigError: a setting is wrong; the text names the first such and what it must be.
    """
    values = {}
    for field in fields(Config):
        setting = SETTINGS[field.name]
        text = environment.get(setting.variable) or setting.default
        try:
            values[field.name] = setting.parse(text)
        except ValueError as error:
            shown = without_password(text)
            raise ConfigError(f"{setting.variable} must be {error}; it is {shown!r}") from None
    config = Config(**values)
    _check_together(config)
    return config


def from_environment() -> Config:
    """The settings of this process; raises as `load` does."""
    return load(os.environ)


def _check_together(config: Config) -> None:
    if is_same_url(config.processor_default_url, config.processor_fallback_url):
        shown = without_password(config.processor_fallback_url)
        raise ConfigError(
            f"PROCESSOR_FALLBACK_URL must be another processor than PROCESSOR_DEFAULT_URL: both are {shown!r}"
        )
    workers, slots, records = config.web_workers, config.lane_slots, config.journal_records
    if records < 2 * workers * slots:  # why: the second rule in server/forgotten.py
        raise ConfigError(
            f"JOURNAL_RECORDS must be at least {2 * workers * slots}, twice WEB_WORKERS ({workers}) x LANE_SLOTS "
            f"({slots}), or it may forget what has a copy in a lane; it is {records}, and {_SLOTS_MAX} at the most"
        )
    if isinstance(config.listen, UnixListen):
        path = socket_path(config.listen, config.instance, config.web_workers - 1)
        if len(str(path).encode()) > _UNIX_PATH_BYTES_MAX:
            raise ConfigError(f"LISTEN must be shorter: {path} is over the system's {_UNIX_PATH_BYTES_MAX} bytes")
    elif config.listen.port + config.web_workers - 1 > PORT_MAX:
        raise ConfigError(f"LISTEN must leave ports for {config.web_workers} workers up to {PORT_MAX}")
    if config.siblings and not config.redis_url:
        raise ConfigError("REDIS_URL must be set with SIBLINGS: totals of one instance alone would be wrong")
    if config.siblings and (lanes := workers * config.dispatchers * slots) > IDS_FOLLOWED_MIN:
        raise ConfigError(f"LANE_SLOTS must be lower: with SIBLINGS all lanes may hold {IDS_FOLLOWED_MIN}, not {lanes}")
    if config.instance in config.siblings:
        raise ConfigError(f"SIBLINGS must name other instances; {config.instance} is this one")
    if config.in_flight_max < config.dispatchers:
        raise ConfigError(f"IN_FLIGHT_MAX must be at least DISPATCHERS ({config.dispatchers})")
