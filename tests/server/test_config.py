"""server/config.py: every setting's bad values stop the start with a sentence that names the variable."""

import os
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.addresses import TcpListen, UnixListen, socket_path
from server.config import SETTINGS, Config, from_environment, load
from server.errors import ConfigError
from server.unknowns import ASKED_AT_ONCE_MAX
from shm import Geometry

ADDRESS = "an address such as http://payment-processor-default:8080"
REDIS = "redis://host:port/0 or unix:///path/of/socket, or empty to keep totals here alone"
LISTEN = "unix:/absolute/folder or tcp:host:port"
NAME = "1 to 32 lower-case letters, digits and hyphens, not beginning with a hyphen"


def reason(**environment: str) -> str:
    """The sentence that stops the start."""
    with pytest.raises(ConfigError) as caught:
        load(environment)
    return str(caught.value)


class TestDefaults:
    """What holds when nothing is set."""

    def test_load(self) -> None:
        """Every default is a right value, and all of them go together."""
        config = load({})
        assert config.listen == TcpListen("127.0.0.1", 9999)
        assert config.geometry == Geometry(1, 1, 4096, 65536, 131072)
        assert (config.fee_default_bp, config.fee_fallback_bp, config.wait_ms_per_fee_point) == (700, 1000, 1500)
        assert (config.amount_max_cents, config.redis_url, config.purge_enabled) == (100_000_000, "", False)
        assert config.siblings == ()

    def test_every_field_is_a_setting(self) -> None:
        """No setting without a field or the other way round, no variable twice, and each has its reason."""
        assert [field.name for field in fields(Config)] == list(SETTINGS)
        assert len({setting.variable for setting in SETTINGS.values()}) == len(SETTINGS)
        assert all(setting.reason and setting.unit for setting in SETTINGS.values())

    @pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.variable)
    def test_empty_is_not_set(self, setting: object) -> None:
        """Compose files pass empty values for what is not set."""
        assert load({setting.variable: ""}) == load({})  # type: ignore[attr-defined]

    def test_two_instances_keep_within_a_processors_limit(self) -> None:
        """Both with their look-ups stay below the 800 that a processor runs at once."""
        config = load({})
        assert 2 * (config.in_flight_max + config.dispatchers * ASKED_AT_ONCE_MAX) <= 800

    def test_is_frozen(self) -> None:
        """Settings do not change while an instance lives."""
        with pytest.raises(FrozenInstanceError):
            load({}).web_workers = 2  # type: ignore[misc]

    def test_other_variables_are_none_of_its_business(self) -> None:
        """An environment holds much else."""
        assert load({"PATH": "/bin", "WEB_WORKER": "x"}) == load({})


class TestGood:
    """What is taken, and what it means."""

    @pytest.mark.parametrize(
        ("variable", "text", "field", "value"),
        [
            ("INSTANCE", "app-1", "instance", "app-1"),
            ("SIBLINGS", "app2,app3", "siblings", ("app2", "app3")),
            ("LISTEN", "tcp:0.0.0.0:80", "listen", TcpListen("0.0.0.0", 80)),
            ("LISTEN", "tcp:[::1]:8080", "listen", TcpListen("::1", 8080)),
            ("LISTEN", "unix:/run/gateway", "listen", UnixListen(Path("/run/gateway"))),
            ("PROCESSOR_DEFAULT_URL", "http://p", "processor_default_url", "http://p"),
            ("PROCESSOR_DEFAULT_URL", "http://p:8001/", "processor_default_url", "http://p:8001"),
            (
                "PROCESSOR_FALLBACK_URL",
                "http://a_b.c-d.:80/x/~y%20",
                "processor_fallback_url",
                "http://a_b.c-d.:80/x/~y%20",
            ),
            ("PROCESSOR_FALLBACK_URL", "http://[::1]:8002", "processor_fallback_url", "http://[::1]:8002"),
            ("REDIS_URL", "redis://redis:6379/0", "redis_url", "redis://redis:6379/0"),
            ("REDIS_URL", "redis://user:p@redis", "redis_url", "redis://user:p@redis"),
            ("REDIS_URL", "unix:///run/redis.sock?db=2", "redis_url", "unix:///run/redis.sock?db=2"),
            ("AMOUNT_MAX", "1000.00", "amount_max_cents", 100_000),
            ("AMOUNT_MAX", "0.01", "amount_max_cents", 1),
            ("AMOUNT_MAX", "1000000000", "amount_max_cents", 10**11),
            ("FEE_DEFAULT_PERCENT", "5", "fee_default_bp", 500),
            ("FEE_FALLBACK_PERCENT", "7.25", "fee_fallback_bp", 725),
            ("WAIT_S_PER_FEE_POINT", "0", "wait_ms_per_fee_point", 0),
            ("ATTEMPT_TIMEOUT_S", "1.001", "attempt_timeout_ms", 1001),
            ("DRAIN_S", "5.0", "drain_ms", 5000),
            ("PURGE_ENABLED", "1", "purge_enabled", True),
            ("LOG_LEVEL", "DEBUG", "log_level", "DEBUG"),
            ("ATTEMPTS_MAX", "65535", "attempts_max", 65_535),
        ],
    )
    def test_value(self, variable: str, text: str, field: str, value: object) -> None:
        """Text becomes a value in the unit of its field, exactly."""
        assert getattr(load({"REDIS_URL": "redis://h", variable: text}), field) == value

    @given(st.integers(1, 10**11))
    def test_amounts_are_exact(self, cents: int) -> None:
        """No float comes near a limit in cents."""
        assert load({"AMOUNT_MAX": f"{cents // 100}.{cents % 100:02d}"}).amount_max_cents == cents

    def test_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A process reads its own."""
        for setting in SETTINGS.values():
            monkeypatch.delenv(setting.variable, raising=False)
        monkeypatch.setitem(os.environ, "INSTANCE", "app7")
        assert from_environment() == load({"INSTANCE": "app7"})


_WHOLE_BAD = ["x", "-1", "1.0", "1e3", " 1", "٣", "9" * 30]
_SECONDS_BAD = ["x", "nan", "sNaN", "inf", "-0.001", "0.0005", "1/2", "1e9", "0.0000000000000000000000000000000000001"]
_BAD: dict[str, tuple[str, list[str]]] = {
    "INSTANCE": (NAME, ["App", "-a", "a" * 33, "a/b", "a.b", "é"]),
    "SIBLINGS": ("names of instances separated by commas", ["App", "a,,b", "a, b", ","]),
    "LISTEN": (
        LISTEN,
        [
            *(
                "9999",
                "unix:",
                "unix:relative",
                "tcp:9999",
                "tcp::9999",
                "tcp:host:",
                "tcp:h:0",
                "tcp:h:65536",
                "tcp:h:x",
            ),
            *("tcp:::1:80", "tcp:a b:80", "http://h:80", "tcp:[1]:80", "tcp:1.2.3.256:80"),
        ],
    ),
    "REDIS_URL": (
        REDIS,
        [
            *("redis", "rediss://h", "redis://", "redis://h:x/0", "redis://h:99999/0", "redis://h/x", "redis://[::1"),
            *("redis://[1]:6379", "redis://1.2.3.256", "redis://:p[w@h:6379/0", "unix://:p]w@/redis.sock"),
            *("unix://", "unix:relative", "redis://h?socket_timeout=x", "http://h"),
        ],
    ),
    "PURGE_ENABLED": ("0 or 1", ["2", "true", "yes", "on"]),
    "LOG_LEVEL": ("DEBUG, INFO, WARNING or ERROR", ["info", "TRACE", "10"]),
    "AMOUNT_MAX": ("an amount from 0.01 to 1000000000, in steps of 0.01", ["x", "0", "-1", "0.005", "1e10", "NaN"]),
    "WAIT_S_PER_FEE_POINT": ("a number of seconds from 0 to 3600, in steps of 0.001", _SECONDS_BAD),
    "ATTEMPT_TIMEOUT_S": ("a number of seconds from 1 to 600, in steps of 0.001", [*_SECONDS_BAD, "0.999"]),
    "LEAVE_S": ("a number of seconds from 0 to 60, in steps of 0.001", _SECONDS_BAD),
    "DRAIN_S": ("a number of seconds from 0 to 600, in steps of 0.001", _SECONDS_BAD),
    "STUCK_S": ("a number of seconds from 1 to 600, in steps of 0.001", [*_SECONDS_BAD, "0"]),
    "WEB_WORKERS": ("a whole number from 1 to 16", [*_WHOLE_BAD, "0", "17"]),
    "DISPATCHERS": ("a whole number from 1 to 8", [*_WHOLE_BAD, "0", "9"]),
    "LOOKUPS_PER_S": ("a whole number from 1 to 100000", [*_WHOLE_BAD, "0"]),
    "SLOW_MS": ("a whole number from 1 to 60000", [*_WHOLE_BAD, "0"]),
    "ATTEMPTS_MAX": ("a whole number from 0 to 65535", [*_WHOLE_BAD, "65536"]),
    "IN_FLIGHT_MAX": ("a whole number from 1 to 10000", [*_WHOLE_BAD, "0"]),
    "FLUSH_MS": ("a whole number from 1 to 20", [*_WHOLE_BAD, "0", "21"]),
}
_BAD |= dict.fromkeys(
    ("PROCESSOR_DEFAULT_URL", "PROCESSOR_FALLBACK_URL"),
    (
        ADDRESS,
        [
            *(
                "p:8001",
                "https://p",
                "http://",
                "http://:80",
                "http://p:0",
                "http://p:99999",
                "http://p:x",
                "http://[::1",
                "http://[1]:8080",
                "http://192.168.1.256:8080",
                "http://192.168.01.2:8080",
            ),
            *(
                "http://p?a=b",
                "http://p#a",
                "http://user:secret@p",
                "http://a b",
                "http://a..b",
                f"http://{'a' * 64}.b",
            ),
        ],
    ),
)
_BAD |= dict.fromkeys(
    ("FEE_DEFAULT_PERCENT", "FEE_FALLBACK_PERCENT"),
    (
        "a percentage from 0 to 100, in steps of 0.01",
        ["x", "-1", "100.01", "7.005", "7%", "1_0", "\uff17", "1e1", " 7", ".5"],
    ),
)
_BAD |= dict.fromkeys(
    ("WAITING_SLOTS", "RECENT_IDS"),
    ("a whole number from 2 to 524288", [*_WHOLE_BAD, "1", "524289"]),
)
_BAD["LANE_SLOTS"] = ("a power of two from 2 to 262144", [*_WHOLE_BAD, "1", "3", "100", "262145", "524288"])
_BAD["JOURNAL_RECORDS"] = ("a power of two from 2 to 524288", [*_WHOLE_BAD, "1", "3", "524289", "1048576"])


class TestInFlightMaxPerDispatcher:
    """Config.in_flight_max_per_dispatcher."""

    def test_is_shared_out(self) -> None:
        """What may be in flight is for all dispatchers of the instance together."""
        assert load({"DISPATCHERS": "2", "IN_FLIGHT_MAX": "100"}).in_flight_max_per_dispatcher == 50


class TestBad:
    """What is refused, and how it is said."""

    def test_every_setting_has_its_bad_values_here(self) -> None:
        """A new setting must be shown to refuse something."""
        assert set(_BAD) == {setting.variable for setting in SETTINGS.values()}

    @pytest.mark.parametrize(
        ("variable", "text", "must_be"),
        [(variable, text, must_be) for variable, (must_be, texts) in _BAD.items() for text in texts],
    )
    def test_value(self, variable: str, text: str, must_be: str) -> None:
        """The sentence names the variable, what it must be, and what it is, without a password."""
        said = reason(**{variable: text})
        assert said.startswith(f"{variable} must be {must_be}; it is ")
        assert "secret" not in said
        if "@" not in text:
            assert said.endswith(repr(text))

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("redis://user:secret@host:x/0", "…@host:x/0"),
            ("redis://:sec/ret@host:6379", "…@host:6379"),
            ("redis://:sec@ret@host:x", "…@host:x"),
            ("redis:/:secret@host", "…@host"),
            ("unix://:sec\nret@relative", "…@relative"),
        ],
    )
    def test_a_password_is_not_shown(self, text: str, shown: str) -> None:
        """A sentence goes to a log: of a password nothing is left in it, whatever else is wrong."""
        assert reason(REDIS_URL=text).endswith(f"it is {shown!r}")

    @pytest.mark.parametrize(
        ("environment", "said"),
        [
            (
                {"JOURNAL_RECORDS": "8192", "WEB_WORKERS": "2"},
                (
                    "JOURNAL_RECORDS must be at least 16384, twice WEB_WORKERS (2) x LANE_SLOTS (4096), "
                    "or it may forget what has a copy in a lane; it is 8192, and 524288 at the most"
                ),
            ),
            (
                {"LISTEN": "tcp:h:65530", "WEB_WORKERS": "7"},
                "LISTEN must leave ports for 7 workers up to 65535",
            ),
            (
                {"LISTEN": f"unix:/{'f' * 99}", "INSTANCE": "app1"},
                f"LISTEN must be shorter: /{'f' * 99}/app1-0.sock is over the system's 107 bytes",
            ),
            (
                {"IN_FLIGHT_MAX": "2", "DISPATCHERS": "3"},
                "IN_FLIGHT_MAX must be at least DISPATCHERS (3)",
            ),
            (
                {"INSTANCE": "app1", "SIBLINGS": "app2,app1", "REDIS_URL": "redis://h"},
                "SIBLINGS must name other instances; app1 is this one",
            ),
            (
                {"SIBLINGS": "app2", "REDIS_URL": "redis://h", "WEB_WORKERS": "2", "DISPATCHERS": "2"}
                | {"LANE_SLOTS": "16384"},
                "LANE_SLOTS must be lower: with SIBLINGS all lanes may hold 32768, not 65536",
            ),
            (
                {"SIBLINGS": "app2"},
                "REDIS_URL must be set with SIBLINGS: totals of one instance alone would be wrong",
            ),
            (
                {"PROCESSOR_DEFAULT_URL": "http://p:80/", "PROCESSOR_FALLBACK_URL": "http://P"},
                "PROCESSOR_FALLBACK_URL must be another processor than PROCESSOR_DEFAULT_URL: both are 'http://P'",
            ),
            (
                {"PROCESSOR_DEFAULT_URL": "http://p/user:secret@x", "PROCESSOR_FALLBACK_URL": "http://p/user:secret@x"},
                "PROCESSOR_FALLBACK_URL must be another processor than PROCESSOR_DEFAULT_URL: both are '…@x'",
            ),
        ],
    )
    def test_values_that_do_not_go_together(self, environment: dict[str, str], said: str) -> None:
        """Each is right by itself."""
        assert reason(**environment) == said

    @pytest.mark.parametrize(
        "environment",
        [
            {"LISTEN": "tcp:h:65529", "WEB_WORKERS": "7"},
            {"LISTEN": f"unix:/{'f' * 94}", "INSTANCE": "app1"},
            {"IN_FLIGHT_MAX": "3", "DISPATCHERS": "3"},
            {"JOURNAL_RECORDS": "16384", "WEB_WORKERS": "2"},
            {"SIBLINGS": "app2", "REDIS_URL": "redis://h", "DISPATCHERS": "2", "LANE_SLOTS": "16384"},
            {"WEB_WORKERS": "2", "DISPATCHERS": "2", "LANE_SLOTS": "16384"},
            {"PROCESSOR_DEFAULT_URL": "http://p", "PROCESSOR_FALLBACK_URL": "http://p:8080"},
            {"PROCESSOR_DEFAULT_URL": "http://p/a", "PROCESSOR_FALLBACK_URL": "http://p/A"},
        ],
    )
    def test_the_last_that_still_go_together(self, environment: dict[str, str]) -> None:
        """The bounds belong to what is allowed."""
        assert load(environment) != load({})


def test_socket_path() -> None:
    """HAProxy's configuration names the same."""
    assert socket_path(UnixListen(Path("/run/gateway")), "app1", 1) == Path("/run/gateway/app1-1.sock")
