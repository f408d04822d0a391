"""Tests of tools/launcher/options.py."""

import pytest

from tools.launcher.options import Options, read_command_line


class TestReadCommandLine:
    """read_command_line."""

    def test_defaults(self) -> None:
        """Everything on the contest's ports, until Ctrl-C."""
        assert read_command_line([]) == Options(
            docker=False, single=False, port=9999, stats_port=9990, processor_ports=(8001, 8002), seconds=None
        )

    def test_all_ports_can_be_chosen(self) -> None:
        """So that a run disturbs nothing else on the machine."""
        words = ["--port", "1", "--stats-port", "2", "--processor-ports", "3", "65535", "--seconds", "0.5"]
        assert read_command_line(words) == Options(
            docker=False, single=False, port=1, stats_port=2, processor_ports=(3, 65535), seconds=0.5
        )

    def test_a_single_instance_has_no_statistics(self) -> None:
        """Their port may be what it likes."""
        assert read_command_line(["--single", "--port", "9990"]).port == 9990

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            ("--port 0", "'0' is not a port from 1 to 65535"),
            ("--port x", "'x' is not a port"),
            ("--stats-port 65536", "'65536' is not a port"),
            ("--processor-ports 8001", "expected 2 arguments"),
            ("--port 9990", "the ports must all be different"),
            ("--processor-ports 8001 8001", "the ports must all be different"),
            ("--seconds 0", "'0' is not a number of seconds up to 86400"),
            ("--docker --single", "not allowed with argument"),
            ("--docker --port 9998", "with --docker the ports are those of the compose files"),
            ("--docker --port 9990 --stats-port 9999", "with --docker the ports are those of the compose files"),
            ("now", "unrecognized arguments: now"),
        ],
    )
    def test_mistakes_are_sentences(self, words: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
        """Exit status 2, with what is wrong."""
        with pytest.raises(SystemExit) as ended:
            read_command_line(words.split())
        assert ended.value.code == 2
        assert sentence in capsys.readouterr().err
