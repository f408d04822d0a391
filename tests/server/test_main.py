"""From settings to an exit status; the supervisor is stood in for."""

import dataclasses
import logging
import os
import re
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from server import listeners
from server.__main__ import EXIT_CANNOT_START, EXIT_WRONG_SETTING, main, open_segment
from server.addresses import TcpListen
from server.config import Config, load
from server.siblings import Siblings
from server.supervisor import Supervisor
from shm import (
    Accepted,
    Ended,
    Event,
    Geometry,
    Phase,
    RoleTaken,
    Segment,
    SegmentError,
    State,
    take_role,
    take_segment,
)
from shm.names import lock_path
from tests.fakes import NOON_MS, FakeClock
from tests.ports import free_ports
from tests.server.other_instance import (
    LONG_AGO_MS,
    NEVER_SILENT_US,
    RETURNING_MS,
    amount_of,
    copy_of,
    pass_time,
    sibling_of,
)
from tests.shm.segments import refuse, segment_path

SMALL = {"LANE_SLOTS": "8", "WAITING_SLOTS": "8", "JOURNAL_RECORDS": "16"}


@pytest.fixture
def instance(instance: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A name that nobody else uses, with small settings in the environment."""
    listen = f"tcp:127.0.0.1:{free_ports(1)[0]}"
    for variable, value in {"INSTANCE": instance, "LISTEN": listen, **SMALL}.items():
        monkeypatch.setenv(variable, value)
    return instance


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No arguments, and the log stays pytest's."""
    monkeypatch.setattr(sys, "argv", ["server"])
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)


def config_of(instance: str, **settings: str) -> Config:
    """Small settings."""
    return load({"INSTANCE": instance, **SMALL, **settings})


class TestMain:
    """Exit statuses."""

    def test_orderly(self, instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the supervisor ends with; while it runs the lock is held and the socket listens, afterwards not."""

        def run(supervisor: Supervisor) -> None:
            where = supervisor._config.listen  # noqa: SLF001  the real one would serve there
            assert isinstance(where, TcpListen)
            socket.create_connection(where).close()
            with pytest.raises(RoleTaken):
                take_role(instance, "supervisor", within_s=0)

        monkeypatch.setattr(Supervisor, "run", run)
        assert main() == 0
        take_role(instance, "supervisor", within_s=0).release()
        assert segment_path(instance).exists()

    def test_log(self, instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Lines name the instance, and their times are in UTC."""
        settings: list[dict[str, Any]] = []
        monkeypatch.setattr(logging, "basicConfig", lambda **named: settings.append(named))
        monkeypatch.setattr(Supervisor, "run", lambda _: None)
        assert main() == 0
        line = settings[0]["handlers"][0].format(logging.LogRecord("server", logging.INFO, "", 1, "text", None, None))
        assert re.fullmatch(rf"[0-9-]{{10}}T[0-9:]{{8}}\.[0-9]{{3}}Z {instance} INFO text", line)

    def test_wrong_setting(
        self, instance: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A sentence that names the setting, and nothing is made."""
        monkeypatch.setenv("WEB_WORKERS", "many")
        assert main() == EXIT_WRONG_SETTING
        assert capsys.readouterr().err == "WEB_WORKERS must be a whole number from 1 to 16; it is 'many'\n"
        assert not segment_path(instance).exists()

    def test_running_already(
        self, instance: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Two instances of one name don't run at the same time."""
        monkeypatch.setattr("server.__main__.take_role", partial(take_role, within_s=0))
        with take_role(instance, "supervisor"):
            assert main() == EXIT_CANNOT_START
        assert f"an instance named {instance} is running already" in caplog.text

    def test_running_already_without_its_lock_files(
        self, instance: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nor if somebody took the empty files for rubbish: the segment itself is locked."""
        monkeypatch.setattr("server.__main__.take_segment", partial(take_segment, within_s=0))
        open_segment(config_of(instance))
        with take_segment(instance):
            assert main() == EXIT_CANNOT_START
        assert f"another process uses segment /gateway-{instance}, though its lock files were removed" in caplog.text

    def test_what_runs_keeps_its_sockets(
        self, instance: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """An instance whose lock files were removed is not touched: its socket stays, and no lock file is made."""
        monkeypatch.setenv("LISTEN", f"unix:{tmp_path_factory.mktemp('s')}")
        monkeypatch.setattr("server.__main__.take_segment", partial(take_segment, within_s=0))
        config = config_of(instance, LISTEN=os.environ["LISTEN"])
        open_segment(config)
        sockets = listeners.listen(config.listen, instance, 1)
        try:
            with take_segment(instance):
                assert main() == EXIT_CANNOT_START
            assert Path(sockets[0].getsockname()).is_socket()
            assert not lock_path(instance, "worker-0").exists()
        finally:
            listeners.close(sockets)

    def test_a_life_that_was_killed(self, instance: str, monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
        """As soon as the lock is taken, siblings see that it is over, and all that it remembers counts there."""
        monkeypatch.setattr("server.siblings.IDS_FOLLOWED_MIN", 1)
        segment, before, during = open_segment(config_of(instance)), list[int | None](), list[int | None]()
        for number in range(1, 4):
            segment.table(0).insert(number, copy_of(number, accepted_ms=NOON_MS + number))
        segment.supervisor_counters().begin(1, LONG_AGO_MS)
        for row in (segment.supervisor_counters(), segment.worker_counters(0)):
            row.phase = Phase.READY
            row.beat(NEVER_SILENT_US)

        with take_role(instance, "supervisor"):
            siblings = Siblings([sibling_of(instance, clock)], clock, [], [])
            pass_time(siblings, clock, 2 * RETURNING_MS)
            before.append(siblings.amount_of(copy_of(1)))

        def listen(*_: object) -> list[socket.socket]:
            during.append(amount_of(siblings, copy_of(1)))
            return []

        monkeypatch.setattr(listeners, "listen", listen)
        monkeypatch.setattr(Supervisor, "run", lambda _: None)
        assert main() == 0
        assert (before, during) == ([None], [1990])

    def test_no_lock_to_be_had(
        self, instance: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A /dev/shm that may not be written is a sentence."""
        monkeypatch.setattr("server.__main__.take_role", refuse(PermissionError(13, "Permission denied", "/dev/shm/x")))
        assert main() == EXIT_CANNOT_START
        assert "cannot start: " in caplog.text
        assert "Permission denied" in caplog.text

    @pytest.mark.parametrize("role", ["worker-0", "dispatcher-0"])
    def test_no_lock_for_a_child(self, instance: str, caplog: pytest.LogCaptureFixture, role: str) -> None:
        """It would die again and again; so nothing is started."""
        path = lock_path(instance, role)
        path.mkdir()
        try:
            assert main() == EXIT_CANNOT_START
            assert not segment_path(instance).exists()
        finally:
            path.rmdir()
        assert f"cannot start: no lock: [Errno 21] Is a directory: '{path}'" in caplog.text

    def test_port_in_use(
        self, instance: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is named, no segment is left behind, and the lock is free again."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            monkeypatch.setenv("LISTEN", f"tcp:127.0.0.1:{taken.getsockname()[1]}")
            assert main() == EXIT_CANNOT_START
        assert "is in use; choose another with LISTEN" in caplog.text
        assert not segment_path(instance).exists()
        take_role(instance, "supervisor", within_s=0).release()

    def test_segment_of_another_kind(self, instance: str, caplog: pytest.LogCaptureFixture) -> None:
        """It stops the start and stays; the sockets are closed."""
        segment_path(instance).write_bytes(b"something else" * 1000)
        assert main() == EXIT_CANNOT_START
        assert "is not a gateway's" in caplog.text
        assert segment_path(instance).read_bytes().startswith(b"something else")

    def test_no_file(self, instance: str, caplog: pytest.LogCaptureFixture) -> None:
        """Something else of the segment's name is a sentence, and stays."""
        path = segment_path(instance)
        path.mkdir()
        try:
            assert main() == EXIT_CANNOT_START
        finally:
            path.rmdir()
        assert f"cannot start: {path} is no segment but a folder, link or pipe: remove it" in caplog.text

    def test_crash(self, instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A bug passes through with its traceback; the sockets are closed all the same."""
        closed: list[object] = []
        monkeypatch.setattr(listeners, "listen", lambda *_: [])
        monkeypatch.setattr(listeners, "close", closed.append)
        monkeypatch.setattr(Supervisor, "run", refuse(ZeroDivisionError()))
        with pytest.raises(ZeroDivisionError):
            main()
        assert closed == [[]]


class TestSegment:
    """What an earlier life left."""

    def test_new(self, instance: str) -> None:
        """Without one a new one is made."""
        config = config_of(instance)
        assert open_segment(config).geometry == config.geometry

    def test_taken_up(self, instance: str) -> None:
        """One that fits is taken up with all that is in it."""
        config = config_of(instance)
        first = open_segment(config)
        first.lane(0, 0).try_publish(Accepted(bytes(16), 1990, 1))
        second = open_segment(config)
        assert (second.segment_id, second.lane(0, 0).depth) == (first.segment_id, 1)

    def test_half_made(self, instance: str) -> None:
        """One whose maker died half-way holds nothing, and is made anew; locks that are held stay what they are."""
        with take_role(instance, "supervisor"):
            segment_path(instance).write_bytes(bytes(5000))
            config = config_of(instance)
            assert open_segment(config).geometry == config.geometry
            with pytest.raises(RoleTaken):
                take_role(instance, "supervisor", within_s=0)

    def test_other_geometry(self, instance: str) -> None:
        """One of another geometry with nothing unsettled is copied, if nobody uses it."""
        first = open_segment(config_of(instance))
        other = config_of(instance, WEB_WORKERS="2", JOURNAL_RECORDS="32")
        with take_segment(instance), pytest.raises(RoleTaken):
            open_segment(other)
        copied = open_segment(other)
        assert copied.segment_id == first.segment_id
        assert copied.geometry == Geometry(2, 1, 8, 8, 32)

    @pytest.mark.parametrize(("records", "forgotten"), [("16", 5), ("32", 0), ("64", 0)])
    def test_ids_that_are_forgotten(
        self, instance: str, caplog: pytest.LogCaptureFixture, records: str, forgotten: int
    ) -> None:
        """A smaller journal has no room for the oldest of both dispatchers: the log says how many those are."""
        config = config_of(instance, DISPATCHERS="2", JOURNAL_RECORDS="32")
        segment = open_segment(config)
        for dispatcher, ended in enumerate((18, 19)):
            for slot in range(ended):
                segment.table(dispatcher).insert(slot, Accepted(slot.to_bytes(16), 1990, 1))
                segment.table(dispatcher).begin(slot, 0, 1)
                segment.table(dispatcher).apply(slot, Event.PAID)
                segment.journal(dispatcher).append(Ended(State.SETTLED, 0, 1, 1990, slot))
        open_segment(dataclasses.replace(config, journal_records=int(records)))
        told = f"JOURNAL_RECORDS is smaller than before: the ids of the oldest {forgotten} ended payments are forgotten"
        assert caplog.messages == [told] * bool(forgotten)

    def test_an_unfinished_copy(self, instance: str) -> None:
        """What a copying that was killed has left is thrown away by any start."""
        unfinished = segment_path(f"{instance}.next")
        unfinished.write_bytes(b"half of it")
        open_segment(config_of(instance))
        assert not unfinished.exists()

    def test_other_geometry_with_payments(self, instance: str) -> None:
        """One with unsettled payments stops the start, and keeps them."""
        first = open_segment(config_of(instance))
        first.lane(0, 0).try_publish(Accepted(bytes(16), 1990, 1))
        with pytest.raises(SegmentError):
            open_segment(config_of(instance, WEB_WORKERS="2", JOURNAL_RECORDS="32"))
        assert Segment.attach(instance).lane(0, 0).depth == 1
