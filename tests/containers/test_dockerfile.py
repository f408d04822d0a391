"""The instances' image: what is in it, who runs it, and that a wrong setting is a sentence."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.containers.compose import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.containers]

BUILD_S_MAX = 600.0
RUN_S_MAX = 60.0


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """Build the image under a name of its own; return the name."""
    name = "rinha-payment-gateway:tested"
    build = ["docker", "build", "--quiet", "--tag", name, str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=BUILD_S_MAX, check=False)
    assert done.returncode == 0, done.stderr
    yield name
    subprocess.run(["docker", "image", "rm", name], capture_output=True, timeout=RUN_S_MAX, check=True)


def run(image: str, *command: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a command in a container of the image, as closed as in docker-compose.yml."""
    closed = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges:true", "--network=none")
    return subprocess.run(
        ["docker", "run", "--rm", *closed, *options, image, *command],
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )


class TestImage:
    """What is in the image."""

    def test_runs_as_nobody_of_importance(self, image: str) -> None:
        """Its user is 10001, who may write to the three folders of the volumes and to no code."""
        shown = run(image, "sh", "-c", "id -u; id -g; for f in /app /app/* /opt/venv; do test -w $f && echo $f; done")
        assert shown.stdout.split() == ["10001", "10001"]
        folders = run(image, "stat", "-c", "%n %u:%g %a", "/var/lib/shm-owner", "/run/redis", "/run/gateway")
        assert folders.stdout.splitlines() == [
            "/var/lib/shm-owner 10001:10001 700",
            "/run/redis 10001:10001 700",
            "/run/gateway 10001:99 2750",
        ]

    def test_has_no_tools_for_building(self, image: str) -> None:
        """There is no compiler, and no pip where the dependencies are."""
        shown = run(image, "sh", "-c", "command -v cc gcc g++ make; ls /opt/venv/bin")
        assert "python" in shown.stdout.split()
        assert not [word for word in shown.stdout.split() if word.startswith(("pip", "/"))]

    def test_is_compiled(self, image: str) -> None:
        """Every module has its .pyc: the root folder is read-only, so none could be written later."""
        script = (
            "import pathlib, importlib.util as u\n"
            "for root in ('/app', '/opt/venv'):\n"
            "    for path in pathlib.Path(root).rglob('*.py'):\n"
            "        if not pathlib.Path(u.cache_from_source(str(path))).exists(): print(path)\n"
        )
        shown = run(image, "python", "-c", script)
        assert (shown.returncode, shown.stdout, shown.stderr) == (0, "", "")

    def test_has_what_the_server_imports(self, image: str) -> None:
        """Every module of the server can be loaded, compiled ones included."""
        script = (
            "import importlib, pathlib\n"
            "for path in sorted(pathlib.Path('server').glob('*.py')):\n"
            "    if path.stem != '__main__': importlib.import_module(f'server.{path.stem}')\n"
        )
        shown = run(image, "python", "-c", script)
        assert (shown.returncode, shown.stderr) == (0, "")

    def test_holds_nothing_else_of_the_project(self, image: str) -> None:
        """Tests, documents and settings of tools stay outside."""
        shown = run(image, "ls", "-A", "/app")
        assert set(shown.stdout.split()) <= {"server", "shm", "tools"}


class TestStart:
    """`docker run` of the image."""

    def test_a_wrong_setting_is_a_sentence(self, image: str) -> None:
        """The start ends with status 2 and names the setting."""
        shown = run(image, options=("--env=WEB_WORKERS=many",))
        assert shown.returncode == 2
        assert "WEB_WORKERS" in shown.stderr
        assert "Traceback" not in shown.stderr
