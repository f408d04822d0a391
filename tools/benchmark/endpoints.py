"""Clients for the endpoints of gateway and processors that the bench needs, over plain HTTP.

The standard library is fast enough: these are a few dozen requests around the load, and none is measured.
"""

import http.client
import json
import socket
import time
import urllib.error
import urllib.request
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from tools.benchmark.errors import EndpointError
from tools.benchmark.events import Totals
from tools.benchmark.reconcile import Row
from tools.benchmark.scenario import Condition

TIMEOUT_S = 10.0
ROWS_TIMEOUT_S = 60.0  # a million rows are some 60 MB of JSON
PURGE_PATIENCE_S = 10.0  # the others hear of an instance that has just started within a second or two
PURGE_PAUSE_S = 0.2
TOKEN = "123"  # noqa: S105 - the contest's public one
_CENTS = 100
# Ignores a proxy of the environment (http_proxy): it would answer in place of a server that is down, or not reach here.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port() -> int:
    """A TCP port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Endpoint:
    """One HTTP origin. Every method raises EndpointError if it can't be reached or gives an unexpected answer."""

    def __init__(self, name: str, url: str, headers: dict[str, str] | None = None) -> None:
        self.name = name
        self.url = url.rstrip("/")
        self._headers = headers or {}

    def ask(self, method: str, path: str, body: object = None, timeout_s: float = TIMEOUT_S) -> bytes:
        """Sends one request and returns the body of a 2xx answer."""
        status, answer = self.try_ask(method, path, body, timeout_s)
        self._demand_success(method, path, status, answer)
        return answer

    def _demand_success(self, method: str, path: str, status: int, answer: bytes) -> None:
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            text = answer.decode(errors="replace").strip()[:200]
            raise EndpointError(f"{self.name}: {method} {self.url}{path} answered {status}. {text}".rstrip())

    def try_ask(self, method: str, path: str, body: object = None, timeout_s: float = TIMEOUT_S) -> tuple[int, bytes]:
        """Sends one request and returns its status and body, also of an error."""
        data = None if body is None else json.dumps(body).encode()
        headers = self._headers | ({} if data is None else {"Content-Type": "application/json"})
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)  # noqa: S310 - see Target
        try:
            try:
                with _DIRECT.open(request, timeout=timeout_s) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read()
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise EndpointError(f"{self.name}: {self.url} can't be reached: {reason}.") from error

    def ask_json(self, path: str) -> Any:
        """The decoded JSON of a GET; numbers with a fraction are Decimals, so money stays exact."""
        answer = self.ask("GET", path)
        try:
            return json.loads(answer, parse_float=Decimal)
        except ValueError as error:
            raise EndpointError(f"{self.name}: GET {self.url}{path} did not answer with JSON.") from error

    def _totals(self, shown: Any) -> Totals:
        try:
            count, cents = Decimal(shown["totalRequests"]), Decimal(shown["totalAmount"]) * _CENTS
            if count != int(count) or cents != int(cents):
                raise ValueError("a part of a payment or of a cent")
            return Totals(int(count), int(cents))
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise EndpointError(f"{self.name}: {self.url} showed {shown!r} instead of totals.") from error


class Gateway(Endpoint):
    """The target's totals and purge."""

    def __init__(self, url: str) -> None:
        super().__init__("gateway", url)

    def totals(self, query: str = "") -> tuple[Totals, Totals]:
        """What was settled since the purge, (default, fallback); or in the window of `query`."""
        return self.read_totals(self.ask("GET", f"/payments-summary{query}"))

    def read_totals(self, body: bytes) -> tuple[Totals, Totals]:
        """Returns what a summary's body says; raises EndpointError."""
        try:
            shown = json.loads(body, parse_float=Decimal)
            return self._totals(shown["default"]), self._totals(shown["fallback"])
        except (KeyError, TypeError, ValueError) as error:
            text = body.decode(errors="replace")[:200]
            raise EndpointError(f"gateway: {self.url}/payments-summary showed {text} instead of totals.") from error

    def purge(self, patience_s: float = PURGE_PATIENCE_S) -> None:
        """Empties the totals. Retries after a 503, as there is just after a start, because it passes by itself."""
        until_s = time.monotonic() + patience_s
        while True:
            status, answer = self.try_ask("POST", "/purge-payments")
            if status != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > until_s:
                break
            time.sleep(PURGE_PAUSE_S)
        self._demand_success("POST", "/purge-payments", status, answer)


class Processor(Endpoint):
    """One payment processor: its behaviour, totals and rows."""

    def __init__(self, name: str, url: str, token: str = TOKEN) -> None:
        super().__init__(name, url, {"X-Rinha-Token": token})
        self._token = token

    def set_token(self) -> None:
        """Sets the admin token to the one in use, which fails at once if it is not the processor's."""
        self.ask("PUT", "/admin/configurations/token", {"token": self._token})

    def behave(self, condition: Condition) -> None:
        """Sets delay and failure."""
        self.ask("PUT", "/admin/configurations/delay", {"delay": condition.delay_ms})
        self.ask("PUT", "/admin/configurations/failure", {"failure": condition.failing})

    def purge(self) -> None:
        """Forgets every payment."""
        self.ask("POST", "/admin/purge-payments")

    def totals(self, query: str = "") -> Totals:
        """Everything stored; or in the window of `query`, which must have both ends."""
        return self._totals(self.ask_json(f"/admin/payments-summary{query}"))

    def fee_percent(self) -> Decimal | None:
        """The fee this processor says it takes, or None if it says none."""
        shown = self.ask_json("/admin/payments-summary")
        fee = shown.get("feePerTransaction") if isinstance(shown, dict) else None
        return None if fee is None else Decimal(fee) * 100

    def rows(self) -> list[Row] | None:
        """Every row stored, or None if this processor does not list them (only the simulated one does)."""
        status, answer = self.try_ask("GET", "/admin/payments", timeout_s=ROWS_TIMEOUT_S)
        if status == HTTPStatus.NOT_FOUND:
            return None
        try:
            return [Row(str(each[0]), int(each[1]), int(each[2])) for each in json.loads(answer)]
        except (ValueError, TypeError, IndexError) as error:
            raise EndpointError(f"{self.name}: {self.url}/admin/payments answered {status}, not with rows.") from error


Processors = tuple[Processor, Processor]
"""Default, fallback."""
