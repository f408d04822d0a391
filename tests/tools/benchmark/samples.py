"""Made-up parts of a run for the tests, and a server that stands for a gateway or a processor."""

import dataclasses
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from tools.benchmark.card import Card, Settled
from tools.benchmark.cgroup import Usage
from tools.benchmark.endpoints import Processor
from tools.benchmark.events import Summaries, Totals
from tools.benchmark.latencies import NONE, Latencies, Latency
from tools.benchmark.meters import Metered
from tools.benchmark.oracle import Oracle
from tools.benchmark.outcome import Used
from tools.benchmark.reconcile import Answered, Finding, Findings
from tools.benchmark.scenario import Amount, Audit, Condition, Load, Rules, Scenario, Stage
from tools.benchmark.score import score_of
from tools.benchmark.sheet import Goal, PhaseRow, Sheet
from tools.benchmark.targets import Target

CALM = Condition(0, failing=False)
RULES = Rules(fee_default_percent=5, fee_fallback_percent=15, money_from="processors", money_window_s=20)
SCENARIO = Scenario(
    name="small",
    about="A load for tests.",
    load=Load(duration_s=3, users_start=1, users_end=4, pause_s=1),
    amount=Amount(1990, 1990),
    audit=Audit(every_s=1, window_start_ms=15_000, window_end_ms=1_500),
    rules=RULES,
    stages=(Stage(1, CALM, CALM), Stage(2, Condition(100, failing=True), CALM)),
)
LATENCY = Latency(count=10, p50_ms=1.0, p90_ms=2.0, p99_ms=3.0, p999_ms=4.0, max_ms=5.0)
USAGE = Usage(
    cpu_ns=2_000_000,
    periods=30,
    throttled_periods=2,
    throttled_ns=5_000_000,
    memory_bytes=10_000_000,
    memory_peak_bytes=20_000_000,
    memory_limit_bytes=40_000_000,
    cpus_limit=0.25,
)
NOTHING = Finding(0, [])
RIGHT = Findings(by_row=True, twice=NOTHING, lost=NOTHING, unasked=NOTHING, altered=NOTHING, disagreements=[])


def summaries(gateway: tuple[int, int] | None, processors: tuple[int, int] = (1, 1)) -> Summaries:
    """An audit with these counts, all of them payments of one cent."""
    default, fallback = (Totals(count, count) for count in processors)
    ours = None if gateway is None else (Totals(gateway[0], gateway[0]), Totals(gateway[1], gateway[1]))
    return Summaries(1_753_000_000_123, 1_752_999_985_123, 1_752_999_998_623, (default, fallback), ours)


def a_card(**changes: Any) -> Card:
    """A good run of ten payments of 19.90, nine at default; with these fields otherwise."""
    at_end = (Totals(9, 17_910), Totals(1, 1_990))
    card = Card(
        target="gateway",
        scenario=SCENARIO,
        run="cafe",
        seed=7,
        started_at_ms=1_753_000_000_000,
        latencies=Latencies(LATENCY, LATENCY, {"payment": LATENCY, "summary": NONE, "admin": NONE}, [LATENCY, NONE]),
        answered=Answered(accepted=10, cents=19_900, refused=0, unanswered=0, by_status={}),
        settled=Settled(at_end, waiting_at_end=0, quiet_s=0.5, findings=RIGHT),
        score=score_of(RULES, at_end, 19_900, 3.0, fined=False),
        oracle=Oracle(10, 0, 0, Decimal(18_905)),
        audits=[summaries((1, 1))],
        used=Used([Metered("app1", USAGE), Metered("haproxy", USAGE)], [], 1.5, 42.0, 1.0),
        notes=[],
    )
    return dataclasses.replace(card, **changes)


def a_row(**changes: Any) -> PhaseRow:
    """A second of a hundred payments, all well; with these fields otherwise."""
    row = PhaseRow(
        name="load",
        rate_per_s=100,
        duration_s=1.0,
        sent=100,
        accepted=100,
        refused=0,
        unanswered=0,
        held=0,
        by_status={202: 100},
        settled=99,
        waiting=1,
        answers=LATENCY,
        late=LATENCY,
        cpu_us_per_payment=40.0,
        machine_idle_percent=42.0,
    )
    return dataclasses.replace(row, **changes)


def a_sheet(**changes: Any) -> Sheet:
    """A good run of one phase; with these fields otherwise."""
    sheet = Sheet(
        command="trial",
        target="gateway",
        run="cafe",
        seed=7,
        started_at_ms=1_753_000_000_000,
        phases=[a_row()],
        main=0,
        used=Used([Metered("app1", USAGE), Metered("haproxy", USAGE)], [], 1.5, 42.0, 1.0),
        metered_payments=100,
        settles=True,
        quiet_s=0.5,
        findings=RIGHT,
        audits=[summaries((1, 1))],
        goals=[Goal("p99 ms", 3.0, at_most=25.0)],
    )
    return dataclasses.replace(sheet, **changes)


class Asked(NamedTuple):
    """One request that a stand-in got."""

    method: str
    path: str
    body: bytes
    token: str | None


class StandIn:
    """An HTTP server on a free port that remembers what it was asked; `answer` says (status, body)."""

    def __init__(self, answer: Callable[[Asked], tuple[int, bytes]]) -> None:
        self.asked: list[Asked] = []
        self.answer = answer
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            """Hands each request to `answer`."""

            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                """Read the body, answer."""
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked = Asked(self.command, self.path, body, self.headers.get("X-Rinha-Token"))
                stand_in.asked.append(asked)
                status, said = stand_in.answer(asked)
                self.send_response(status)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            do_GET = do_POST = do_PUT = handle_any  # noqa: N815 - names that http.server looks for

            def log_message(self, *_: object) -> None:
                """Nothing: the tests look at `asked`."""

        class Server(ThreadingHTTPServer):
            """Leaves its connections to end by themselves."""

            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def instant(at_ms: int) -> str:
    """A time as the load generator writes it: such texts are in the order of their times."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Bank:
    """A gateway and two processors that agree at once: every payment is stored at the default processor, or waits while
    both fail.

    Attributes:
        lose, double: what to do wrong with the next so many payments.
        lists_rows: whether the processors show their rows, as the simulated one does.
        starting: how many purges are answered with a 503 first.
        refuses: status of the answer to every payment, if it is not to be taken.
    """

    def __init__(self) -> None:
        self.rows: tuple[list[list[Any]], list[list[Any]]] = ([], [])
        self.changes: list[tuple[int, str, Any]] = []
        self.lose = self.double = 0
        self.lists_rows = True
        self.purges = True
        self.starting = 0
        self.refuses = 0
        self._failing = [False, False]
        self._waiting: list[list[Any]] = []
        self._lock = threading.Lock()
        self.gateway = StandIn(self._answer_gateway)
        self.processors = (StandIn(lambda asked: self._answer(0, asked)), StandIn(lambda asked: self._answer(1, asked)))

    def close(self) -> None:
        """Stop all three servers."""
        for each in (self.gateway, *self.processors):
            each.close()

    def _totals(self, side: int, asked: Asked) -> dict[str, Any]:
        window = dict(parse_qsl(urlsplit(asked.path).query))
        first, last = (window.get(end, default) for end, default in (("from", "0"), ("to", "9")))
        rows = [row for row in self.rows[side] if first <= instant(row[2]) <= last]
        return {"totalRequests": len(rows), "totalAmount": sum(row[1] for row in rows) / 100, "feePerTransaction": 0.05}

    def _answer_gateway(self, asked: Asked) -> tuple[int, bytes]:
        with self._lock:
            if asked.path == "/purge-payments":
                if self.starting:
                    self.starting -= 1
                    return 503, b"nobody is there yet"
                return (200, b"") if self.purges else (404, b"there is no such thing")
            if asked.path.startswith("/payments-summary"):
                return 200, json.dumps({"default": self._totals(0, asked), "fallback": self._totals(1, asked)}).encode()
            if self.refuses:
                return self.refuses, b""
            payment = json.loads(asked.body)
            row = [payment["correlationId"], round(payment["amount"] * 100), int(time.time() * 1000)]
            if self.lose:
                self.lose -= 1
                return 202, b""
            (self._waiting if all(self._failing) else self.rows[0]).append(row)
            if self.double:
                self.double -= 1
                self.rows[1].append(row)
            return 202, b""

    def _answer(self, side: int, asked: Asked) -> tuple[int, bytes]:
        with self._lock:
            if asked.path == "/admin/purge-payments":
                self.rows[side].clear()
                return 200, b"{}"
            if asked.path.startswith("/admin/configurations/"):
                self.changes.append((side, asked.path.rpartition("/")[2], json.loads(asked.body)))
                self._failing[side] = json.loads(asked.body).get("failure", self._failing[side])
                if not all(self._failing):
                    self.rows[0].extend([row[0], row[1], int(time.time() * 1000)] for row in self._waiting)
                    self._waiting.clear()
                return 200, b"{}"
            if asked.path == "/admin/payments":
                return (200, json.dumps(self.rows[side]).encode()) if self.lists_rows else (404, b"")
            return 200, json.dumps(self._totals(side, asked)).encode()


def processors_of(bank: Bank) -> tuple[Processor, Processor]:
    """The bank's processors."""
    default, fallback = (
        Processor(name, server.url) for name, server in zip(("default", "fallback"), bank.processors, strict=True)
    )
    return default, fallback


def target_of(bank: Bank) -> Target:
    """The bank's gateway."""
    return Target("gateway", bank.gateway.url)


def write_json(path: Path, value: object) -> Path:
    """Write a JSON file and return its path."""
    path.write_text(json.dumps(value), encoding="utf-8")
    return path
