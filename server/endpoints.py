"""Where something listens, as the settings name it: what is taken for an address, and what it means. Pure: httpx is
only asked what it would take.

Each `parse_…` raises ValueError with what the setting must be.
"""

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

PORT_MAX = 65535

_LABEL = "[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"  # RFC 1035, and the underscore that container networks allow
_HOST = rf"(?P<host>{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9A-Fa-f:.]+\])"
_PORT = "(?P<port>[0-9]{1,5})"
_USER = r"(?:[^@/?#\[\]\s]*@)?"  # with a password; RFC 3986 has brackets in it written as %5B and %5D
_TCP = re.compile(rf"tcp:{_HOST}:{_PORT}")
_HTTP = re.compile(rf"http://{_HOST}(?::{_PORT})?(?:/[\w.~!$&'()*+,;=:@%/-]*)?", re.ASCII)
_REDIS = re.compile(rf"redis://{_USER}{_HOST}(?::{_PORT})?(?:/[0-9]*)?")
_REDIS_SOCKET = re.compile(rf"unix://{_USER}/[^@?#\s]+(?:\?db=[0-9]+)?")
_PASSWORD = re.compile(".*@", re.DOTALL)


class TcpListen(NamedTuple):
    """Worker n listens on `host` at `port` + n."""

    host: str
    port: int


class UnixListen(NamedTuple):
    """Worker n listens on `<folder>/<instance>-<n>.sock`."""

    folder: Path


def parse_listen(text: str) -> TcpListen | UnixListen:
    """`LISTEN`."""
    if text.startswith("unix:/"):
        return UnixListen(Path(text.removeprefix("unix:")))
    match = _addressed(_TCP, text)
    if match is None:
        raise ValueError("unix:/absolute/folder or tcp:host:port")
    return TcpListen(match["host"].strip("[]"), int(match["port"]))


def parse_processor_url(text: str) -> str:
    """A processor's address, without a slash at its end."""
    if not _addressed(_HTTP, text):
        raise ValueError("an address such as http://payment-processor-default:8080")
    return text.rstrip("/")


def parse_redis_url(text: str) -> str:
    """`REDIS_URL`; empty for none."""
    is_one = not text or bool(_REDIS_SOCKET.fullmatch(text) or _addressed(_REDIS, text))
    try:
        urlsplit(text)  # as redis-py does, which minds some characters of a password
    except ValueError:
        is_one = False
    if not is_one:
        raise ValueError("redis://host:port/0 or unix:///path/of/socket, or empty to keep totals here alone")
    return text


def without_password(text: str) -> str:
    """What may be shown of an address, however wrong it is."""
    return _PASSWORD.sub("…@", text)


def socket_path(listen: UnixListen, instance: str, worker: int) -> Path:
    """Where a worker's unix socket is."""
    return listen.folder / f"{instance}-{worker}.sock"


def _addressed(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The match of a whole address, if its host and its port, where it has one, are possible ones."""
    match = pattern.fullmatch(text)
    return match if match and _is_possible(match["host"]) and 0 < int(match["port"] or "1") <= PORT_MAX else None


def _is_possible(host: str) -> bool:
    """Whether it is one for a client, too: else each child would end when it makes its own, again and again."""
    try:
        return bool(httpx.URL(f"http://{host}").host)
    except (httpx.InvalidURL, ValueError):  # numbers that are no address; what only looks encoded
        return False
