"""The project's `.venv`: made once, kept in step with the lock files, made anew after an interruption."""

import ast
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tools import environment as module
from tools.debian import Machine, SetupError
from tools.environment import EXIT_INTERRUPTED, ROOT, Environment, reexec, this_environment

# Stands for `python -m venv --clear FOLDER`: makes a `.venv` whose Python answers as much as is asked of it here,
# and notes each call. `$0.fails` makes pip fail.
FAKE_BASE = """#!/bin/sh
folder=$4
echo "made" >> "$(dirname "$0")/log"
sleep "$(cat "$(dirname "$0")/delay" 2>/dev/null || echo 0)"
rm -rf "$folder" && mkdir -p "$folder/bin"
cat > "$folder/bin/python" <<END
#!/bin/sh
case "\\$*" in
*sys.prefix*) echo "$folder" ;;
*--requirement*) test -e "$0.fails" && { echo collecting; echo "no matching distribution"; exit 1; }
    for last; do :; done; echo "installed \\$(basename "\\$last")" >> "$(dirname "$0")/log" ;;
esac
END
chmod +x "$folder/bin/python"
"""


class Project:
    """A project folder with two lock files, and a base Python that only pretends."""

    def __init__(self, folder: Path) -> None:
        """Make it in an empty folder."""
        self.root = folder / "project"
        self.root.mkdir()
        self.base = folder / "python3"
        self.base.write_text(FAKE_BASE, encoding="ascii")
        self.base.chmod(0o755)
        self.delay = folder / "delay"
        self.fails = folder / "python3.fails"
        self.log = folder / "log"
        (self.root / "requirements.lock").write_text("a", encoding="ascii")
        (self.root / "requirements-dev.lock").write_text("a b", encoding="ascii")
        self.environment = Environment(self.root, self.base, Machine(is_root=False, which=lambda *_, **__: "found"))

    def done(self) -> list[str]:
        """Say what has been made and installed since this was asked last."""
        lines = self.log.read_text(encoding="ascii").splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Make a project without an environment."""
    return Project(tmp_path)


class TestEnsure:
    """What is made or updated, and when."""

    def test_makes_the_environment_once(self, project: Project) -> None:
        """The first call makes it and installs; the second finds it as wanted."""
        assert project.environment.ensure(dev=False) == project.root / ".venv" / "bin" / "python"
        assert project.done() == ["made", "installed requirements.lock"]
        project.environment.ensure(dev=False)
        assert project.done() == []

    def test_leaves_only_the_environment(self, project: Project) -> None:
        """Nothing but `.venv` is added to the project's folder."""
        project.environment.ensure(dev=True)
        assert {path.name for path in project.root.iterdir()} == {".venv", "requirements.lock", "requirements-dev.lock"}

    def test_one_for_development_serves_both(self, project: Project) -> None:
        """The development lock holds the runtime packages too."""
        project.environment.ensure(dev=True)
        assert project.done() == ["made", "installed requirements-dev.lock"]
        project.environment.ensure(dev=False)
        assert project.done() == []

    def test_development_tools_are_added(self, project: Project) -> None:
        """An environment without them gets them, without being made anew."""
        project.environment.ensure(dev=False)
        project.done()
        project.environment.ensure(dev=True)
        assert project.done() == ["installed requirements-dev.lock"]

    def test_a_changed_lock_is_installed(self, project: Project) -> None:
        """A pull that changes the lock file is followed."""
        project.environment.ensure(dev=False)
        project.done()
        (project.root / "requirements.lock").write_text("a c", encoding="ascii")
        project.environment.ensure(dev=False)
        assert project.done() == ["installed requirements.lock"]

    def test_an_interrupted_set_up_is_made_anew(self, project: Project) -> None:
        """The marker of an unfinished set-up makes it start from nothing."""
        project.environment.ensure(dev=False)
        project.done()
        project.environment.unfinished.touch()
        project.environment.ensure(dev=False)
        assert project.done() == ["made", "installed requirements.lock"]
        assert not project.environment.unfinished.exists()

    def test_a_failed_install_says_why_and_is_made_anew(self, project: Project) -> None:
        """The end of pip's output is in the message, and the half-made environment isn't trusted."""
        project.fails.touch()
        with pytest.raises(SetupError, match=r"could not install requirements\.lock(.|\n)*no matching distribution"):
            project.environment.ensure(dev=False)
        project.done()
        project.fails.unlink()
        project.environment.ensure(dev=False)
        assert project.done() == ["made", "installed requirements.lock"]

    def test_one_made_by_hand_is_kept(self, project: Project) -> None:
        """An environment without our stamp that works gets the packages and stays."""
        project.environment.ensure(dev=False)
        project.environment.stamp.unlink()
        project.done()
        project.environment.ensure(dev=False)
        assert project.done() == ["installed requirements.lock"]

    def test_one_whose_python_left_is_made_anew(self, project: Project) -> None:
        """After the machine's Python was replaced, `.venv/bin/python` points nowhere."""
        project.environment.ensure(dev=False)
        project.done()
        project.environment.python.unlink()
        project.environment.python.symlink_to(project.root / "gone")
        project.environment.ensure(dev=False)
        assert project.done() == ["made", "installed requirements.lock"]

    def test_one_of_another_folder_is_made_anew(self, project: Project) -> None:
        """A copied project folder brings an environment that speaks of the old place."""
        project.environment.ensure(dev=False)
        moved = project.root.with_name("moved")
        shutil.move(project.root, moved)
        other = Environment(moved, project.base, project.environment.machine)
        other.stamp.unlink()
        project.done()
        other.ensure(dev=False)
        assert project.done() == ["made", "installed requirements.lock"]

    def test_two_at_once_make_it_once(self, project: Project, capfd: pytest.CaptureFixture[str]) -> None:
        """The second waits for the first, says so, and finds the work done."""
        project.delay.write_text("0.1", encoding="ascii")
        threads = [threading.Thread(target=project.environment.ensure, kwargs={"dev": False}) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert project.done() == ["made", "installed requirements.lock"]
        assert "waiting for it" in capfd.readouterr().err

    def test_a_hung_step_ends(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        """A step beyond its time is an error naming it."""
        project.delay.write_text("5", encoding="ascii")
        monkeypatch.setattr(module, "INSTALL_TIMEOUT_S", 0.05)
        with pytest.raises(SetupError, match=r"could not make \.venv: it did not end"):
            project.environment.ensure(dev=False)

    def test_a_folder_without_write_permission_is_said(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        """The sentence names the folder."""

        def refuse(path: Path) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "touch", refuse)
        with pytest.raises(SetupError, match=f"{project.root} can't be written to"):
            project.environment.ensure(dev=False)

    def test_one_that_may_not_be_looked_at_is_said(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another user has made it, with a Python in a folder of that user's own."""

        def refuse(path: Path) -> bool:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "exists", refuse)
        with pytest.raises(SetupError, match=r"can't be read \(Permission denied\): another user has made \.venv"):
            project.environment.ensure(dev=False)

    def test_a_missing_part_of_python_is_said(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        """Debian's python3 without python3-venv has no ensurepip; without root the package is named."""
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else "there")
        package = f"python3.{sys.version_info[1]}-venv"
        with pytest.raises(SetupError, match=f"can't make environments.*sudo apt-get install {package}"):
            project.environment.ensure(dev=False)

    @pytest.mark.slow
    def test_an_orphaned_installer_keeps_others_out(self, project: Project) -> None:
        """Its parent killed, the installer still holds the lock: nobody works beside it."""
        project.delay.write_text("1", encoding="ascii")
        code = (
            "import sys; from pathlib import Path; from tools.debian import Machine; "
            "from tools.environment import Environment; "
            "Environment(Path(sys.argv[1]), Path(sys.argv[2]), Machine(is_root=False)).ensure(dev=False)"
        )
        with subprocess.Popen([sys.executable, "-c", code, project.root, project.base], cwd=ROOT) as parent:
            while not project.log.exists():
                assert parent.poll() is None
            parent.send_signal(signal.SIGKILL)
        project.environment.ensure(dev=False)
        assert project.done() == ["made", "made", "installed requirements.lock"]
        assert project.environment.python.exists()


class TestReexec:
    """Going on in the environment."""

    @pytest.fixture
    def gone_on_in(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        """Note where the process would go on, instead of going."""
        gone: list[Path] = []
        monkeypatch.setattr(module, "this_environment", lambda: project.environment)
        monkeypatch.setattr(module, "_go_on_in", gone.append)
        return gone

    def test_outside_it_starts_there(self, project: Project, gone_on_in: list[Path]) -> None:
        """A process of another Python goes on in `.venv`."""
        reexec(dev=False)
        assert gone_on_in == [project.environment.python]

    def test_inside_it_returns(self, project: Project, gone_on_in: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
        """A process in `.venv` stays."""
        monkeypatch.setattr(sys, "prefix", str(project.root / ".venv"))
        reexec(dev=False)
        assert gone_on_in == []

    @pytest.mark.usefixtures("gone_on_in")
    def test_a_closed_output_is_written_to_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As `>&-` closes it: a program that prints is no traceback then, and what it says of errors stays apart."""
        monkeypatch.setattr(sys, "stdout", None)
        monkeypatch.setattr(sys, "stderr", None)
        reexec(dev=False)
        for stream in (sys.stdout, sys.stderr):
            assert stream is not None
            with stream:
                assert stream.write("so and so") == len("so and so")
                assert stream.name == os.devnull

    @pytest.mark.usefixtures("gone_on_in")
    def test_does_not_go_round_in_circles(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        """The environment's Python that doesn't find itself (PYTHONHOME) is a sentence, not a loop."""
        monkeypatch.setattr(sys, "executable", str(project.environment.python))
        with pytest.raises(SystemExit, match="PYTHONHOME"):
            reexec(dev=False)

    def test_trouble_ends_with_a_sentence(self, project: Project, gone_on_in: list[Path]) -> None:
        """An error is the exit's message: one sentence, status 1."""
        project.fails.touch()
        with pytest.raises(SystemExit, match="could not install"):
            reexec(dev=False)
        assert gone_on_in == []

    def test_ctrl_c_ends_cleanly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An interruption by the person is no traceback."""

        def interrupt() -> Environment:
            raise KeyboardInterrupt

        monkeypatch.setattr(module, "this_environment", interrupt)
        with pytest.raises(SystemExit) as ending:
            reexec(dev=False)
        assert ending.value.code == EXIT_INTERRUPTED

    @pytest.mark.slow
    def test_a_real_program_goes_on_with_its_arguments(self, tmp_path: Path) -> None:
        """A program started by the machine's Python ends up in a real `.venv`, with its own command line."""
        program = self._program(tmp_path, "print(sys.prefix, sys.argv[1:], sys.flags.isolated)\n")
        base = os.path.realpath(sys.executable)
        result = subprocess.run([base, program, "a b", "--c"], check=True, capture_output=True, text=True)
        assert result.stdout == f"{tmp_path / '.venv'} ['a b', '--c'] 0\n"
        assert "making .venv with Python" in result.stderr

    @pytest.mark.slow
    def test_ctrl_c_while_the_other_python_starts(self, tmp_path: Path) -> None:
        """Not even a package's `.pth` file that swallows every exception makes it lost."""
        program = self._program(tmp_path, "print('went on')\n")
        base = os.path.realpath(sys.executable)
        subprocess.run([base, program], check=True, capture_output=True)
        packages = next((tmp_path / ".venv" / "lib").glob("python3*")) / "site-packages"
        swallow = r"print('loading', flush=True)\ntry: time.sleep(1)\nexcept BaseException: pass"
        (packages / "swallow.pth").write_text(f'import time; exec("{swallow}")\n', encoding="ascii")
        with subprocess.Popen([base, program], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "loading\n"
            process.send_signal(signal.SIGINT)
            assert "went on" not in process.stdout.read()
        assert process.returncode == EXIT_INTERRUPTED

    @staticmethod
    def _program(folder: Path, then: str) -> Path:
        """Make a program in a project of its own; what it does once it is in `.venv`."""
        shutil.copytree(ROOT / "tools", folder / "tools")
        (folder / "requirements.lock").touch()
        program = folder / "tools" / "shout"
        program.write_text(
            "import sys; from pathlib import Path; sys.path.insert(0, str(Path(__file__).resolve().parent.parent))\n"
            "from tools.environment import reexec\n"
            f"reexec(dev=False)\n{then}",
            encoding="ascii",
        )
        return program


class TestThisEnvironment:
    """The environment of this project, made by this Python."""

    def test_its_base_lies_outside_of_any(self) -> None:
        """The Python that makes environments is the one behind the one running."""
        assert ".venv" not in str(this_environment().base)

    def test_an_old_python_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The sentence says what is needed and what there is."""
        monkeypatch.setattr(module, "PYTHON_MIN", (99, 1))
        with pytest.raises(SetupError, match=r"Python 99\.1 or newer is needed"):
            this_environment()

    @pytest.mark.parametrize("name", ["checks.py", "debian.py", "environment.py", "test"])
    def test_an_old_python_can_read_it(self, name: str) -> None:
        """The sentence about an old Python can't be a syntax error."""
        ast.parse((ROOT / "tools" / name).read_text(encoding="utf-8"), feature_version=(3, 8))
