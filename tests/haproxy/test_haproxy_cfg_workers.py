"""haproxy/haproxy.cfg when workers leave, die or fail: who answers instead, and what the client is told.

tests/containers/test_haproxy_image.py runs the same classes on the image's version.
"""

import asyncio
import time

import pytest

from server.config import load
from tests.haproxy.balancers import Balancer, assert_problem, requests_count, workers_of
from tests.haproxy.stand_ins import Conduct, ask, get, ids_made, payment, post, until

pytestmark = pytest.mark.slow

LEAVE_S = load({}).leave_ms / 1000  # how long a leaving instance answers 404 before it goes
NOTICED_S = 0.7  # a check each 0.5 s, and some time to act on it


class TestWorkersLeaving:
    """Workers that leave, die or fail."""

    async def test_a_404_on_health_takes_a_worker_out(self, balancer: Balancer) -> None:
        """Its ids go to others within LEAVE_S, no other id moves, and all return when it answers 204 again."""
        ids = ids_made(60)
        before = await workers_of(balancer, ids)
        leaving = balancer.workers["app1-0"]
        leaving.health = 404
        await asyncio.sleep(LEAVE_S / 2)
        during = await workers_of(balancer, ids)
        assert leaving.name not in during.values()
        moved = {each for each in ids if before[each] != during[each]}
        assert moved == {each for each, name in before.items() if name == leaving.name}
        leaving.health = 204
        await asyncio.sleep(NOTICED_S)
        assert await workers_of(balancer, ids) == before

    async def test_an_unanswered_request_goes_to_the_successor(self, balancer: Balancer) -> None:
        """A request whose worker died is given to that worker's successor, not to another instance."""
        ids = ids_made(30)
        before = await workers_of(balancer, ids)
        dying = balancer.workers["app2-0"]
        mine = [each for each in ids if before[each] == dying.name]
        dying.conduct = Conduct.HANG
        dying.requests.clear()
        asking = [asyncio.create_task(ask(balancer.port, post(payment(each)))) for each in mine]
        await until(lambda: len(dying.requests) == len(mine), "the worker has all requests")
        await dying.kill()
        await asyncio.sleep(0.5)
        dying.conduct = Conduct.ANSWER
        await dying.start()
        answers = await asyncio.gather(*asking)
        assert {(answer.status, answer.worker) for answer in answers} == {(202, dying.name)}

    async def test_a_lost_instance_costs_no_request(self, balancer: Balancer) -> None:
        """While nobody listens on an instance's socket, the other answers every request, none later than 1 s."""
        ids = ids_made(60)
        before = await workers_of(balancer, ids)
        await balancer.workers["app1-0"].vanish()
        began = time.monotonic()
        answers = await asyncio.gather(*(ask(balancer.port, post(payment(each))) for each in ids))
        assert time.monotonic() - began < 1
        assert {answer.worker for answer in answers} == {"app2-0"}
        stayed = {each for each, answer in zip(ids, answers, strict=True) if answer.worker == before[each]}
        assert stayed == {each for each, name in before.items() if name.startswith("app2")}

    async def test_without_workers_it_says_so(self, balancer: Balancer) -> None:
        """With nobody left, payments and /health get a 503 with Retry-After; one worker is enough to end it."""
        for worker in balancer.workers.values():
            await worker.vanish()
        refused = await ask(balancer.port, post(payment(ids_made(1)[0])))
        await asyncio.sleep(NOTICED_S)
        unhealthy = await ask(balancer.port, get("/health"))
        for answer in (refused, unhealthy):
            assert_problem(answer, 503)
            assert answer.headers["retry-after"] == "1"
        await balancer.workers["app2-0"].start()
        await asyncio.sleep(NOTICED_S)
        assert (await ask(balancer.port, get("/health"))).status == 204
        assert (await ask(balancer.port, get("/payments-summary"))).worker == "app2-0"

    async def test_a_worker_that_always_dies_ends_in_an_answer(self, balancer: Balancer) -> None:
        """A request that kills every worker is tried four times, then answered with a 502 problem."""
        for worker in balancer.workers.values():
            worker.conduct = Conduct.DIE
        assert_problem(await ask(balancer.port, post(payment(ids_made(1)[0]))), 502)
        assert requests_count(balancer) == 4

    async def test_nonsense_is_not_tried_again(self, balancer: Balancer) -> None:
        """A worker's malformed answer becomes a 502 problem; the request is not repeated."""
        for worker in balancer.workers.values():
            worker.conduct = Conduct.NONSENSE
        assert_problem(await ask(balancer.port, post(payment(ids_made(1)[0]))), 502)
        assert requests_count(balancer) == 1
