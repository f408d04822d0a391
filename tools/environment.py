"""Makes the project's own Python environment, `.venv`, and keeps it in step with the lock files.

A program in `tools/` starts with the machine's `python3` and continues in `.venv`:

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from tools.environment import reexec
    reexec(dev=False)
    import httpx  # third-party packages from here on

How it stays consistent:

- `.venv/locked` says what is installed: the Python, and the lock files by their hashes. It is written last; while
  packages change it does not exist. If it matches what is wanted, nothing is done (under a millisecond).
- One process works at a time, holding a lock on the project's folder. The installer inherits that lock, so one that
  outlives its parent still keeps the others out.
- `.venv.unfinished` exists while the environment is being changed. A process that holds the lock and finds it knows
  that an earlier set-up was interrupted, and starts anew.

Only the standard library is used, and nothing newer than Python 3.8 in the syntax.
"""

from __future__ import annotations  # an older Python must get as far as the message that it is too old

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tools.debian import Machine, SetupError, install_packages, last_lines, say, this_machine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PYTHON_MIN = (3, 11)  # requires-python in pyproject.toml
ASK_TIMEOUT_S = 60  # a Python that takes longer to start is broken
INSTALL_TIMEOUT_S = 900  # all packages are about 150 MB: enough at 200 kB/s
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells say it

ROOT = Path(__file__).resolve().parent.parent
LOCK_RUNTIME = "requirements.lock"
LOCK_DEV = "requirements-dev.lock"  # holds the runtime packages too, in the same versions


class Environment:
    """The environment of one project folder.

    Args:
        root: folder with the lock files; `.venv` is made in it.
        base: a Python outside of any environment, with which it is made.
        machine: where missing parts of Python may be installed.
    """

    def __init__(self, root: Path, base: Path, machine: Machine) -> None:
        self.root = root
        self.base = base
        self.machine = machine
        self.folder = root / ".venv"
        self.python = self.folder / "bin" / "python"
        self.stamp = self.folder / "locked"
        self.unfinished = root / ".venv.unfinished"

    def ensure(self, *, dev: bool) -> Path:
        """Makes or updates the environment if it isn't what the lock files say.

        Args:
            dev: with the tools for tests, lint and types; an environment that has them also serves those without.

        Returns:
            Its Python.

        Raises:
            SetupError: it can't be made here; the message says what is missing.
        """
        try:
            is_current = self._is_current(dev=dev)
        except PermissionError as error:
            raise SetupError(
                f"{error.filename} can't be read ({error.strerror}): another user has made .venv; remove it, or use a "
                "clone of your own"
            ) from None
        if not is_current:
            with self._lock() as lock:
                if not self._is_current(dev=dev):  # another process may just have made it
                    self._set_up(lock, dev=dev)
        return self.python

    def _wanted(self, *, dev: bool) -> list[str]:
        """What the stamp must contain: one line for the Python and one per lock file."""
        names = [LOCK_RUNTIME, LOCK_DEV] if dev else [LOCK_RUNTIME]
        digests = {name: hashlib.sha256((self.root / name).read_bytes()).hexdigest() for name in names}
        return [f"python {os.path.realpath(self.python)}", *(f"{name} {digests[name]}" for name in names)]

    def _is_current(self, *, dev: bool) -> bool:
        """Whether the environment is complete and holds what is wanted."""
        if self.unfinished.exists() or not self.python.exists():
            return False
        try:
            stamped = self.stamp.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        return set(self._wanted(dev=dev)) <= set(stamped)

    def _is_usable(self) -> bool:
        """Whether packages can be installed into what is there: its Python starts, has that prefix, and a pip."""
        if self.unfinished.exists() or not self.python.exists():
            return False
        question = "import sys, pip; print(sys.prefix)"
        try:
            answer = subprocess.run(
                [self.python, "-I", "-c", question],
                check=False,
                capture_output=True,
                text=True,
                timeout=ASK_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            return False
        return answer.returncode == 0 and Path(answer.stdout.strip()).resolve() == self.folder.resolve()

    @contextlib.contextmanager
    def _lock(self) -> Iterator[int]:
        """Holds the project folder's lock, with a message if it must be waited for; yields its descriptor."""
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("environment: another process is making .venv, waiting for it")
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(folder)

    def _set_up(self, lock: int, *, dev: bool) -> None:
        """Installs what the lock file says, into a new environment unless the one there is usable."""
        usable = self._is_usable()
        try:
            self.unfinished.touch()
        except OSError as error:
            message = f"{self.root} can't be written to ({error.strerror}), and .venv has to be made in it."
            raise SetupError(message) from error
        if not usable:
            self._require_venv()
            say(f"environment: making .venv with Python {sys.version.split()[0]}")
            self._step([str(self.base), "-m", "venv", "--clear", str(self.folder)], lock, "make .venv")
        self.stamp.unlink(missing_ok=True)
        name = LOCK_DEV if dev else LOCK_RUNTIME
        say(f"environment: installing {name} into .venv")
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
        # --no-deps: the lock file is complete, and some pips take an extra (coverage[toml]) for an unpinned package
        hashed = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement", str(self.root / name)]
        self._step([*pip, *hashed], lock, f"install {name} (this needs access to a package index)")
        self.stamp.write_text("".join(f"{line}\n" for line in self._wanted(dev=dev)), encoding="utf-8")
        self.unfinished.unlink()

    def _require_venv(self) -> None:
        """Makes sure that the base Python can make environments: Debian has that part in a package of its own."""
        importlib.invalidate_caches()
        if all(importlib.util.find_spec(name) is not None for name in ("venv", "ensurepip")):
            return
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        install_packages([package], "this Python can't make environments (venv or ensurepip is missing)", self.machine)

    def _step(self, command: Sequence[str], lock: int, what: str) -> None:
        """Runs one step of the set-up, which inherits the lock; the error for a failure has the end of its output."""
        try:
            result = subprocess.run(
                command,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=INSTALL_TIMEOUT_S,
                pass_fds=(lock,),
            )
        except subprocess.TimeoutExpired as error:
            message = f"could not {what}: it did not end within {INSTALL_TIMEOUT_S} s."
            raise SetupError(message) from error
        if result.returncode != 0:
            message = f"could not {what}:\n{last_lines(result.stdout)}"
            raise SetupError(message)


def this_environment() -> Environment:
    """Describes this project's environment.

    Raises:
        SetupError: this Python is too old.
    """
    if sys.version_info < PYTHON_MIN:
        wanted = ".".join(str(part) for part in PYTHON_MIN)
        message = f"Python {wanted} or newer is needed, and {sys.executable} is {sys.version.split()[0]}."
        raise SetupError(message)
    return Environment(ROOT, Path(os.path.realpath(sys.executable)), this_machine())


def reexec(*, dev: bool) -> None:
    """Goes on in `.venv`: returns if this process runs in it, else starts the same command line there in its place.

    If `.venv` can't be made, the process ends with a message and exit status 1. Ctrl-C raises KeyboardInterrupt only
    while `.venv` is being made, so that no installer is left behind. While the other Python starts, Ctrl-C is held back
    until this function is called there: code that runs before any program (such as packages' `.pth` files) loses it.
    """
    _open_closed_outputs()
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        environment = this_environment()
        python = environment.ensure(dev=dev)
        if Path(sys.prefix).resolve() == environment.folder.resolve():
            return
        if Path(sys.executable) == python:
            message = f"{python} does not find its own packages in {environment.folder}: is PYTHONHOME set?"
            raise SetupError(message)
    except SetupError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    finally:
        signal.signal(signal.SIGINT, usual)
    _go_on_in(python)


def _open_closed_outputs() -> None:
    """Opens closed outputs (`>&-`) to the null device: Python has none then, and writing is an AttributeError."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open to the end
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def _go_on_in(python: Path) -> NoReturn:
    """Replaces this process by the same command line under another Python; Ctrl-C is held back until `reexec` there."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.execv(python, [str(python), *sys.orig_argv[1:]])
