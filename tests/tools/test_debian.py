"""Debian packages: found, installed with their services kept quiet, or named in a sentence."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tools import debian
from tools.debian import (
    POLICY_DENIED,
    POLICY_TEXT,
    Machine,
    SetupError,
    find_program,
    require_programs,
    run_command,
    services_forbidden,
)

APT_FAILED = 100  # apt-get's exit status for any error


@dataclass
class FakeMachine:
    """A machine of strings: programs by folder, and commands that are noted and answered."""

    policy: Path
    programs: set[str] = field(default_factory=lambda: {"apt-get", "systemctl"})
    installable: set[str] = field(default_factory=set)  # apt finds these
    installable_after_update: set[str] = field(default_factory=set)
    policy_answers: int = 0
    commands: list[str] = field(default_factory=list)
    policy_seen: list[str] = field(default_factory=list)  # its text at each install

    def which(self, command: str, path: str | None = None) -> str | None:
        """Find a program; daemons are in the administrator's folders only."""
        if command not in self.programs:
            return None
        is_daemon = command in {"haproxy", "redis-server"}
        return None if is_daemon and path is None else f"/usr/sbin/{command}"

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Note the command and do what apt would."""
        words = [word for word in command if "=" not in word and word not in {"env", "-q", "-o"}]
        self.commands.append(" ".join(words))
        if words[0] == str(self.policy):
            return subprocess.CompletedProcess(command, self.policy_answers, "")
        if words[:2] == ["apt-get", "update"]:
            self.installable |= self.installable_after_update
        if words[:2] == ["apt-get", "install"]:
            self.policy_seen.append(self.policy.read_text(encoding="ascii"))
            if words[-1] not in self.installable:
                return subprocess.CompletedProcess(command, APT_FAILED, f"reading\nE: no package {words[-1]}\n")
            self.programs.add(words[-1])
        return subprocess.CompletedProcess(command, 0, "")

    def machine(self, *, is_root: bool = True) -> Machine:
        """Give it the form the functions take."""
        return Machine(is_root=is_root, policy=self.policy, which=self.which, run=self.run)


@pytest.fixture
def fake(tmp_path: Path) -> FakeMachine:
    """Make a machine without a policy and without the programs wanted."""
    return FakeMachine(tmp_path / "policy-rc.d")


class TestFindProgram:
    """Where a program is."""

    def test_looks_in_the_administrators_folders(self, fake: FakeMachine) -> None:
        """An ordinary user's PATH lacks /usr/sbin, where HAProxy is."""
        fake.programs.add("haproxy")
        assert find_program("haproxy", fake.machine()) == Path("/usr/sbin/haproxy")

    def test_nowhere_is_none(self, fake: FakeMachine) -> None:
        """A missing program is None, not an error."""
        assert find_program("haproxy", fake.machine()) is None

    def test_finds_on_this_machine(self) -> None:
        """Without a machine given it looks on this one."""
        assert find_program("sh") is not None


class TestRequirePrograms:
    """Programs that must be there."""

    def test_what_is_there_is_not_installed(self, fake: FakeMachine) -> None:
        """Nothing runs when the program is found."""
        fake.programs.add("haproxy")
        assert require_programs(["haproxy"], fake.machine()) == [Path("/usr/sbin/haproxy")]
        assert fake.commands == []

    def test_installs_with_services_forbidden_and_disables(self, fake: FakeMachine) -> None:
        """While apt runs the policy forbids starts; afterwards the service is disabled and the policy gone."""
        fake.installable.add("redis-server")
        assert require_programs(["redis-server"], fake.machine()) == [Path("/usr/sbin/redis-server")]
        assert fake.policy_seen == [POLICY_TEXT]
        assert not fake.policy.exists()
        assert fake.commands == [
            "apt-get install -y --no-install-recommends redis-server",
            "systemctl disable redis-server",
        ]

    def test_updates_the_lists_when_the_first_try_fails(self, fake: FakeMachine) -> None:
        """A fresh machine has no package lists: apt is updated once and tried again."""
        fake.installable_after_update.add("haproxy")
        require_programs(["haproxy"], fake.machine())
        assert [command.split()[1] for command in fake.commands] == ["install", "update", "install", "disable"]

    def test_disables_by_update_rc_d_without_systemd(self, fake: FakeMachine) -> None:
        """A machine without systemd has init scripts."""
        fake.programs = {"apt-get", "update-rc.d"}
        fake.installable.add("haproxy")
        require_programs(["haproxy"], fake.machine())
        assert fake.commands[-1] == "update-rc.d haproxy disable"

    def test_disables_nothing_without_either(self, fake: FakeMachine) -> None:
        """A container has neither, and no next boot."""
        fake.programs = {"apt-get"}
        fake.installable.add("haproxy")
        require_programs(["haproxy"], fake.machine())
        assert fake.commands[-1].startswith("apt-get install")

    def test_without_root_says_what_to_do(self, fake: FakeMachine) -> None:
        """Without root nothing runs, and the sentence has the command in it."""
        with pytest.raises(SetupError, match="`haproxy` is missing.*sudo apt-get install haproxy"):
            require_programs(["haproxy"], fake.machine(is_root=False))
        assert fake.commands == []

    def test_without_apt_says_so(self, fake: FakeMachine) -> None:
        """On another system the package's name is a hint."""
        fake.programs.clear()
        with pytest.raises(SetupError, match="no apt-get here"):
            require_programs(["haproxy"], fake.machine())

    def test_apts_failure_is_shown(self, fake: FakeMachine) -> None:
        """The end of apt's output is in the message, and the policy is gone."""
        with pytest.raises(SetupError, match="could not install haproxy:\n  reading\n  E: no package haproxy"):
            require_programs(["haproxy"], fake.machine())
        assert not fake.policy.exists()

    def test_a_package_without_the_program_is_an_error(
        self, fake: FakeMachine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is still missing afterwards is said, not returned."""
        monkeypatch.setattr(debian, "install_packages", lambda *_: None)
        with pytest.raises(SetupError, match="not found in the usual folders"):
            require_programs(["haproxy"], fake.machine())


class TestServicesForbidden:
    """The policy that stands in for the machine's own."""

    def test_the_machines_own_policy_comes_back(self, fake: FakeMachine) -> None:
        """A policy that allows starts is replaced for the time, then back with its content."""
        fake.policy.write_text("allow", encoding="ascii")
        with services_forbidden(fake.machine()):
            assert fake.policy.read_text(encoding="ascii") == POLICY_TEXT
        assert fake.policy.read_text(encoding="ascii") == "allow"
        assert list(fake.policy.parent.iterdir()) == [fake.policy]

    def test_a_policy_that_forbids_already_is_left_alone(self, fake: FakeMachine) -> None:
        """Container images forbid starts themselves."""
        fake.policy.write_text("forbid", encoding="ascii")
        fake.policy_answers = POLICY_DENIED
        with services_forbidden(fake.machine()):
            assert fake.policy.read_text(encoding="ascii") == "forbid"

    def test_comes_back_after_an_error(self, fake: FakeMachine) -> None:
        """A failure in between changes nothing about that."""
        fake.policy.write_text("allow", encoding="ascii")
        with pytest.raises(SetupError), services_forbidden(fake.machine()):
            raise SetupError
        assert fake.policy.read_text(encoding="ascii") == "allow"

    def test_an_interrupted_run_is_mended(self, fake: FakeMachine) -> None:
        """A run killed half-way leaves our policy and the kept one; the next run puts things right."""
        kept = fake.policy.with_name("policy-rc.d.kept-by-rinha-payment-gateway")
        kept.write_text("allow", encoding="ascii")
        fake.policy.write_text(POLICY_TEXT, encoding="ascii")
        with services_forbidden(fake.machine()):
            pass
        assert fake.policy.read_text(encoding="ascii") == "allow"
        assert not kept.exists()

    def test_ours_left_alone_is_removed(self, fake: FakeMachine) -> None:
        """A run killed half-way where there was none before leaves only ours."""
        fake.policy.write_text(POLICY_TEXT, encoding="ascii")
        with services_forbidden(fake.machine()):
            pass
        assert not fake.policy.exists()

    def test_our_policy_says_denied(self, tmp_path: Path) -> None:
        """The text is a program with the status that invoke-rc.d takes for a no."""
        policy = tmp_path / "policy-rc.d"
        policy.write_text(POLICY_TEXT, encoding="ascii")
        policy.chmod(0o755)
        assert run_command([str(policy), "redis-server", "start"]).returncode == POLICY_DENIED


class TestRunCommand:
    """One command, to its end."""

    def test_both_streams_are_kept(self) -> None:
        """What it says on stderr stands where it was said."""
        result = run_command(["sh", "-c", "echo out; echo err >&2; exit 3"])
        assert (result.returncode, result.stdout) == (3, "out\nerr\n")

    def test_a_hung_command_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A command beyond its time is an error naming it."""
        monkeypatch.setattr(debian, "APT_TIMEOUT_S", 0.02)
        with pytest.raises(SetupError, match="`sleep 5` did not end"):
            run_command(["sleep", "5"])
