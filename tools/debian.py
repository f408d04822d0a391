"""Finds the Debian packages that a tool needs, or installs them without starting the services that come with them.

Debian starts a daemon as soon as its package is installed, and at every boot from then on. Neither is wanted here:
the tools start HAProxy and Redis themselves, on their own ports. So while apt runs, a `policy-rc.d` that forbids
every start is installed (Debian Policy § 9.3.3.1, invoke-rc.d(8)), and the service is disabled afterwards. A policy
that was there before is restored, after an interrupted run by the next one.

Only the standard library is used, and nothing newer than Python 3.8 in the syntax: `tools/environment.py` needs this
file before anything is installed.
"""

from __future__ import annotations  # an older Python must get as far as the message that it is too old

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

APT_TIMEOUT_S = 600  # enough for a slow mirror on a slow line, and ends a hung one
APT_LOCK_WAIT_S = 300  # unattended-upgrades holds dpkg's lock for minutes on a fresh machine
POLICY_DENIED = 101  # exit status of a policy-rc.d: action forbidden
OUTPUT_LINES_SHOWN = 8  # of a failed command's output, shown in the error
ADMIN_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"  # where daemons are; not in the PATH of Debian's ordinary users

POLICY_TEXT = (
    f"#!/bin/sh\n# rinha-payment-gateway: no service starts while its tools install packages\nexit {POLICY_DENIED}\n"
)


class SetupError(Exception):
    """This machine lacks something that can't be installed; the message is for the user."""


def run_command(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, without input, keeping its output (both streams as one).

    Raises:
        SetupError: it took longer than `APT_TIMEOUT_S`.
    """
    try:
        return subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=APT_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        message = f"`{' '.join(command)}` did not end within {APT_TIMEOUT_S} s."
        raise SetupError(message) from error


@dataclass(frozen=True)
class Machine:
    """The parts of the machine that are used here; tests pass their own.

    Args:
        is_root: packages may be installed.
        policy: where invoke-rc.d looks for the local policy.
        which: finds a program by name in PATH or in the given folders.
        run: runs a command to its end.
    """

    is_root: bool
    policy: Path = Path("/usr/sbin/policy-rc.d")
    which: Callable[..., str | None] = shutil.which
    run: Callable[[Sequence[str]], subprocess.CompletedProcess[str]] = run_command


def this_machine() -> Machine:
    """Describes the machine this process runs on."""
    return Machine(is_root=os.geteuid() == 0)


def say(sentence: str) -> None:
    """Tells the user what is being done; on stderr, because a program may read the tool's own output."""
    print(sentence, file=sys.stderr, flush=True)


def last_lines(output: str) -> str:
    """The end of a command's output, indented, for an error message."""
    lines = [line for line in output.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-OUTPUT_LINES_SHOWN:])


def find_program(command: str, machine: Machine | None = None) -> Path | None:
    """Where a program is, looking in the administrator's folders too; None if it is nowhere."""
    which = (machine or this_machine()).which
    found = which(command) or which(command, path=ADMIN_FOLDERS)
    return Path(found) if found else None


def require_programs(names: Sequence[str], machine: Machine | None = None) -> list[Path]:
    """Returns the paths of programs, installing those that are missing: each from the Debian package of its name.

    Raises:
        SetupError: one is missing and can't be installed here; the message says what to do.
    """
    machine = machine or this_machine()
    missing = [name for name in names if find_program(name, machine) is None]
    if missing:
        quoted = " and ".join(f"`{name}`" for name in missing)
        install_packages(missing, f"{quoted} {'is' if len(missing) == 1 else 'are'} missing", machine)
    found = [path for name in names if (path := find_program(name, machine)) is not None]
    if len(found) < len(names):
        message = f"Installed, but not found in the usual folders: {' or '.join(names)}."
        raise SetupError(message)
    return found


def install_packages(packages: Sequence[str], why: str, machine: Machine) -> None:
    """Installs Debian packages; none of their services starts, now or at the next boot.

    Args:
        packages: names known to apt.
        why: how the message begins, e.g. "`haproxy` is missing".
        machine: where.

    Raises:
        SetupError: not root, not a Debian machine, or apt failed.
    """
    names = " ".join(packages)
    if machine.which("apt-get") is None:
        message = f"{why}, and there is no apt-get here: install what Debian calls {names} in this system's own way."
        raise SetupError(message)
    if not machine.is_root:
        message = f"{why}. Run this once as root, or install it yourself: sudo apt-get install {names}"
        raise SetupError(message)
    say(f"{why}: installing the Debian package {names} (its services are not started)")
    with services_forbidden(machine):
        _apt_install(packages, why, machine)
        for package in packages:
            _disable_service(package, machine)


def _apt_install(packages: Sequence[str], why: str, machine: Machine) -> None:
    """Installs; if that fails, updates and tries again: a fresh machine has no package lists, an old one stale ones."""
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", f"DPkg::Lock::Timeout={APT_LOCK_WAIT_S}"]
    install = [*apt, "install", "-y", "--no-install-recommends", *packages]
    if machine.run(install).returncode == 0:
        return
    machine.run([*apt, "update"])  # its status is ignored: one broken source among many fails it
    result = machine.run(install)
    if result.returncode != 0:
        message = f"{why}, and apt-get could not install {' '.join(packages)}:\n{last_lines(result.stdout)}"
        raise SetupError(message)


def _disable_service(package: str, machine: Machine) -> None:
    """Keeps the service named like its package from starting at the next boot; most packages have none."""
    for command in (["systemctl", "disable", package], ["update-rc.d", package, "disable"]):
        if machine.which(command[0], path=f"{ADMIN_FOLDERS}:/usr/bin:/bin") is not None:
            machine.run(command)  # fails when there is no such service: nothing to disable
            return


@contextlib.contextmanager
def services_forbidden(machine: Machine) -> Iterator[None]:
    """Forbids every start of a service by `policy-rc.d` inside the block, then restores what was there.

    One process of ours at a time: the lock is on the policy's folder, so that no file is left for it.
    """
    policy = machine.policy
    kept = policy.with_name(f"{policy.name}.kept-by-rinha-payment-gateway")
    folder = os.open(policy.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        _restore_policy(policy, kept)  # an interrupted run
        if _forbids_already(machine):
            yield
            return
        if policy.is_symlink() or policy.exists():
            policy.rename(kept)
        try:
            policy.write_text(POLICY_TEXT, encoding="ascii")
            policy.chmod(0o755)
            yield
        finally:
            _restore_policy(policy, kept)
    finally:
        os.close(folder)


def _restore_policy(policy: Path, kept: Path) -> None:
    """Removes our policy and restores the one that was kept."""
    if policy.is_file() and policy.read_bytes() == POLICY_TEXT.encode("ascii"):
        policy.unlink()
    if kept.is_symlink() or kept.exists():
        kept.rename(policy)


def _forbids_already(machine: Machine) -> bool:
    """Whether the policy in place forbids starts anyway, as in most container images."""
    return machine.policy.exists() and machine.run([str(machine.policy), "any", "start"]).returncode == POLICY_DENIED
