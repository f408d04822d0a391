"""haproxy/haproxy.cfg on the installed HAProxy: what it accepts, where it sends a payment, what it refuses itself.

tests/containers/test_haproxy_image.py runs the same classes on the image's version.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections import Counter

import pytest

from server.config import load
from server.payments import BODY_BYTES_MAX
from tests.haproxy.balancers import (
    CONFIGURATION,
    START_S_MAX,
    WORKER_NAMES,
    Balancer,
    assert_problem,
    requests_count,
    workers_of,
)
from tests.haproxy.stand_ins import (
    Client,
    Conduct,
    ask,
    get,
    ids_made,
    payment,
    post,
    post_chunked,
    post_head,
    until,
)

pytestmark = pytest.mark.slow


class TestConfiguration:
    """The file as HAProxy reads it."""

    def check(self, haproxy: list[str], run: str | None) -> subprocess.CompletedProcess[str]:
        """Let HAProxy check the file, with GATEWAY_RUN set to this or (None) not at all."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        if run is not None:
            environment["GATEWAY_RUN"] = run
        command = [*haproxy, "-c", "-f", str(CONFIGURATION)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)

    def test_loads_without_a_warning(self, haproxy: list[str]) -> None:
        """HAProxy accepts the file and says nothing but that."""
        check = self.check(haproxy, "/run/gateway")
        assert (check.returncode, check.stderr) == (0, "")
        assert check.stdout in {"", "Configuration file is valid\n"}

    @pytest.mark.parametrize("run", [None, ""], ids=["unset", "empty"])
    def test_refuses_a_missing_folder(self, haproxy: list[str], run: str | None) -> None:
        """Without GATEWAY_RUN it does not start, and the sentence names the setting."""
        check = self.check(haproxy, run)
        assert check.returncode == 1
        assert "GATEWAY_RUN is not set" in check.stderr

    def test_agrees_with_the_application(self) -> None:
        """The body's limit is the application's, and a worker is given up later than its supervisor replaces it."""
        text = CONFIGURATION.read_text()
        assert f"{{ req.body_size gt {BODY_BYTES_MAX} }}" in text
        (server_s,) = re.findall(r"^ +timeout server (\d+)s$", text, re.MULTILINE)
        assert int(server_s) * 1000 > load({}).stuck_ms


class TestPinning:
    """One id, one worker."""

    async def test_every_form_of_an_id_reaches_one_worker(self, balancer: Balancer) -> None:
        """Neither case, order of members, spaces, packets, chunks nor method changes an id's worker."""
        ids = ids_made(40)
        expected = await workers_of(balancer, ids)
        assert set(expected.values()) == set(WORKER_NAMES)
        client = await Client.connect(balancer.port)
        for each in ids:
            body = payment(each)
            reordered = f'{{ "amount" : 19.90, "correlationId" : "{each.upper()}" }}'.encode()
            forms = [
                [post(payment(each.upper()))],
                [post(reordered)],
                [post_head(len(body)), body[:25], body[25:]],
                post_chunked(body[:20], body[20:]),
                [get(f"/payments/{each}")],
                [get(f"/payments/{each.upper()}?verbose=1")],
            ]
            workers = {(await client.ask(*form, pause_s=0.002)).worker for form in forms}
            assert workers == {expected[each]}
        await client.close()

    async def test_ids_are_spread_evenly(self, balancer: Balancer) -> None:
        """No worker gets less than two fifths of the ids."""
        ids = ids_made(600)
        counts = Counter((await workers_of(balancer, ids)).values())
        assert min(counts[name] for name in WORKER_NAMES) > len(ids) * 2 / 5

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"correlationId":5}', b'{"amount":1}', b"\xff\xfe"])
    async def test_a_body_without_an_id_reaches_a_worker(self, balancer: Balancer, body: bytes) -> None:
        """What is wrong with a body is for the application to say."""
        assert (await ask(balancer.port, post(body))).worker in WORKER_NAMES


class TestLimits:
    """What is refused before a worker sees it."""

    @pytest.mark.parametrize("size", [BODY_BYTES_MAX + 1, 9_000, 200_000])
    async def test_refuses_a_large_body(self, balancer: Balancer, size: int) -> None:
        """A body above 1,024 bytes gets a 413, sent at once or in chunks."""
        body = b" " * size
        assert_problem(await ask(balancer.port, post(body)), 413)
        assert_problem(await ask(balancer.port, *post_chunked(body[:600], body[600:])), 413)
        assert requests_count(balancer) == 0

    async def test_lets_the_largest_body_pass(self, balancer: Balancer) -> None:
        """1,024 bytes pass, sent at once or in chunks."""
        body = payment(ids_made(1)[0]).ljust(BODY_BYTES_MAX)
        assert (await ask(balancer.port, post(body))).status == 202
        assert (await ask(balancer.port, *post_chunked(body[:1000], body[1000:]))).status == 202

    async def test_large_headers_do_not_unpin(self, balancer: Balancer) -> None:
        """With 2.2 kB of headers the largest body still shows its id; with more, or a long URL, it may be a 431."""
        last = {"amount": 19.9, "padding": "", "correlationId": ids_made(1)[0]}
        last["padding"] = " " * (BODY_BYTES_MAX - len(json.dumps(last)))
        body = json.dumps(last).encode()
        expected = await workers_of(balancer, ids_made(1))
        for filling, status in ((2_300, 202), (3_000, 431)):
            request = post(body).replace(b"Host", b"X-Filling: %s\r\nHost" % (b"x" * filling))
            answers = [await ask(balancer.port, request) for _ in range(4)]
            if status == 202:
                assert {answer.worker for answer in answers} == set(expected.values())
            else:
                assert_problem(answers[0], status)
        many = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 19) for number in range(90))
        long_url = b"?" + b"q" * 2_700 + b" HTTP/1.1"
        for request in (post(body).replace(b"Host", many + b"Host"), post(body).replace(b" HTTP/1.1", long_url)):
            assert_problem(await ask(balancer.port, request), 431)
        corner = b"".join(b"X-%02d: %s\r\n" % (number, b"x" * 47) for number in range(37))
        request = post(body).replace(b"Host", corner + b"Host").replace(b" HTTP/1.1", b"?" + b"q" * 180 + b" HTTP/1.1")
        for answer in [await ask(balancer.port, request) for _ in range(4)]:
            assert answer.status == 202, "just within each limit"
            assert {answer.worker} == set(expected.values())

    async def test_answers_an_expectation_once(self, balancer: Balancer) -> None:
        """`Expect: 100-continue` gets its 100 from HAProxy, and the worker never hears of it."""
        body = payment(ids_made(1)[0])
        head = post_head(len(body)).replace(b"Host", b"Expect: 100-continue\r\nHost")
        client = await Client.connect(balancer.port)
        await client.send([head], pause_s=0)
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        answer = await client.ask(body)
        assert answer.status == 202
        ((_, headers, _),) = balancer.workers[answer.worker].requests
        assert "expect" not in headers
        await client.close()

    async def test_speaks_http_1_only(self, balancer: Balancer) -> None:
        """A connection that opens with HTTP/2's preface gets a 400."""
        answer = await ask(balancer.port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        assert (answer.status, answer.worker) == (400, "")


class TestSlowClients:
    """Clients that take their time."""

    async def test_cuts_off_a_slow_body(self, balancer: Balancer) -> None:
        """A body that trickles in gets a 408 after 2 s, and no worker hears of it."""
        body = payment(ids_made(1)[0])
        began = time.monotonic()
        answer = await ask(balancer.port, post_head(len(body)), *(bytes([byte]) for byte in body), pause_s=0.3)
        assert_problem(answer, 408)
        assert 1.5 < time.monotonic() - began < 8
        assert requests_count(balancer) == 0

    async def test_cuts_off_slow_headers_and_silence(self, balancer: Balancer) -> None:
        """Headers that trickle in, and a connection that says nothing, are closed after 2 s."""
        slow, silent = await Client.connect(balancer.port), await Client.connect(balancer.port)
        began = time.monotonic()
        slow_answer = await slow.ask(*(bytes([byte]) for byte in get("/payments-summary")), pause_s=0.3)
        assert slow_answer.status == 408
        async with asyncio.timeout(6):
            await silent.reader.read()
        assert 1.5 < time.monotonic() - began < 8
        await slow.close()
        await silent.close()

    async def test_keeps_an_idle_client(self, balancer: Balancer) -> None:
        """One that asked before may pause between two requests: pools and load balancers in front do."""
        client = await Client.connect(balancer.port)
        assert (await client.ask(get("/payments-summary"))).worker in WORKER_NAMES
        await asyncio.sleep(4.0)
        assert (await client.ask(get("/payments-summary"))).worker in WORKER_NAMES
        await client.close()


class TestListeners:
    """What is seen on which port."""

    async def test_health_is_answered_by_haproxy(self, balancer: Balancer) -> None:
        """GET /health gets an empty 204 without any worker's help; another method is for the application to refuse."""
        answer = await ask(balancer.port, get("/health"))
        assert (answer.status, answer.worker, answer.body) == (204, "", b"")
        assert requests_count(balancer) == 0
        assert (await ask(balancer.port, get("/health").replace(b"GET", b"PUT"))).worker in WORKER_NAMES

    async def test_operators_have_their_own_port(self, balancer: Balancer) -> None:
        """Statistics and metrics are on the operators' listener and not on the clients'."""
        seen = {
            "/": b"Statistics Report",
            "/metrics": b'haproxy_server_status{proxy="workers",server="app2-0",state="UP"} 1',
        }
        for path, expected in seen.items():
            client = await Client.connect(balancer.stats_port)
            await client.send([f"GET {path} HTTP/1.0\r\n\r\n".encode()], pause_s=0)
            assert expected in await client.reader.read()
            await client.close()
            assert (await ask(balancer.port, get(path))).worker in WORKER_NAMES

    async def test_few_connections_serve_many_clients(self, balancer: Balancer) -> None:
        """Clients that ask one after the other share a worker's connection, from their first request on."""
        for worker in balancer.workers.values():
            worker.checks_count = worker.connections_count = 0
        for each in ids_made(40):
            await ask(balancer.port, post(payment(each)))
        assert requests_count(balancer) == 40
        connections_count = sum(each.connections_count - each.checks_count for each in balancer.workers.values())
        assert connections_count == len(WORKER_NAMES)

    async def test_an_orderly_stop_finishes_what_runs(self, balancer: Balancer) -> None:
        """On SIGUSR1 a request under way is still answered, and the process ends."""
        for worker in balancer.workers.values():
            worker.conduct = Conduct.HANG
        asking = asyncio.create_task(ask(balancer.port, get("/payments-summary")))
        await until(lambda: requests_count(balancer) == 1, "a worker has the request")
        balancer.process.send_signal(signal.SIGUSR1)
        await asyncio.sleep(0.2)
        (busy,) = (worker for worker in balancer.workers.values() if worker.requests)
        for worker in balancer.workers.values():
            worker.conduct = Conduct.ANSWER
        await busy.kill()
        await busy.start()
        assert (await asking).worker in WORKER_NAMES  # another one's, if the start took long
        assert await asyncio.wait_for(balancer.process.wait(), START_S_MAX) == 0
