"""Tests of tools/processor/__main__.py."""

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from urllib.request import urlopen

import pytest

from server import log
from tools.processor.__main__ import EXIT_CANNOT_LISTEN, UtcFormatter, main, options_parser

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_S = 20


class TestOptions:
    """options_parser."""

    def test_defaults_are_the_contests_default_processor(self) -> None:
        """Port 8001, 7 %, token 123, quick and healthy, for this machine only."""
        options = options_parser().parse_args([])
        assert (options.host, options.port, options.fee_percent) == ("127.0.0.1", 8001, Decimal(7))
        assert (options.token, options.delay_ms, options.failing) == ("123", 0, False)

    def test_each_setting_can_be_given(self) -> None:
        """A slow and failing processor from the start, on any free port."""
        options = options_parser().parse_args(["--port", "0", "--delay-ms", "5000", "--failing"])
        assert (options.port, options.delay_ms, options.failing) == (0, 5_000, True)

    def test_a_fee_is_exact(self) -> None:
        """Never through a float."""
        assert options_parser().parse_args(["--fee-percent", "7.1"]).fee_percent == Decimal("7.1")

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--fee-percent", "x"],
            ["--fee-percent", "101"],
            ["--fee-percent", "-1"],
            ["--fee-percent", "NaN"],
            ["--fee-percent", "1.00001"],
            ["--port", "x"],
            ["--port", "65536"],
            ["--delay-ms", "-1"],
            ["--delay-ms", "1.5"],
        ],
    )
    def test_a_wrong_value_is_a_sentence(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        """Exit status 2, the value named."""
        with pytest.raises(SystemExit) as ended:
            options_parser().parse_args(arguments)
        assert ended.value.code == 2
        assert arguments[1] in capsys.readouterr().err


class TestTimes:
    """When something was logged."""

    def test_as_in_the_gateways_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """UTC, wherever the machine is."""
        logged = logging.LogRecord("tools.processor", logging.INFO, __file__, 1, "one", None, None)
        logged.created, logged.msecs = 1_796_090_503.0, 7.0
        with monkeypatch.context() as patch:
            patch.setenv("TZ", "WEST+3")
            time.tzset()
            texts = [
                formatter("%(asctime)s %(message)s").format(logged) for formatter in (UtcFormatter, log.UtcFormatter)
            ]
        time.tzset()
        assert texts == ["2026-12-01T02:01:43.007Z one"] * 2


class TestMain:
    """main."""

    def test_a_port_in_use_is_a_sentence(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Exit status 3, the address named, no traceback."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            assert main(["--port", str(port)]) == EXIT_CANNOT_LISTEN
        assert capsys.readouterr().err.startswith(f"cannot listen on 127.0.0.1:{port}: ")

    def test_ctrl_c_while_it_starts_is_no_traceback(self, tmp_path: Path) -> None:
        """Among its imports, say."""
        interrupting = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
        (tmp_path / "uvloop.py").write_text(interrupting, encoding="ascii")
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-m", "tools.processor", "--port", "0"]
        result = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, check=False, timeout=DEADLINE_S
        )
        assert (result.returncode, result.stderr) == (-signal.SIGINT, b"")

    @pytest.mark.slow
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    @pytest.mark.parametrize("python", [sys.executable, os.path.realpath(sys.executable)], ids=["own", "machine's"])
    def test_it_runs_until_it_is_told_to_stop(self, number: signal.Signals, python: str) -> None:
        """Started as a program it says where it listens, answers, and ends with status 0.

        The machine's Python lacks its packages: it goes on in the environment then.
        """
        command = [python, "-m", "tools.processor", "--port", "0", "--name", "trial"]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                told = process.stderr.readline()
                assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z processor trial at ", told)
                url = told.split(" at ")[1].partition(",")[0]
                with urlopen(url, timeout=DEADLINE_S) as answer:
                    assert answer.read() == b"Simulated payment processor trial\n"
                process.send_signal(number)
                assert process.wait(DEADLINE_S) == 0
                assert "ends with 0 payments stored" in process.stderr.read()
            finally:
                process.kill()
