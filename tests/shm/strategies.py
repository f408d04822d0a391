"""Hypothesis strategies for what lies in shared memory."""

from hypothesis import strategies as st

from shm.layout import DISPATCHERS_MAX, WORKERS_MAX, Geometry
from shm.record import Accepted, Base, Ended
from shm.states import ENDED

words = st.integers(0, 2**64 - 1)
positions = st.integers(0, 2**63)  # a lap further must still be a word
ids = st.binary(min_size=16, max_size=16)
processors = st.integers(0, 1)
times_ms = st.integers(0, 2**48 - 1)

payments = st.builds(Accepted, ids, words, words)
ended = st.builds(
    Ended, st.sampled_from(sorted(ENDED)), st.integers(0, 255), times_ms, words, st.integers(0, 2**32 - 1)
)
bases = st.builds(Base, *[words] * 8)

powers_of_two = st.integers(1, 24).map(lambda exponent: 1 << exponent)
geometries = st.builds(
    Geometry,
    workers=st.integers(1, WORKERS_MAX),
    dispatchers=st.integers(1, DISPATCHERS_MAX),
    lane_slots=powers_of_two,
    waiting_slots=st.integers(1, 1 << 24),
    journal_records=powers_of_two,
)
