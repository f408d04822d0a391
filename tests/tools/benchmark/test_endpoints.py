"""Tests of tools/benchmark/endpoints.py."""

import importlib.util
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.tools.benchmark.samples import Bank, StandIn
from tools.benchmark.endpoints import Endpoint, Gateway, Processor, free_port
from tools.benchmark.errors import EndpointError
from tools.benchmark.events import Totals
from tools.benchmark.reconcile import Row
from tools.benchmark.scenario import Condition


@contextmanager
def answering(status: int, body: bytes) -> Iterator[StandIn]:
    """A server that always says the same."""
    server = StandIn(lambda _: (status, body))
    try:
        yield server
    finally:
        server.close()


class TestEndpoint:
    """Any HTTP origin."""

    def test_an_answer_that_is_no_success_is_a_sentence(self) -> None:
        """Who, what, status and the answer's own words."""
        with (
            answering(503, b"not now") as server,
            pytest.raises(EndpointError, match=r"^it: GET http://\S+/x answered 503\. not now$"),
        ):
            Endpoint("it", server.url).ask("GET", "/x")

    def test_no_proxy_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As `http_proxy` names one: it would answer for what does not, or not reach what is on this machine."""
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
        monkeypatch.delenv("no_proxy", raising=False)
        spec = importlib.util.find_spec("tools.benchmark.endpoints")
        assert spec is not None
        assert spec.loader is not None
        anew = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(anew)
        with answering(200, b"direct") as server:
            assert anew.Endpoint("it", server.url).ask("GET", "/x") == b"direct"

    def test_no_answer_is_a_sentence(self) -> None:
        """A refused connection says so."""
        with pytest.raises(EndpointError, match=r"^it: \S+ can't be reached: .*refused\.$"):
            Endpoint("it", f"http://127.0.0.1:{free_port()}").ask("GET", "/")

    @pytest.mark.parametrize(
        "said",
        [
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
            b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\n{}",
        ],
        ids=["no HTTP", "cut off", "an error cut off"],
    )
    def test_an_answer_that_is_no_whole_http_is_a_sentence(self, said: bytes) -> None:
        """Something else listens there, or it was ended while it answered."""
        with socket.create_server(("127.0.0.1", 0)) as server:

            def answer() -> None:
                connection, _ = server.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(said)

            thread = threading.Thread(target=answer)
            thread.start()
            with pytest.raises(EndpointError, match="can't be reached"):
                Endpoint("it", f"http://127.0.0.1:{server.getsockname()[1]}").try_ask("GET", "/")
            thread.join()

    def test_an_answer_that_is_no_json_is_a_sentence(self) -> None:
        """What was asked for is said."""
        with answering(200, b"<html>") as server, pytest.raises(EndpointError, match="did not answer with JSON"):
            Endpoint("it", server.url).ask_json("/")


class TestGateway:
    """The gateway."""

    def test_totals_are_exact(self) -> None:
        """Amounts that no binary fraction holds become whole cents."""
        nothing = b'{"totalRequests":0,"totalAmount":0}'
        said = b'{"default":{"totalRequests":3,"totalAmount":9007199254740.93},"fallback":' + nothing + b"}"
        with answering(200, said) as server:
            assert Gateway(server.url).totals() == (Totals(3, 900_719_925_474_093), Totals(0, 0))

    @pytest.mark.parametrize("part", [b'"totalRequests":3,"totalAmount":1.005', b'"totalRequests":3.5,"totalAmount":1'])
    def test_a_part_of_a_cent_or_of_a_payment_is_a_sentence(self, part: bytes) -> None:
        """Cut off, it would be what the processors show."""
        said = b'{"default":{' + part + b'},"fallback":{' + part + b"}}"
        with answering(200, said) as server, pytest.raises(EndpointError, match="instead of totals"):
            Gateway(server.url).totals()

    @pytest.mark.parametrize("said", [b"[]", b'{"default":1,"fallback":2}', b'{"default":{"totalRequests":"x"}}'])
    def test_anything_but_totals_is_a_sentence(self, said: bytes) -> None:
        """An answer of another shape is shown."""
        with answering(200, said) as server, pytest.raises(EndpointError, match="instead of totals"):
            Gateway(server.url).totals()

    def test_purges(self, bank: Bank) -> None:
        """By the endpoint that the contest calls."""
        Gateway(bank.gateway.url).purge()
        assert [(asked.method, asked.path) for asked in bank.gateway.asked] == [("POST", "/purge-payments")]

    @pytest.mark.slow
    def test_waits_for_one_that_has_just_started(self, bank: Bank) -> None:
        """A 503 passes by itself; one that stays is a sentence in the end."""
        bank.starting = 2
        Gateway(bank.gateway.url).purge()
        assert len(bank.gateway.asked) == 3
        bank.starting = 1_000
        with pytest.raises(EndpointError, match="answered 503. nobody is there yet"):
            Gateway(bank.gateway.url).purge(patience_s=0.3)


class TestProcessor:
    """A processor."""

    def test_behaves_as_told(self, bank: Bank) -> None:
        """Delay and failure are set, with the token."""
        processor = Processor("default", bank.processors[0].url, "secret")
        processor.set_token()
        processor.behave(Condition(20, failing=True))
        assert bank.changes == [
            (0, "token", {"token": "secret"}),
            (0, "delay", {"delay": 20}),
            (0, "failure", {"failure": True}),
        ]
        assert {asked.token for asked in bank.processors[0].asked} == {"secret"}

    def test_shows_totals_rows_and_fee(self, bank: Bank) -> None:
        """Everything stored, by sum and one by one, and its fee in percent."""
        bank.rows[1].append(["id", 1990, 5])
        processor = Processor("fallback", bank.processors[1].url)
        assert processor.totals() == Totals(1, 1990)
        assert processor.rows() == [Row("id", 1990, 5)]
        assert processor.fee_percent() == 5

    def test_one_that_lists_no_rows_has_none(self, bank: Bank) -> None:
        """The contest's own processor has no such endpoint."""
        bank.lists_rows = False
        assert Processor("default", bank.processors[0].url).rows() is None

    def test_rows_of_another_shape_are_a_sentence(self) -> None:
        """What can't be read is not guessed at."""
        with answering(200, b"[1]") as server, pytest.raises(EndpointError, match="not with rows"):
            Processor("default", server.url).rows()

    def test_forgets_when_purged(self, bank: Bank) -> None:
        """A purge empties it."""
        bank.rows[0].append(["id", 1, 1])
        Processor("default", bank.processors[0].url).purge()
        assert bank.rows[0] == []
