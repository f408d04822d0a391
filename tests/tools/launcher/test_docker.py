"""Tests of tools/launcher/docker.py with a `docker` that is a script; the real one is in tests/tools/test_run.py."""

import json
import time
from pathlib import Path

import pytest

from tools.launcher import docker
from tools.launcher.docker import NO_STATUS, PROJECT, Composed, require_docker
from tools.launcher.errors import LaunchError, Stop

FAKE = """#!/bin/sh
echo "$*" >>"{folder}/calls"
case "$*" in
  {cases}
esac
"""
VOLUME = f"*'volume ls'*) echo {PROJECT}_shm ;;"
LIST = """*--json) echo '[{"instance": "app1"}, {"instance": "app2"}]' ;;"""


class FakeDocker:
    """A `docker` in a folder of its own: notes each call, and answers as told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answer()

    def answer(self, *cases: str) -> None:
        """How to answer: branches of a shell's case; what none of them is for succeeds without a word."""
        program = self.folder / "docker"
        program.write_text(FAKE.format(folder=self.folder, cases="\n  ".join(cases)), encoding="utf-8")
        program.chmod(0o755)

    def calls(self) -> list[str]:
        """What was asked of it, without where the compose files are."""
        try:
            lines = (self.folder / "calls").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        gateway, processors = (" ".join(base[1:]) for base in (docker.GATEWAY, docker.PROCESSORS))
        return [line.replace(gateway, "gateway").replace(processors, "processors") for line in lines]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    """A `docker` that always succeeds."""
    fake = FakeDocker(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return fake


@pytest.fixture
def said() -> list[str]:
    """What the person was told."""
    return []


@pytest.fixture
def composed(tmp_path: Path, said: list[str]) -> Composed:
    """A run with that `docker`."""
    folder = tmp_path / "run"
    folder.mkdir()
    return Composed(folder, lambda _: time.sleep(0.002), said.append)


class TestRequireDocker:
    """require_docker."""

    def test_all_is_there(self, fake: FakeDocker) -> None:
        """The plugin and the engine are asked."""
        require_docker()
        assert fake.calls() == ["compose version", "info"]

    def test_no_docker(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Says what to install, and what works without."""
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(LaunchError, match="install Docker with Compose v2, or run without --docker"):
            require_docker()

    @pytest.mark.parametrize(
        ("case", "sentence"),
        [
            ("'compose version') echo unknown >&2; exit 1 ;;", r"Docker's Compose plugin \(v2\) is missing: unknown"),
            ("info) echo permission denied >&2; exit 1 ;;", "the Docker engine does not answer: permission denied"),
        ],
    )
    def test_something_is_missing(self, fake: FakeDocker, case: str, sentence: str) -> None:
        """With Docker's own reason."""
        fake.answer(case)
        with pytest.raises(LaunchError, match=sentence):
            require_docker()


class TestComposed:
    """Composed."""

    @pytest.mark.slow
    def test_start(self, fake: FakeDocker, composed: Composed, said: list[str]) -> None:
        """Processors first: the gateway's file needs their network."""
        composed.start()
        composed.stop()
        assert fake.calls()[:2] == ["processors up --build --detach --wait", "gateway up --build --detach --wait"]
        assert f"docker compose -p {PROJECT} ps" in said[-2]

    def test_a_failure_is_told_with_its_reason(self, fake: FakeDocker, composed: Composed) -> None:
        """As Docker says it."""
        fake.answer("*up*) echo 'port is already allocated' >&2; exit 1 ;;")
        with pytest.raises(LaunchError, match="up --build --detach --wait failed:\nport is already allocated"):
            composed.start()

    def test_a_stop_interrupts_a_command(self, fake: FakeDocker, tmp_path: Path) -> None:
        """A build may take minutes."""

        def pause(_: float) -> None:
            raise Stop

        fake.answer("*up*) exec sleep 60 ;;")
        begun_s = time.monotonic()
        with pytest.raises(Stop):
            Composed(tmp_path, pause, lambda _: None).start()
        assert time.monotonic() - begun_s < 30

    def test_a_command_that_hangs(self, fake: FakeDocker, composed: Composed, monkeypatch: pytest.MonkeyPatch) -> None:
        """Is given up."""
        monkeypatch.setattr(docker, "START_WITHIN_S", 0.05)
        fake.answer("*up*) exec sleep 60 ;;")
        with pytest.raises(LaunchError, match="up --build --detach --wait took over 0 s"):
            composed.start()

    def test_status(self, fake: FakeDocker, composed: Composed, tmp_path: Path) -> None:
        """The last whole line of the container that looks; anything else it may print is passed over."""
        assert composed.status() == NO_STATUS
        log = tmp_path / "run" / "status.log"
        log.write_text("1 0 0 1 0\nTraceback\n5 3 1 1 0\n9 9", encoding="utf-8")
        assert composed.status() == "accepted 5  settled: default 3, fallback 1  waiting 1"
        composed.look_after()
        assert composed.status() == "accepted 5  settled: default 3, fallback 1  waiting 1"

    @pytest.mark.slow
    def test_stop_without_volumes(self, fake: FakeDocker, composed: Composed) -> None:
        """When the start failed before there were any."""
        composed.stop()
        assert fake.calls() == [
            f"rm --force {PROJECT}-status",
            "gateway stop app1 app2",
            f"volume ls --quiet --filter name=^{PROJECT}_shm$",
            "gateway down --volumes",
            "processors down",
        ]

    @pytest.mark.slow
    @pytest.mark.parametrize(("unsettled", "down"), [(0, "gateway down --volumes"), (3, "gateway down")])
    def test_stop(self, fake: FakeDocker, composed: Composed, said: list[str], unsettled: int, down: str) -> None:
        """Instances first; volumes with unsettled payments stay, and their segments are named."""
        views = (
            f"*'--json app{number}') echo '{json.dumps({'unsettled': unsettled * number})}' ;;" for number in (1, 2)
        )
        fake.answer(VOLUME, LIST, *views)
        composed.stop()
        assert fake.calls()[1] == "gateway stop app1 app2"
        assert fake.calls()[-2:] == [down, "processors down"]
        assert [line for line in said if "stays" in line] == [
            f"segment /gateway-app{number} stays in the volume {PROJECT}_shm: it holds {unsettled * number} accepted "
            "payments that are not settled; the next run takes them up"
            for number in ((1, 2) if unsettled else ())
        ]

    @pytest.mark.slow
    @pytest.mark.parametrize("case", ["*--json) echo not json ;;", "*--json) echo no way >&2; exit 3 ;;"])
    def test_in_doubt_volumes_stay(self, fake: FakeDocker, composed: Composed, said: list[str], case: str) -> None:
        """What can't be read may hold payments."""
        fake.answer(VOLUME, case)
        composed.stop()
        assert fake.calls()[-2] == "gateway down"
        assert "stays, its segments could not be read" in said[-1]

    @pytest.mark.slow
    @pytest.mark.parametrize("fails", ["stop app1 app2", "volume ls --quiet"])
    def test_what_can_not_be_stopped_in_order_is_taken_down(
        self, fake: FakeDocker, composed: Composed, fails: str
    ) -> None:
        """With its volumes kept: nobody knows what is in them."""
        fake.answer(f"*'{fails}'*) echo no >&2; exit 1 ;;")
        with pytest.raises(LaunchError, match=f"{fails}.* failed:\nno"):
            composed.stop()
        assert fake.calls()[-2:] == ["gateway down", "processors down"]

    @pytest.mark.slow
    def test_processors_are_stopped_whatever_happens(self, fake: FakeDocker, composed: Composed) -> None:
        """Their containers have names that others may need."""
        fake.answer(f"*{PROJECT}*down*) echo no >&2; exit 1 ;;")
        with pytest.raises(LaunchError, match="down --volumes failed"):
            composed.stop()
        assert fake.calls()[-1] == "processors down"
