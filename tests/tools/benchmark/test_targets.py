"""Tests of tools/benchmark/targets.py."""

import signal
import subprocess
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.tools.benchmark.samples import RULES, Bank
from tools.benchmark import containers, targets
from tools.benchmark.containers import ComposeProject
from tools.benchmark.endpoints import Endpoint, free_port
from tools.benchmark.errors import DockerError, EndpointError, OptionError, UnreadError
from tools.benchmark.targets import Target, answers, floor, gateway, hop, local_port, other


class FakeProject(ComposeProject):
    """Remembers what was asked of it."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__(Path("compose.yml"))
        self.said: list[str] = []
        self.fails = fails

    def start(self) -> None:
        """Note it, and fail if told to."""
        self.said.append("start")
        if self.fails:
            raise DockerError("no.")

    def stop(self) -> None:
        """Note it."""
        self.said.append("stop")


class TestLocalPort:
    """Where a target is."""

    @pytest.mark.parametrize(
        ("url", "port"),
        [("http://localhost:9999", 9999), ("http://127.0.0.1", 80), ("http://[::1]:1", 1), ("http://far:9999", None)],
    )
    def test_is_the_port_on_this_machine(self, url: str, port: int | None) -> None:
        """Only there can containers be metered."""
        assert local_port(url) == port

    @pytest.mark.parametrize(
        "url",
        [
            "localhost:9999",
            "https://localhost",
            "http://",
            "http://localhost:99999",
            "http://far.example:x",
            "http://[a",
        ],
    )
    def test_anything_but_http_is_a_sentence(self, url: str) -> None:
        """A scheme is needed, and only http is spoken."""
        with pytest.raises(OptionError, match="is not an http:// address"):
            local_port(url)


class TestUp:
    """Starting and stopping."""

    def test_what_runs_is_left_running(self, bank: Bank) -> None:
        """A target that was there before is only looked at."""
        with Target("gateway", bank.gateway.url).up():
            assert answers(bank.gateway.url)

    def test_what_does_not_run_is_a_sentence(self) -> None:
        """It says how to start it."""
        target = Target("gateway", f"http://127.0.0.1:{free_port()}")
        with pytest.raises(EndpointError, match=r"Nothing answers at .*\./tools/run"), target.up():
            pass

    def test_a_taken_port_is_a_sentence(self, bank: Bank) -> None:
        """Something of somebody else's is never stopped, nor taken for ours."""
        project = FakeProject()
        with pytest.raises(EndpointError, match="is taken"), Target("floor", bank.gateway.url, project=project).up():
            pass
        assert project.said == []

    def test_what_was_started_is_stopped(self, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever happens while it is up."""
        monkeypatch.setattr(targets, "answers", lambda _: False)
        project = FakeProject()
        with pytest.raises(KeyboardInterrupt), Target("floor", bank.gateway.url, project=project).up():
            raise KeyboardInterrupt
        assert project.said == ["start", "stop"]

    def test_no_signal_cuts_the_stop_off(self, listening: None, monkeypatch: pytest.MonkeyPatch) -> None:
        """A Ctrl-C while a target is stopped, after a good run or for another Ctrl-C; it is said that this goes on."""
        del listening
        monkeypatch.setattr(targets, "answers", lambda _: False)
        monkeypatch.setattr(Target, "_wait", lambda _: None)
        told: list[str] = []

        class Interrupted(FakeProject):
            """Somebody is in a hurry while it stops."""

            def stop(self) -> None:
                """Note it after the signal."""
                signal.raise_signal(signal.SIGINT)
                super().stop()

        project = Interrupted()
        with pytest.raises(KeyboardInterrupt), Target("floor", "http://x", project=project).up(told.append):
            project.said.append("measured")
        assert (project.said, told) == (["start", "measured", "stop"], ["stopping floor …"])

    def test_is_stopped_though_nobody_reads_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`| head` that has gone."""
        monkeypatch.setattr(targets, "answers", lambda _: False)
        monkeypatch.setattr(Target, "_wait", lambda _: None)
        project = FakeProject()

        def say(_: str) -> None:
            raise UnreadError

        with pytest.raises(UnreadError), Target("floor", "http://x", project=project).up(say):
            pass
        assert project.said == ["start", "stop"]

    def test_half_a_start_is_stopped_too(self) -> None:
        """Compose may have started some services before it failed."""
        project = FakeProject(fails=True)
        target = Target("floor", f"http://127.0.0.1:{free_port()}", project=project)
        with pytest.raises(DockerError), target.up():
            pass
        assert project.said == ["start", "stop"]

    def test_what_never_answers_is_a_sentence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The wait has an end."""
        monkeypatch.setattr(targets, "READY_S", 0.0)
        target = Target("floor", f"http://127.0.0.1:{free_port()}", project=FakeProject())
        with pytest.raises(EndpointError, match="was not ready within 0 s"), target.up():
            pass


class TestKinds:
    """What can be measured."""

    def test_another_gateway_is_named_by_its_folder(self, tmp_path: Path) -> None:
        """Two folders tell entries of one name apart."""
        file = tmp_path / "entry" / "docker-compose.yml"
        file.parent.mkdir()
        file.touch()
        assert other(file, "http://localhost:9999", RULES).name == f"{tmp_path.name}/entry"

    def test_another_gateway_must_exist(self, tmp_path: Path) -> None:
        """A path without a file is a sentence."""
        with pytest.raises(DockerError, match="is not there"):
            other(tmp_path / "none.yml", "http://localhost:9999", RULES)

    def test_another_gateway_is_told_the_fees(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As ours is: else two versions of it would pay by different fees."""
        file = tmp_path / "docker-compose.yml"
        file.touch()
        commands: list[list[str]] = []
        monkeypatch.setattr(containers, "_run", lambda command, _: commands.append(command))
        for target in (
            other(file, "http://localhost:9999", RULES),
            gateway("http://localhost:9999", RULES, managed=True),
        ):
            assert target.project is not None
            target.project.start()
        theirs, ours = (command[: command.index("docker")] for command in commands)
        assert theirs == ours == ["env", *(f"{name}={percent}" for name, percent in targets.fees_of(RULES).items())]

    def test_our_gateway_is_started_only_if_asked(self) -> None:
        """Otherwise it is what runs at the address."""
        assert gateway("http://localhost:9999", RULES, managed=False).project is None
        assert gateway("http://localhost:9999", RULES, managed=True).project is not None

    def test_our_compose_file_hands_the_fees_on(self) -> None:
        """What the bench sets in compose's environment reaches the instances, and what the processors' file takes."""
        for file in (targets.OWN_COMPOSE, targets.ROOT / "tools" / "processor" / "docker-compose.yml"):
            text = file.read_text(encoding="utf-8")
            for name in targets.fees_of(RULES):
                assert f"${{{name}:-" in text

    def test_the_floor_needs_our_limits(self, tmp_path: Path) -> None:
        """Without the gateway's compose file there is nothing to compare under."""
        with pytest.raises(DockerError, match="takes its limits from it"):
            floor(9999, tmp_path / "docker-compose.yml")

    @pytest.mark.slow
    @pytest.mark.containers
    @pytest.mark.parametrize("make", [floor, hop])
    def test_floor_and_hop_answer_under_our_limits(self, make: Callable[[int], Target]) -> None:
        """They take payments on the port asked for, and are gone afterwards, volumes and all."""
        target = make(free_port())
        with target.up():
            payment = {"correlationId": "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3", "amount": 19.9}
            status, _ = Endpoint(target.name, target.url).try_ask("POST", "/payments", payment)
            assert status == HTTPStatus.ACCEPTED
        assert not target.answers()
        volumes = subprocess.run(["docker", "volume", "ls"], capture_output=True, text=True, check=True).stdout
        assert f"bench-{target.name}" not in volumes
