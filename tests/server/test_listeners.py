"""The listening sockets: where they are, who may connect, what is refused."""

import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from server import listeners
from server.addresses import TcpListen, UnixListen
from server.errors import ListenError
from server.listeners import SOCKET_MODE, listen
from tests.shm.segments import open_descriptors


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path short enough for sockets."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name) / "run"


def free_port() -> int:
    """A port that nobody listens on, nor on the next."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = int(first.getsockname()[1])
            try:
                with socket.create_server(("127.0.0.1", port + 1)):
                    return port
            except OSError:
                continue


class TestUnix:
    """One socket file per worker."""

    def test_paths_and_modes(self, folder: Path) -> None:
        """They are in the folder, named after instance and worker, for owner and group."""
        made = listen(UnixListen(folder), "app1", 2)
        assert sorted(path.name for path in folder.iterdir()) == ["app1-0.sock", "app1-1.sock"]
        assert stat.S_IMODE(folder.stat().st_mode) & 0o007 == 0
        for worker, listener in enumerate(made):
            mode = (folder / f"app1-{worker}.sock").lstat().st_mode
            assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, SOCKET_MODE)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(listener.getsockname())
        listeners.close(made)
        assert list(folder.iterdir()) == []

    def test_folder_that_is_missing(self, folder: Path) -> None:
        """It is made, with those above it."""
        made = listen(UnixListen(folder / "below"), "app1", 1)
        assert (folder / "below" / "app1-0.sock").is_socket()
        listeners.close(made)

    def test_takes_over_what_was_left(self, folder: Path) -> None:
        """The file of an earlier life is in nobody's way."""
        left = listen(UnixListen(folder), "app1", 1)
        left[0].close()
        listeners.close(listen(UnixListen(folder), "app1", 1))

    def test_not_a_socket(self, folder: Path) -> None:
        """A file of another kind is not removed, and what was made before it is closed."""
        folder.mkdir()
        (folder / "app1-1.sock").write_text("precious")
        with pytest.raises(ListenError, match=r"app1-1\.sock is there and is not a socket"):
            listen(UnixListen(folder), "app1", 2)
        assert (folder / "app1-1.sock").read_text() == "precious"
        assert [path.name for path in folder.iterdir()] == ["app1-1.sock"]

    def test_folder_that_can_not_be(self, folder: Path) -> None:
        """A path through a file, or too long a one, is a sentence."""
        folder.write_text("a file")
        with pytest.raises(ListenError, match="can't listen on .*: Not a directory"):
            listen(UnixListen(folder / "below"), "app1", 1)

    def test_closing_twice(self, folder: Path) -> None:
        """Somebody may have removed the file already."""
        made = listen(UnixListen(folder), "app1", 1)
        (folder / "app1-0.sock").unlink()
        listeners.close(made)


class TestTcp:
    """One port per worker."""

    def test_ports(self) -> None:
        """Worker n listens on the port plus n."""
        port = free_port()
        made = listen(TcpListen("127.0.0.1", port), "app1", 2)
        assert [listener.getsockname() for listener in made] == [("127.0.0.1", port), ("127.0.0.1", port + 1)]
        listeners.close(made)

    def test_again_at_once(self) -> None:
        """Connections of an earlier life don't keep the port."""
        port = free_port()
        for _ in range(2):
            made = listen(TcpListen("127.0.0.1", port), "app1", 1)
            client = socket.create_connection(("127.0.0.1", port))
            served, _ = made[0].accept()
            served.close()
            client.close()
            listeners.close(made)

    def test_in_use(self) -> None:
        """A port in use is named, and those made before it are closed."""
        port = free_port()
        before = len(open_descriptors())
        with socket.create_server(("127.0.0.1", port + 1)):
            with pytest.raises(ListenError, match=f"port {port + 1} on 127.0.0.1 is in use; choose another"):
                listen(TcpListen("127.0.0.1", port), "app1", 2)
            assert len(open_descriptors()) == before + 1
        listeners.close(listen(TcpListen("127.0.0.1", port), "app1", 2))

    @pytest.mark.parametrize("host", ["192.0.2.1", "..", "x" * 70])
    def test_host_that_is_not_here(self, host: str) -> None:
        """An address of another machine, or no address at all, is a sentence."""
        with pytest.raises(ListenError, match="can't listen on "):
            listen(TcpListen(host, free_port()), "app1", 1)
