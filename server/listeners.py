"""The listening sockets, one per web worker; the supervisor makes them once, and they outlive every worker.

One per worker, because a shared one spreads connections unevenly. Kept, because clients of a dying worker then wait in
the socket's queue for its successor instead of being refused.
"""

import errno
import socket
import stat
from pathlib import Path
from typing import Any

from server.addresses import TcpListen, UnixListen, socket_path
from server.errors import ListenError

BACKLOG = 2048  # connections that wait while a worker is replaced; the system may cap it (net.core.somaxconn)
SOCKET_MODE = 0o660  # HAProxy connects as a member of the folder's group
_FOLDER_MODE = 0o750


def listen(where: TcpListen | UnixListen, instance: str, workers: int) -> list[socket.socket]:
    """Makes the sockets of all workers, in the order of their numbers.

    Raises:
        ListenError: a port or path is in use, or can't be used.
    """
    made = []
    try:
        for worker in range(workers):
            if isinstance(where, UnixListen):
                made.append(_listen_unix(socket_path(where, instance, worker)))
            else:
                made.append(_listen_tcp(where.host, where.port + worker))
    except ListenError:
        close(made)
        raise
    return made


def _listen_tcp(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return _bind(socket.socket(family, kind, protocol), address)
    except UnicodeError:  # what getaddrinfo raises for an empty or over-long label
        raise ListenError(f"can't listen on {host} port {port}: not a host's name") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ListenError(f"port {port} on {host} is in use; choose another with LISTEN") from None
        raise ListenError(f"can't listen on {host} port {port}: {error.strerror}") from None


def _listen_unix(path: Path) -> socket.socket:
    try:
        path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        _remove_stale(path)
        listener = _bind(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), str(path))
        path.chmod(SOCKET_MODE)
    except OSError as error:
        raise ListenError(f"can't listen on {path}: {error.strerror}") from None
    return listener


def _bind(listener: socket.socket, address: Any) -> socket.socket:
    """Has a socket listen at an address; closes it if that fails."""
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # no wait for connections of an earlier life
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    """Removes the socket file of an earlier life; the locks say that nobody listens on it."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ListenError(f"{path} is there and is not a socket")
        path.unlink()
    except FileNotFoundError:
        return


def close(listeners: list[socket.socket]) -> None:
    """Closes the sockets and removes the files of unix ones."""
    for listener in listeners:
        if listener.family == socket.AF_UNIX:
            Path(listener.getsockname()).unlink(missing_ok=True)
        listener.close()
