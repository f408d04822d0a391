"""A web worker in a process of its own: serves on the socket it is given, beats, leaves in order."""

import http.client
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from server import child, worker
from server.config import Config, load
from shm import Ended, Phase, RoleTaken, Segment, State, WorkerCount, take_role
from tests.fakes import NOON_MS
from tests.server.other_instance import OtherInstance, copy_of
from tests.server.scene import text_of
from tests.shm.processes import end, fork
from tests.shm.segments import fresh_instance

pytestmark = pytest.mark.slow

PATIENCE_S = 10.0
SMALL = {"LANE_SLOTS": "8", "WAITING_SLOTS": "8", "JOURNAL_RECORDS": "16"}


class Office:
    """A segment, a listening socket, and a worker behind it once `start` has been called."""

    def __init__(self, instance: str, **settings: str) -> None:
        self.config: Config = load({"INSTANCE": instance, "LEAVE_S": "0.3", **SMALL, **settings})
        self.segment = Segment.create(instance, self.config.geometry)
        self.row = self.segment.worker_counters(0)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.doorbell = os.eventfd(0, os.EFD_NONBLOCK)
        self.dispatcher = take_role(instance, "dispatcher-0")
        self.segment.dispatcher_counters(0).phase = Phase.READY
        self.segment.dispatcher_counters(0).beat()
        self.pid = 0

    def start(self) -> None:
        """Forks the worker and waits until it serves."""
        self.row.phase = Phase.NONE
        parent = os.getpid()
        self.pid = fork(lambda: os._exit(child.run("worker-0", parent, self._serve)))
        self.wait_for(lambda: self.row.phase is Phase.READY, "the worker is not ready")

    def _serve(self) -> int:
        return worker.serve(self.config, self.segment, 0, self.listener, [self.doorbell])

    def close(self) -> None:
        """Leaves nothing behind."""
        end(self.pid) if self.pid else None
        self.listener.close()
        self.dispatcher.release()
        os.close(self.doorbell)

    def wait_for_beat(self) -> None:
        """Waits for the worker's next heartbeat."""
        beat_us = self.row.heartbeat_us
        self.wait_for(lambda: self.row.heartbeat_us != beat_us, "it has no heartbeat")

    def wait_for(self, condition: Callable[[], bool], message: str) -> float:
        """Waits until something holds; how long that took, in seconds."""
        begun_s = time.monotonic()
        while not condition():
            assert time.monotonic() - begun_s < PATIENCE_S, message
            time.sleep(0.002)
        return time.monotonic() - begun_s

    def connect(self) -> http.client.HTTPConnection:
        """A new connection."""
        host, port = self.listener.getsockname()
        return http.client.HTTPConnection(host, port, timeout=PATIENCE_S)

    def ask(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        """Status and body of an answer."""
        connection = self.connect()
        connection.request(method, path, body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def pay(self, number: int, amount: str = "19.90") -> int:
        """Status of the answer to a payment."""
        return self.ask("POST", "/payments", f'{{"correlationId":"{text_of(number)}","amount":{amount}}}')[0]

    def wait_end(self) -> int:
        """Waits until the worker has ended; its exit status."""
        ended: list[int] = []

        def look() -> bool:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                ended.append(os.waitstatus_to_exitcode(status))
                self.pid = 0
            return bool(pid)

        self.wait_for(look, "the worker did not end")
        return ended[0]


@contextmanager
def working() -> Iterator[Office]:
    """Gives an office whose worker is at work."""
    with fresh_instance() as instance:
        made = Office(instance)
        made.start()
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def office() -> Iterator[Office]:
    """An office whose worker is at work."""
    with working() as made:
        yield made


class TestServing:
    """A worker's day."""

    def test_payment(self, office: Office) -> None:
        """What is answered with 202 lies in the lane, and a sleeping dispatcher has been rung for."""
        office.segment.dispatcher_counters(0).sleeping = True
        assert office.pay(7) == 202
        lane = office.segment.lane(0, 0)
        accepted = lane.peek(0)
        assert accepted is not None
        assert (lane.depth, accepted.correlation_id, accepted.amount_cents) == (1, (7).to_bytes(16, "big"), 1990)
        assert os.eventfd_read(office.doorbell) == 1
        assert office.row.get(WorkerCount.ACCEPTED) == 1

    def test_dispatcher_is_awake(self, office: Office) -> None:
        """A dispatcher that is at work is not rung for."""
        assert office.pay(1) == 202
        with pytest.raises(BlockingIOError):
            os.eventfd_read(office.doorbell)

    def test_full(self, office: Office) -> None:
        """A full ring is a 503 for this payment, and no reason to leave."""
        assert [office.pay(number) for number in range(9)] == [202] * 8 + [503]
        assert office.ask("GET", "/health")[0] == 204
        assert office.pay(1) == 202

    def test_heart(self, office: Office) -> None:
        """It beats twice a second."""
        seen_us = set[int]()
        deadline_s = time.monotonic() + 2
        while time.monotonic() < deadline_s:
            seen_us.add(office.row.heartbeat_us)
            time.sleep(0.01)
        assert 3 <= len(seen_us) <= 6

    def test_local_totals(self, office: Office) -> None:
        """Without Redis it reads the journals itself."""
        office.segment.journal(0).append(Ended(State.SETTLED, 1, NOON_MS, 1990, 0))
        status, body = office.ask("GET", "/payments-summary")
        assert status == 200
        assert body == (
            b'{"default":{"totalRequests":0,"totalAmount":0.00},"fallback":{"totalRequests":1,"totalAmount":19.90}}'
        )

    def test_looks_at_siblings(self, office: Office, instance: str, other: OtherInstance) -> None:
        """What another instance of the volume has taken is found there."""
        other.take(copy_of(1), State.SETTLED)
        reader = Office(instance, SIBLINGS=other.name, REDIS_URL="redis://127.0.0.1:1")
        try:
            reader.start()
            status, body = reader.ask("GET", f"/payments/{text_of(1)}")
        finally:
            reader.close()
        assert (status, b'"state":"settled"' in body) == (200, True)
        assert office.ask("GET", f"/payments/{text_of(1)}")[0] == 404

    def test_follows_the_journals(self, office: Office) -> None:
        """It keeps up with them though nobody asks, so that a window from before they were folded can be told."""
        journal = office.segment.journal(0)
        for second in range(6):
            journal.append(Ended(State.SETTLED, 0, NOON_MS + second * 1000, 100, second))
        for _ in range(4):  # beats of the same loop, half a second apart: the one that follows has come round by then
            office.wait_for_beat()
        journal.fold(6)
        office.segment.dispatcher_counters(0).beat()
        status, body = office.ask("GET", "/payments-summary?from=2025-07-15T12:34:57Z&to=2025-07-15T12:34:58Z")
        assert (status, b'"totalRequests":2,"totalAmount":2.00' in body) == (200, True)

    def test_what_is_not_http(self, office: Office) -> None:
        """It is refused in our own words: the protocol is ours."""
        with socket.create_connection(office.listener.getsockname(), PATIENCE_S) as client:
            client.sendall(b"hello\r\n\r\n")
            with client.makefile("rb") as answer:
                assert b"application/problem+json" in answer.read()

    def test_an_idle_connection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is kept for as long as was set, not for uvicorn's five seconds: HAProxy must be the one to close it."""
        monkeypatch.setattr(worker, "KEEP_ALIVE_S", 0.05)
        with working() as office, socket.create_connection(office.listener.getsockname(), PATIENCE_S) as client:
            begun_s = time.monotonic()
            assert client.recv(1) == b""
            assert time.monotonic() - begun_s < 3

    def test_successor_knows(self, office: Office) -> None:
        """After a crash, repeats of what lies in the lane are known to the web worker."""
        assert office.pay(1) == 202
        end(office.pid)
        office.start()
        assert office.row.pid == office.pid
        assert [office.pay(1), office.pay(1, "20.00")] == [202, 409]
        assert office.segment.lane(0, 0).depth == 1

    def test_clients_wait_for_a_successor(self, office: Office) -> None:
        """While nobody serves, a client waits in the socket's queue and is answered by the successor."""
        end(office.pid)
        connection = office.connect()
        connection.request("GET", "/health")
        office.start()
        assert connection.getresponse().status == 204
        connection.close()


class TestLeaving:
    """The end."""

    def test_in_order(self, office: Office) -> None:
        """Told to stop, it says so on /health, serves on for a moment, and ends well."""
        kept = office.connect()
        kept.request("GET", "/health")
        assert kept.getresponse().read() == b""
        os.kill(office.pid, signal.SIGTERM)
        begun_s = time.monotonic()
        office.wait_for(lambda: office.row.phase is Phase.LEAVING, "it does not leave")
        assert office.ask("GET", "/health")[0] == 404
        assert office.pay(1) == 202
        os.kill(office.pid, signal.SIGTERM)  # once more, which changes nothing
        assert office.wait_end() == 0
        assert 0.25 < time.monotonic() - begun_s < worker.STOP_WITHIN_S  # so long would it wait for a request
        assert office.row.phase is Phase.GONE
        kept.close()

    def test_ctrl_c(self, office: Office) -> None:
        """A terminal's Ctrl-C reaches all processes; only the supervisor decides what follows."""
        os.kill(office.pid, signal.SIGINT)
        time.sleep(0.3)
        assert office.ask("GET", "/health")[0] == 204

    def test_request_in_flight(self, office: Office) -> None:
        """A request that has begun is answered before the end."""
        with socket.create_connection(office.listener.getsockname()) as client:
            body = b'{"correlationId":"%b","amount":1}' % text_of(1).encode()
            head = b"POST /payments HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
            client.sendall(head)
            time.sleep(0.05)
            os.kill(office.pid, signal.SIGTERM)
            time.sleep(0.5)  # LEAVE_S and a look
            client.sendall(body)
            client.settimeout(PATIENCE_S)
            assert client.recv(100).startswith(b"HTTP/1.1 202")
        assert office.wait_end() == 0

    def test_request_without_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is not waited for longer than a moment."""
        monkeypatch.setattr(worker, "STOP_WITHIN_S", 0.2)
        with working() as office, socket.create_connection(office.listener.getsockname()) as client:
            client.sendall(b"POST /payments HTTP/1.1\r\nHost: x\r\nContent-Length: 70\r\n\r\n{")
            office.wait_for_beat()
            os.kill(office.pid, signal.SIGTERM)
            assert office.wait_end() == 0


class TestStart:
    """What it needs."""

    def test_role_taken(self, instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody serves while another process plays the role."""
        monkeypatch.setattr(worker, "take_role", partial(take_role, within_s=0))
        office = Office(instance)
        with take_role(instance, "worker-0"), pytest.raises(RoleTaken):
            worker.serve(office.config, office.segment, 0, office.listener, [office.doorbell])
        office.close()

    def test_redis_away(self, instance: str) -> None:
        """With a Redis that is not there it takes payments, and says that it can't tell totals."""
        office = Office(instance, REDIS_URL="unix:///nowhere/redis.sock")
        try:
            office.start()
            assert office.pay(1) == 202
            status, body = office.ask("GET", "/payments-summary")
            assert (status, b"Redis can't be asked" in body) == (503, True)
        finally:
            office.close()
