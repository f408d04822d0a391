"""Tests of tools/benchmark/run.py."""

import dataclasses
import io
import time

import pytest

from tests.tools.benchmark.samples import SCENARIO, Asked, Bank, summaries
from tools.benchmark import payments, settling
from tools.benchmark.endpoints import Processor, free_port
from tools.benchmark.events import Audited, Changed, Ended, Failed, Started, Totals
from tools.benchmark.generator import Progress
from tools.benchmark.progress import Screen
from tools.benchmark.reconcile import Answered
from tools.benchmark.run import Order, Recorder, carry_out, money_of, settle
from tools.benchmark.targets import Target

NOTHING_PAID = (Totals(0, 0), Totals(0, 0))
CALMED = [(side, what, {what: value}) for side in (0, 1) for what, value in (("delay", 0), ("failure", False))]


def order_for(bank: Bank, *, settles: bool = True) -> Order:
    """The small load on the bank."""
    default, fallback = (
        Processor(name, server.url) for name, server in zip(("default", "fallback"), bank.processors, strict=True)
    )
    target = Target("gateway", bank.gateway.url, settles=settles)
    return Order(target, (default, fallback), SCENARIO, seed=7, token="123")


def screen() -> Screen:
    """A screen that nobody sees."""
    return Screen(io.StringIO())


def answered(accepted: int, unanswered: int = 0) -> Answered:
    """So many accepted payments of one cent."""
    return Answered(accepted, accepted, 0, unanswered, {})


class TestRecorder:
    """What is kept of a load."""

    def test_keeps_events_and_reads_meters_at_both_ends(self) -> None:
        """The first snapshot when the load starts, the second when it ends."""
        stream = io.StringIO()
        recorder = Recorder(SCENARIO, [], Screen(stream))
        for event in (Started(5), Changed(6, 1), Audited(summaries((1, 1))), Audited(summaries((1, 2)))):
            recorder.on_event(event)
        assert (recorder.started_at_ms, recorder.stage, recorder.end) == (5, 1, None)
        recorder.on_event(Failed(7, 1, 2, 503, ""))
        recorder.on_event(Ended(summaries((3, 3))))
        assert recorder.start is not None
        assert recorder.end is not None
        assert recorder.failures == [Failed(7, 1, 2, 503, "")]
        assert "an audit differs" in stream.getvalue()
        recorder.on_tick(Progress(4, 0))
        assert "accepted 4  failed 0  audits 2, different 1" in stream.getvalue()


class TestMoneyOf:
    """Whose word counts at the end."""

    def test_is_the_side_that_the_rules_name(self) -> None:
        """The preview asks the gateway, the final the processors."""
        ended = summaries((2, 3), (4, 5))
        gateways = dataclasses.replace(SCENARIO.rules, money_from="gateway")
        assert money_of(SCENARIO, ended)[0] == (Totals(4, 4), Totals(5, 5))
        assert money_of(dataclasses.replace(SCENARIO, rules=gateways), ended)[0] == (Totals(2, 2), Totals(3, 3))

    def test_no_answer_is_no_money(self) -> None:
        """As in the contest, and it is said."""
        gateways = dataclasses.replace(SCENARIO, rules=dataclasses.replace(SCENARIO.rules, money_from="gateway"))
        money, note = money_of(gateways, summaries(None))
        assert money == (Totals(0, 0), Totals(0, 0))
        assert note is not None
        money, note = money_of(SCENARIO, summaries(None)._replace(processors=(None, Totals(1, 1))))
        assert money == (Totals(0, 0), Totals(1, 1))
        assert note is not None


class TestSettle:
    """The wait after the load."""

    @pytest.fixture
    def recorder(self, monkeypatch: pytest.MonkeyPatch) -> Recorder:
        """A load that has ended; nobody waits long."""
        for name, seconds in (("POLL_S", 0.01), ("AWAKE_S", 0.01), ("AGREE_S", 0.05)):
            monkeypatch.setattr(settling, name, seconds)
        recorder = Recorder(SCENARIO, [], screen())
        recorder.on_event(Ended(summaries((0, 0))))
        return recorder

    def test_has_an_end(self, bank: Bank, recorder: Recorder) -> None:
        """What is lost never comes: the books are compared as they are."""
        settled = settle(order_for(bank), "cafe", recorder, answered(1), NOTHING_PAID, screen(), settle_s=0.05)
        assert (settled.quiet_s, settled.waiting_at_end) == (None, 1)
        assert settled.findings is not None
        assert settled.findings.lost.count == 1

    def test_a_copy_that_sleeps_in_a_processor_is_found(self, bank: Bank, recorder: Recorder) -> None:
        """It is stored after all was quiet, within the longest delay; how soon all was quiet stays what it was."""
        ended_ms = time.time_ns() // 1_000_000
        recorder.on_event(Ended(summaries((0, 0))._replace(at_ms=ended_ms)))
        row = [payments.correlation_id("cafe", 1, 0), 1990, ended_ms]
        bank.rows[0].append(row)
        answer = bank.gateway.answer

        def wake(asked: Asked) -> tuple[int, bytes]:
            said = answer(asked)
            bank.rows[1][:] = [row]
            return said

        bank.gateway.answer = wake
        settled = settle(order_for(bank), "cafe", recorder, answered(1), NOTHING_PAID, screen(), settle_s=5.0)
        assert settled.findings is not None
        assert settled.findings.twice.ids == [row[0]]
        assert settled.quiet_s is not None
        assert settled.quiet_s < SCENARIO.delay_ms_max / 1000 <= time.time() - ended_ms / 1000

    def test_a_gateway_that_is_gone_leaves_no_findings(self, bank: Bank, recorder: Recorder) -> None:
        """The card is made all the same."""
        order = order_for(bank)
        gone = dataclasses.replace(order, target=Target("gateway", f"http://127.0.0.1:{free_port()}"))
        settled = settle(gone, "cafe", recorder, answered(1), NOTHING_PAID, screen(), settle_s=0.05)
        assert (settled.quiet_s, settled.findings) == (None, None)


@pytest.mark.slow
class TestCarryOut:
    """A whole run, with a real k6."""

    def test_a_good_gateway(self, bank: Bank) -> None:
        """Everything is measured, nothing is wrong, and the processors are calm afterwards."""
        card = carry_out(order_for(bank), screen())
        assert card.faults() == []
        assert card.settled is not None
        assert card.settled.findings is not None
        assert card.settled.findings.by_row
        assert card.answered.accepted == len(bank.rows[0]) > 0
        assert card.score is not None
        assert card.score.amount_cents == card.answered.cents
        assert card.oracle is not None
        assert card.oracle.default + card.oracle.fallback == card.answered.accepted
        assert bank.changes[-4:] == CALMED
        assert any("the score's rules say 15 %" in note for note in card.notes)

    def test_a_lost_and_a_doubled_payment(self, bank: Bank) -> None:
        """Both are found, though the totals alone agree."""
        bank.lose = bank.double = 1
        card = carry_out(order_for(bank), screen(), settle_s=0.5)
        assert "1 payments charged more than once." in card.faults()
        assert "1 payments accepted and never paid." in card.faults()

    def test_processors_that_list_no_rows(self, bank: Bank) -> None:
        """Totals are compared then."""
        bank.lists_rows = False
        card = carry_out(order_for(bank), screen())
        assert card.settled is not None
        assert card.settled.findings is not None
        assert not card.settled.findings.by_row
        assert card.faults() == []

    def test_the_floor_is_not_asked_for_money(self, bank: Bank) -> None:
        """No settlement, no score."""
        card = carry_out(order_for(bank, settles=False), screen())
        assert (card.settled, card.score, card.oracle, card.faults()) == (None, None, None, [])
