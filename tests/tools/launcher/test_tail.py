"""Tests of tools/launcher/tail.py."""

from pathlib import Path

import pytest

from tools.launcher.tail import LOG_BYTES_MAX, READ_BYTES_MAX, Tail


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log that is not there yet."""
    return tmp_path / "service.log"


def write(log: Path, text: str) -> None:
    """Appends, as a service does."""
    with log.open("a") as file:
        file.write(text)


class TestTail:
    """Tail."""

    def test_no_log_yet(self, log: Path) -> None:
        """A service may have said nothing."""
        assert Tail(log).lines() == []

    def test_each_line_once(self, log: Path) -> None:
        """Empty ones left out."""
        tail = Tail(log)
        write(log, "one\n\ntwo\n")
        assert tail.lines() == ["one", "two"]
        assert tail.lines() == []
        write(log, "three\n")
        assert tail.lines() == ["three"]

    def test_an_unfinished_line_waits(self, log: Path) -> None:
        """Until it has an end."""
        tail = Tail(log)
        write(log, "one\ntw")
        assert tail.lines() == ["one"]
        write(log, "o\n")
        assert tail.lines() == ["two"]

    def test_what_is_no_text_is_shown_as_far_as_it_goes(self, log: Path) -> None:
        """A dying program may write anything."""
        log.write_bytes(b"\xff oh\n")
        assert Tail(log).lines() == ["\N{REPLACEMENT CHARACTER} oh"]

    def test_a_long_log_is_read_in_pieces_and_then_emptied(self, log: Path) -> None:
        """A run of days does not fill the disk, and nothing is lost."""
        line = "x" * 1023 + "\n"
        count = LOG_BYTES_MAX // len(line) + 10
        write(log, line * count)
        tail = Tail(log)
        assert len(tail.lines()) == READ_BYTES_MAX // len(line)
        seen = READ_BYTES_MAX // len(line)
        while log.stat().st_size:
            seen += len(tail.lines())
        assert seen == count
        write(log, "after\n")
        assert tail.lines() == ["after"]
