"""Which processor a payment goes to next: pure, from both circuits. Time is an argument, in `Clock`'s ticks_ms."""

from typing import NamedTuple

from server.circuit import PROBES_MAX, Circuit, CircuitState

HESITATE_MS = 250  # the longest that a backlog is held back for the answer to the cheaper processor's probe


class Policy(NamedTuple):
    """The numbers of the routing decision.

    Args:
        cheap: index of the cheaper processor.
        dear: index of the other.
        wait_ms: how long a payment waits for the cheaper processor before it goes to the dearer, if that is healthy.
    """

    cheap: int
    dear: int
    wait_ms: int


def make_policy(fees_bp: tuple[int, int], wait_ms_per_fee_point: int) -> Policy:
    """The policy for two processors with these fees, in hundredths of a percent."""
    cheap = 0 if fees_bp[0] <= fees_bp[1] else 1
    points_bp = abs(fees_bp[1] - fees_bp[0])
    return Policy(cheap, 1 - cheap, wait_ms_per_fee_point * points_bp // 100)


class Router(NamedTuple):
    """The routing decision.

    Args:
        circuits: of the default and the fallback processor.
        policy: the numbers.
    """

    circuits: tuple[Circuit, Circuit]
    policy: Policy

    def choose(self, age_ms: int, backlog: int, now_ms: int) -> int | None:
        """The index of the processor that a waiting payment goes to now; None: it goes on waiting.

        Args:
            age_ms: how long ago the payment was accepted.
            backlog: how many payments wait, this one included.
            now_ms: now, on the circuits' clock.

        | cheaper processor | payment goes to |
        | --- | --- |
        | closed, fast, room | the cheaper |
        | not closed or slow, and its probe due | the cheaper, as a probe |
        | not closed, not probed since the dearer recovered, no unknown payments put it off | the same, out of turn |
        | any other that is not closed | waits `wait_ms` for the cheaper, then the dearer |
        | closed, fast, full | waits if all that waits can be through in less than `wait_ms`, else the dearer at once |
        | closed, slow | the dearer at once |
        | any of the last three, and the dearer can't | waits `wait_ms`, then whichever is faster, even if slow |

        The dearer *can* take it if it is closed, fast and has room, or if its probe is due. But for `HESITATE_MS` after
        it has recovered, while the cheaper is being probed, it can't: the same event may have ended both outages.
        """
        policy = self.policy
        cheap, dear = self.circuits[policy.cheap], self.circuits[policy.dear]
        has_time = age_ms < policy.wait_ms
        probes_max = PROBES_MAX if has_time else 1  # 1: or a payment whose probe hung would be sent to hang again
        if cheap.may_send(now_ms, probes_max) or cheap.may_probe_out_of_turn(dear.recovered_at_ms):
            return policy.cheap
        if cheap.state is CircuitState.CLOSED:
            is_worth_waiting = (
                not cheap.latency.is_slow(now_ms) and cheap.drain_estimate_ms(backlog, now_ms) < policy.wait_ms
            )
        else:
            is_probed = cheap.state is CircuitState.HALF_OPEN
            is_worth_waiting = has_time or (
                is_probed and now_ms - dear.recovered_at_ms < min(HESITATE_MS, policy.wait_ms)
            )
        if not is_worth_waiting and dear.may_send(now_ms, 1):
            return policy.dear
        return None if is_worth_waiting or has_time else self._last_resort(now_ms)

    def may_go_to(self, processor: int, now_ms: int) -> bool:
        """Whether a payment that only this processor may take can go there now, even if it is slow."""
        return self.circuits[processor].may_send(now_ms, PROBES_MAX, even_if_slow=True)

    def _last_resort(self, now_ms: int) -> int | None:
        """The faster processor of those that may be sent a payment, even if slow; one with a probe under way only if
        there is no other.
        """
        for probes_max in (1, PROBES_MAX):
            able = [one for one in (0, 1) if self.circuits[one].may_send(now_ms, probes_max, even_if_slow=True)]
            if able:
                return min(
                    able, key=lambda one: (self.circuits[one].latency.expected_ms(now_ms), one == self.policy.dear)
                )
        return None
