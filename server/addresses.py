"""The addresses among the settings: which texts are taken, and what they mean. Pure: httpx is only asked which hosts it
would take.

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
_USER = r"(?:[^@/?#\[\]\s]*@)?"  # and a password; by RFC 3986 brackets in it are written %5B and %5D
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
    """The setting `LISTEN`."""
    if text.startswith("unix:/"):
        return UnixListen(Path(text.removeprefix("unix:")))
    match = _match_address(_TCP, text)
    if match is None:
        raise ValueError("unix:/absolute/folder or tcp:host:port")
    return TcpListen(match["host"].strip("[]"), int(match["port"]))


def parse_processor_url(text: str) -> str:
    """A processor's address, without a slash at its end."""
    if not _match_address(_HTTP, text):
        raise ValueError("an address such as http://payment-processor-default:8080")
    return text.rstrip("/")


def is_same_url(one: str, other: str) -> bool:
    """Whether two processors' addresses are the same, with capitals in the host or not, with the usual port or none."""
    return httpx.URL(one) == httpx.URL(other)


def parse_redis_url(text: str) -> str:
    """The setting `REDIS_URL`; empty if there is no Redis."""
    is_valid = not text or bool(_REDIS_SOCKET.fullmatch(text) or _match_address(_REDIS, text))
    try:
        urlsplit(text)  # as redis-py does, which refuses some characters of a password
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValueError("redis://host:port/0 or unix:///path/of/socket, or empty to keep totals here alone")
    return text


def without_password(text: str) -> str:
    """An address as it may be shown, however wrong it is: without what stands before its last `@`."""
    return _PASSWORD.sub("…@", text)


def socket_path(listen: UnixListen, instance: str, worker: int) -> Path:
    """Where a worker's unix socket is."""
    return listen.folder / f"{instance}-{worker}.sock"


def _match_address(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The match of a whole address, if its host is possible, and its port, if it has one; else None."""
    match = pattern.fullmatch(text)
    return match if match and _is_possible_host(match["host"]) and 0 < int(match["port"] or "1") <= PORT_MAX else None


def _is_possible_host(host: str) -> bool:
    """Whether an HTTP client takes it, too: else every child would fail when it makes its client, again and again."""
    try:
        return bool(httpx.URL(f"http://{host}").host)
    except (httpx.InvalidURL, ValueError):  # numbers that are no IP address; a label that only looks IDNA-encoded
        return False
