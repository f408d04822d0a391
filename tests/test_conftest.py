"""`--no-skips`: a skipped test is a failure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SKIPPED = """
import pytest

@pytest.fixture
def missing():
    pytest.skip("no moon")

def test_by_fixture(missing): pass

@pytest.mark.skipif(True, reason="no sun")
def test_by_mark(): pass

def test_that_runs(): pass
"""


EXPECTED = """
import pytest

@pytest.mark.xfail(reason="no stars")
def test_that_fails(): assert False
"""
SKIPS_ITSELF = """
import pytest

pytest.skip("no comets", allow_module_level=True)
"""


def run(folder: Path, *options: str) -> tuple[int, str]:
    """Runs the tests of a folder; exit status and output."""
    arguments = ["-q", "-p", "tests.conftest", "-p", "no:cacheprovider", *options, str(folder)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout


@pytest.mark.slow
class TestNoSkips:
    """`--no-skips`."""

    @pytest.mark.parametrize(
        ("options", "status", "said"), [((), 0, "1 passed, 2 skipped"), (("--no-skips",), 1, "1 passed, 2 errors")]
    )
    def test_a_test(self, tmp_path: Path, options: tuple[str, ...], status: int, said: str) -> None:
        """Skipped by a fixture or a mark: a skip without the option; with it a failure that tells the reason."""
        (tmp_path / "test_it.py").write_text(SKIPPED)
        returned, output = run(tmp_path, *options)
        assert (returned, said in output) == (status, True), output
        assert ("no moon" in output and "no sun" in output) == bool(options)

    def test_a_file(self, tmp_path: Path) -> None:
        """One that skips itself as a whole fails too."""
        (tmp_path / "test_it.py").write_text(SKIPS_ITSELF)
        returned, output = run(tmp_path, "--no-skips")
        assert returned != 0
        assert "no comets" in output

    def test_an_expected_failure(self, tmp_path: Path) -> None:
        """It has run, so it is no skip."""
        (tmp_path / "test_it.py").write_text(EXPECTED)
        returned, output = run(tmp_path, "--no-skips")
        assert (returned, "1 xfailed" in output) == (0, True), output
