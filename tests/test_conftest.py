"""`--no-skips`: what could not be tested is a failure where it was asked to be."""

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


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [((), 0, "1 passed, 2 skipped"), (("--no-skips",), 1, "1 passed, 2 errors")],
)
def test_a_skip(tmp_path: Path, options: tuple[str, ...], status: int, said: str) -> None:
    """By fixture or by mark, it is a skip without the option and a failure with its reason with it."""
    (tmp_path / "test_it.py").write_text(SKIPPED)
    arguments = ["-q", "-p", "tests.conftest", "-p", "no:cacheprovider", *options, str(tmp_path)]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == status, run.stdout + run.stderr
    assert said in run.stdout
    assert ("no moon" in run.stdout and "no sun" in run.stdout) == bool(options)
