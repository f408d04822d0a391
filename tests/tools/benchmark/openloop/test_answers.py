"""Tests of tools/benchmark/openloop/answers.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.benchmark.openloop.answers import BODY_BYTES_MAX, Answer, AnswerReader, BrokenAnswer

ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
SUMMARY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nnot\r\n4\r\n now\r\n0\r\n\r\n"


class TestAnswerReader:
    """Bytes to answers."""

    @given(st.lists(st.sampled_from([ACCEPTED, SUMMARY, CHUNKED]), max_size=3), st.data())
    def test_it_does_not_matter_how_they_come(self, answers: list[bytes], data: st.DataObject) -> None:
        """In any pieces, one answer after the other."""
        expected = {
            ACCEPTED: Answer(202, b"", keeps=True),
            SUMMARY: Answer(200, b"{}", keeps=False),
            CHUNKED: Answer(503, b"not now", keeps=True),
        }
        for answer in answers:
            reader = AnswerReader()
            cuts = sorted(data.draw(st.sets(st.integers(1, len(answer) - 1), max_size=4)))
            pieces = [answer[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
            found = [reader.feed(piece) for piece in pieces]
            assert found == [*[None] * len(cuts), expected[answer]]

    def test_one_reader_reads_many(self) -> None:
        """As long as the connection lasts."""
        reader = AnswerReader()
        assert [reader.feed(each) for each in (ACCEPTED, CHUNKED, ACCEPTED)] == [
            Answer(202, b"", keeps=True),
            Answer(503, b"not now", keeps=True),
            Answer(202, b"", keeps=True),
        ]

    @pytest.mark.parametrize(
        "data",
        [
            b"nonsense\r\n\r\n",
            ACCEPTED + ACCEPTED,
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * (BODY_BYTES_MAX + 1),
        ],
        ids=["no HTTP", "two", "too long"],
    )
    def test_anything_else_is_broken(self, data: bytes) -> None:
        """The connection can't be used any more."""
        with pytest.raises(BrokenAnswer):
            AnswerReader().feed(data)
