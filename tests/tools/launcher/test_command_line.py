"""Tests of tools/launcher/command_line.py; whole runs are in tests/tools/test_run.py."""

import signal
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.ports import free_ports
from tools.debian import SetupError
from tools.launcher import command_line
from tools.launcher.command_line import start, wait_for_answer
from tools.launcher.errors import LaunchError, Stop
from tools.launcher.options import Options, read_command_line
from tools.launcher.stopping import SIGNALS


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """The process's signal handlers come back."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def nobody_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs a gateway on this machine meanwhile is no concern of these tests."""
    monkeypatch.setattr(command_line, "require_nobody_runs", lambda _: None)


@pytest.fixture
def options(unused_port: int) -> Options:
    """A single instance's."""
    return read_command_line(["--single", "--port", str(unused_port), "--processor-ports", "1025", "1026"])


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens on."""
    return free_ports(1)[0]


class TestStart:
    """start."""

    def test_a_failure_is_a_sentence(self, options: Options, capsys: pytest.CaptureFixture[str]) -> None:
        """On standard error, with exit status 1."""
        with socket.create_server(("127.0.0.1", options.port)):
            assert start(options) == 1
        remedy = "stop what uses it, or choose another (see --help)"
        assert capsys.readouterr().err == f"tools/run: port {options.port} (for payments) is in use: {remedy}\n"

    def test_with_docker_no_other_port_can_be_chosen(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So it is not offered."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            monkeypatch.setattr(command_line, "ports_of", lambda _: {port: "payments"})
            assert start(read_command_line(["--docker"])) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"tools/run: port {port} (for payments) is in use: stop what uses it; if that is a ")
        assert "--help" not in said

    @pytest.mark.parametrize(
        ("ending", "status", "said"),
        [
            (Stop(), 0, "stopped\n"),
            (LaunchError("redis was not up"), 1, "tools/run: redis was not up\n"),
            (SetupError("`haproxy` is missing."), 1, "tools/run: `haproxy` is missing.\n"),
        ],
    )
    def test_exit_status(
        self,
        ending: Exception,
        status: int,
        said: str,
        options: Options,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A wish to stop is no failure."""

        def run(*_: object) -> None:
            raise ending

        monkeypatch.setattr(command_line, "_run_here", run)
        monkeypatch.setattr(command_line, "require_ports", lambda *_: None)
        assert start(options) == status
        shown = capsys.readouterr()
        assert shown.out + shown.err == said

    def test_before_anything_is_started_a_signal_is_an_interrupt(
        self, options: Options, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So that an installation under way is cut off in order."""

        def wait(*_: object) -> None:
            signal.raise_signal(signal.SIGTERM)

        monkeypatch.setattr(command_line, "require_ports", wait)
        with pytest.raises(KeyboardInterrupt):
            start(options)


class _Health(BaseHTTPRequestHandler):
    """Says 503 twice, then 204."""

    asked = 0

    def do_GET(self) -> None:
        """GET /health."""
        _Health.asked += 1
        self.send_response(204 if _Health.asked > 2 else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class TestWaitForAnswer:
    """wait_for_answer."""

    def test_waits_until_payments_are_taken(self) -> None:
        """A server that can't serve yet is asked again."""
        _Health.asked = 0
        waits: list[float] = []
        with HTTPServer(("127.0.0.1", 0), _Health) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            wait_for_answer(server.server_address[1], waits.append)
            server.shutdown()
            thread.join()
        assert len(waits) == 2

    def test_gives_up(self, unused_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the last answer, or what came instead of one."""
        monkeypatch.setattr(command_line, "ANSWERS_WITHIN_S", 0.05)
        with pytest.raises(LaunchError, match=rf"port {unused_port} did not answer within 0 s: .*refused"):
            wait_for_answer(unused_port, lambda _: None)

    def test_a_stop_ends_the_wait(self, unused_port: int) -> None:
        """As it ends every other."""

        def pause(_: float) -> None:
            raise Stop

        with pytest.raises(Stop):
            wait_for_answer(unused_port, pause)
