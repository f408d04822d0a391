"""Tests of the architecture: which file may import or use what, sizes, docstrings, leftovers.

The rules are data at the top of this file; the checks are in `tidy.py`, and each is shown to fail at the end.
"""

import ast
import os
import re
import subprocess
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests import tidy
from tests.tidy import Source

ROOT = Path(__file__).resolve().parent.parent
IGNORED_FOLDERS = {".git", ".venv", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", "__pycache__"}
IGNORED_FOLDERS |= {"bench-results"}
LOCKS = ("requirements.lock", "requirements-dev.lock")

# By package, the packages of the project it may import.
PACKAGES = {"shm": (), "server": ("shm",), "tools": ("shm",), "tests": ("shm", "server", "tools")}

# What `shm` may import beside the standard library, and what it must not import.
SHM_THIRD_PARTIES = ("posix_ipc",)
SHM_UNKNOWN = ("asyncio", "http", "socket", "urllib", "threading", "multiprocessing")

# The only files that import a package, in the sources.
ONLY_USERS = {
    "httpx": {"server/transport.py", "server/processors.py", "server/addresses.py"},
    "redis": {"server/redis_client.py"},
    "posix_ipc": {"shm/segment.py"},
    "mmap": {"shm/segment.py"},
}
ENVIRONMENT_READERS = ("server/config.py",)

# Modules from the bottom up: each imports from lower layers only, so those of one layer don't import each other.
SHM_LAYERS = (
    ("errors", "layout", "names"),
    ("states",),
    ("record",),
    ("lane", "table", "journal", "counters", "role", "roster"),
    ("segment", "recovery"),
    ("migration",),
)
SERVER_LAYERS = (
    # pure, except for the clock, the environment and yielding the core
    ("errors", "clock", "yielding", "notation", "generations", "rejections", "log", "totals_fields", "addresses"),
    ("config", "totals"),
    ("payments", "totals_header", "ledger", "window"),
    ("attempt", "answers", "published", "latency"),
    ("circuit", "pacing", "presence", "problems"),
    ("http_connection", "routing", "outages"),
    # shared memory, and connections to the outside
    ("copies", "forgotten", "latest", "volume", "liveness"),
    ("resolver", "connection", "redis_client", "redis_scripts", "following", "custody", "roster_sync"),
    ("siblings", "volume_members", "lookup", "quota", "local_totals"),
    ("transport", "intake"),
    ("processors",),
    ("redis_totals", "unknowns", "verification"),
    ("health", "purges", "shared_totals", "outside", "sender"),
    ("publisher",),
    # the jobs of the two kinds of child
    ("gate", "app", "shortcut", "dispatcher"),
    # processes
    ("child", "children", "listeners", "shm_files"),
    ("worker", "dispatcher_process"),
    ("supervisor", "retire"),
    ("__main__",),
)
# In `tools`, the modules that its sub-packages share; they don't import each other.
TOOLS_SHARED = ("arguments", "debian", "environment")

# Test files that belong to a whole package, not to a single file.
TESTS_OF_PACKAGES = {"tests/shm/test_model.py", "tests/shm/test_crash_at_every_store.py"}

LINES_OF_FUNCTION_MAX = 70
LINES_OF_FILE_MAX = 300
LINES_OF_TEST_FILE_MAX = 500  # tests have many short examples
SOURCE_SUFFIXES = {"", ".py", ".cfg", ".yml", ".js", ".sh"}  # "": programs, Dockerfile


def files() -> list[Path]:
    """List the project's own files, as paths from its folder."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in IGNORED_FOLDERS]
        found += [(Path(folder) / name).relative_to(ROOT) for name in names if not name.startswith(".coverage")]
    return sorted(found)


def sources(*packages: str) -> list[Source]:
    """Read the Python files of some packages, and their programs without a suffix."""
    return [
        Source(path.as_posix(), (ROOT / path).read_text(encoding="utf-8"))
        for path in files()
        if path.parts[0] in packages and (path.suffix == ".py" or path in programs())
    ]


def programs() -> list[Path]:
    """List the programs that users start."""
    return [path for path in files() if path.suffix == "" and path.parent in {Path("tools"), Path(".ci")}]


def texts() -> list[tuple[str, str]]:
    """Read all text files except the lock files, which are generated."""
    return [
        (path.as_posix(), (ROOT / path).read_text(encoding="utf-8"))
        for path in files()
        if path.name not in LOCKS and path.suffix not in {".gz", ".png"}
    ]


def settings() -> dict[str, Any]:
    """Read pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def exports(package: str) -> set[str]:
    """List the names that a package's `__init__.py` exports."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    return {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }


def expect_none(wrong: Iterable[str]) -> None:
    """Fail with all messages of a check, one per line."""
    sentences = "\n".join(wrong)
    assert not sentences, f"\n{sentences}"


class TestImports:
    """Imports point one way."""

    def test_between_packages(self) -> None:
        """Standard library <- shm <- server, and shm <- tools; no other way."""
        code = sources(*PACKAGES)
        expect_none(wrong for source in code for wrong in tidy.check_packages(source, PACKAGES))

    def test_shm_knows_nothing_of_the_network(self) -> None:
        """It has no loop, no socket and no thread; a processor is only an index there."""
        code = sources("shm")
        expect_none(w for source in code for w in tidy.check_third_parties(source, SHM_THIRD_PARTIES, SHM_UNKNOWN))

    def test_only_users(self) -> None:
        """Third-party packages that may have to be replaced are imported in few files."""
        code = sources("shm", "server", "tools")
        expect_none(wrong for source in code for wrong in tidy.check_only_users(source, ONLY_USERS))

    def test_only_reader_of_the_environment(self) -> None:
        """Only one file reads settings. (A tool passes its own environment on to what it starts.)"""
        code = sources("shm", "server")
        expect_none(wrong for source in code for wrong in tidy.check_environment(source, ENVIRONMENT_READERS))

    def test_only_public_names_of_shm(self) -> None:
        """Others use only what `shm/__init__.py` exports: the rest may change at any time."""
        code = sources("server", "tools")
        public = exports("shm")
        expect_none(wrong for source in code for wrong in tidy.check_public_names(source, "shm", public))

    @pytest.mark.parametrize(("package", "layers"), [("shm", SHM_LAYERS), ("server", SERVER_LAYERS)])
    def test_within_a_package(self, package: str, layers: tuple[tuple[str, ...], ...]) -> None:
        """Every module is in a layer, and imports from lower ones only."""
        expect_none(tidy.check_layers(sources(package), package, layers))

    @pytest.mark.parametrize("package", ["shm", "server"])
    def test_every_module_is_on_the_map(self, package: str) -> None:
        """The docstring of the package lists each module once."""
        text = (ROOT / package / "__init__.py").read_text(encoding="utf-8")
        shown = re.findall(r"^    (\w+) +[\w`]", text.split('"""')[1], re.MULTILINE)
        there = [path.stem for path in (ROOT / package).glob("*.py") if path.stem != "__init__"]
        assert sorted(shown) == sorted(there)

    def test_between_tools(self) -> None:
        """The sub-packages of `tools` don't import each other."""
        code = [source for source in sources("tools") if source.path.count("/") > 1]
        expect_none(wrong for source in code for wrong in tidy.check_siblings(source, "tools", TOOLS_SHARED))


class TestSizes:
    """Short files, shorter functions."""

    def test_functions(self) -> None:
        """Each fits on a screen."""
        code = sources(*PACKAGES)
        expect_none(w for source in code for w in tidy.check_function_lengths(source, LINES_OF_FUNCTION_MAX))

    def test_files(self) -> None:
        """A file that grows beyond this has two reasons to change."""
        wrong: list[str] = []
        for path, text in texts():
            lines_max = LINES_OF_TEST_FILE_MAX if path.startswith("tests/") else LINES_OF_FILE_MAX
            if Path(path).suffix in SOURCE_SUFFIXES and Path(path).name != "LICENSE":
                wrong += tidy.check_file_length(path, text, lines_max)
        expect_none(wrong)


class TestTestFiles:
    """The test tree is the source tree."""

    def test_each_source_has_its_test_file(self) -> None:
        """And each test file has its source file."""
        paths = [path for path in files() if path.parts[0] in {"shm", "server", "tools"}]
        code = [path.as_posix() for path in paths if path.suffix == ".py"]
        others = [path.as_posix() for path in paths if path.suffix != ".py"]
        tests = {path.as_posix() for path in files() if path.parts[0] == "tests"} - TESTS_OF_PACKAGES
        expect_none(tidy.check_test_files(code, others, tests))

    def test_haproxys_configuration_is_tested(self) -> None:
        """It decides which worker gets a payment, so it is tested like code."""
        assert list((ROOT / "tests" / "haproxy").glob("test_haproxy*.py"))

    def test_no_packages_among_tests(self) -> None:
        """Pytest imports by path; an `__init__.py` would change the names."""
        assert [str(path) for path in files() if path.parts[0] == "tests" and path.name == "__init__.py"] == []


class TestWords:
    """Words in the texts."""

    def test_docstrings(self) -> None:
        """Files, classes, functions and tests begin with a sentence on what they are."""
        expect_none(wrong for source in sources(*PACKAGES) for wrong in tidy.check_docstrings(source))

    def test_leftovers(self) -> None:
        """Work that is left belongs in an issue, not in a comment."""
        expect_none(wrong for path, text in texts() for wrong in tidy.check_words(path, text, tidy.LEFTOVERS))

    def test_foreign_words(self) -> None:
        """No text names somebody's machine, mirror or tools."""
        expect_none(wrong for path, text in texts() for wrong in tidy.check_words(path, text, tidy.FOREIGN_WORDS))

    def test_nothing_outside_is_needed(self) -> None:
        """Only `.ci/run` looks beyond the project's folder."""
        beyond = re.compile(r"\.\./share[d]")
        inside = [(path, text) for path, text in texts() if path != ".ci/run"]
        expect_none(wrong for path, text in inside for wrong in tidy.check_words(path, text, beyond))


class TestPrograms:
    """The programs that users start."""

    def test_there_are_some(self) -> None:
        """The names in the README."""
        assert {"tools/run", "tools/test", "tools/dump_ring", "tools/bench", ".ci/run"} <= set(map(str, programs()))

    @pytest.mark.parametrize("program", programs(), ids=str)
    def test_can_be_started(self, program: Path) -> None:
        """Each is executable and names its interpreter."""
        assert (ROOT / program).stat().st_mode & 0o111 == 0o111
        first = (ROOT / program).read_text(encoding="utf-8").splitlines()[0]
        assert first in {"#!/usr/bin/env python3", "#!/usr/bin/env bash"}

    @pytest.mark.slow
    @pytest.mark.parametrize("program", programs(), ids=str)
    def test_explains_itself(self, program: Path, tmp_path: Path) -> None:
        """`--help` works from any folder and does nothing else."""
        result = subprocess.run([ROOT / program, "--help"], cwd=tmp_path, check=True, capture_output=True, text=True)
        assert program.name in result.stdout
        assert result.stderr == ""

    def test_are_checked_like_modules(self) -> None:
        """As they have no suffix, pyproject.toml must list them for ruff and mypy."""
        python = {str(path) for path in programs() if path.parts[0] == "tools"}
        tools = settings()["tool"]
        assert python <= set(tools["ruff"]["extend-include"])
        assert python <= set(tools["mypy"]["files"])


class TestLocks:
    """The lock files."""

    @staticmethod
    def versions(name: str) -> dict[str, str]:
        """Read a lock file: version by package."""
        text = (ROOT / name).read_text(encoding="utf-8")
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))

    def test_every_dependency_is_locked(self) -> None:
        """The lock files hold what pyproject.toml asks for, in versions that it allows."""
        requirement = pytest.importorskip("packaging.requirements").Requirement
        data = settings()
        runtime = data["project"]["dependencies"]
        development = [*runtime, *data["dependency-groups"]["dev"]]
        for name, wanted in zip(LOCKS, (runtime, development), strict=True):
            locked = self.versions(name)
            wrong = [w for w in map(requirement, wanted) if locked.get(w.name, "0") not in w.specifier]
            assert wrong == [], name

    def test_both_agree(self) -> None:
        """The tests use the versions that run."""
        runtime, development = map(self.versions, LOCKS)
        assert runtime.items() <= development.items()

    @pytest.mark.parametrize("name", LOCKS)
    def test_no_registry_is_named(self, name: str) -> None:
        """Users install from the index that they trust; the hashes guarantee the same files."""
        assert "://" not in (ROOT / name).read_text(encoding="utf-8")
        assert "--index" not in (ROOT / name).read_text(encoding="utf-8")


def found(sentences: Iterable[str]) -> int:
    """Count what a check found."""
    return len(list(sentences))


class TestChecks:
    """Each check finds what it should, and nothing else."""

    @pytest.mark.parametrize(
        ("path", "text", "wrong"),
        [
            ("shm/a.py", "import struct", 0),
            ("shm/a.py", "from server import config", 1),
            ("server/a.py", "from shm import Lane", 0),
            ("tools/a.py", "import server.app", 1),
            ("tools/a.py", "def f():\n    from server.app import x", 1),
            ("tests/a.py", "from server.app import x", 0),
        ],
    )
    def test_packages(self, path: str, text: str, wrong: int) -> None:
        """Imports inside functions count too."""
        assert found(tidy.check_packages(Source(path, text), PACKAGES)) == wrong

    @pytest.mark.parametrize(
        ("text", "wrong"),
        [("import posix_ipc, os", 0), ("import orjson", 1), ("from asyncio import Queue", 1), ("from shm import x", 0)],
    )
    def test_third_parties(self, text: str, wrong: int) -> None:
        """Unknown packages and forbidden parts of the standard library."""
        assert found(tidy.check_third_parties(Source("shm/a.py", text), SHM_THIRD_PARTIES, SHM_UNKNOWN)) == wrong

    def test_only_users_check(self) -> None:
        """The listed file may import it, another one may not."""
        text = "from redis.asyncio import Redis"
        assert found(tidy.check_only_users(Source("server/redis_client.py", text), ONLY_USERS)) == 0
        assert found(tidy.check_only_users(Source("server/app.py", text), ONLY_USERS)) == 1

    @pytest.mark.parametrize(
        ("text", "wrong"),
        [
            ("import os\nos.environ['A']", 1),
            ("import os\nos.getenv('A')", 1),
            ("from os import environ", 1),
            ("import os\nos.getpid()", 0),
        ],
    )
    def test_environment(self, text: str, wrong: int) -> None:
        """Every way to read it is found."""
        assert found(tidy.check_environment(Source("server/app.py", text), ENVIRONMENT_READERS)) == wrong
        assert found(tidy.check_environment(Source("server/config.py", text), ENVIRONMENT_READERS)) == 0

    @pytest.mark.parametrize(
        ("text", "wrong"),
        [
            ("from shm import Lane", 0),
            ("from shm import layout", 1),
            ("from shm.lane import Lane", 1),
            ("import shm", 1),
        ],
    )
    def test_public_names(self, text: str, wrong: int) -> None:
        """Sub-modules are private, and so is the module object."""
        assert found(tidy.check_public_names(Source("server/a.py", text), "shm", {"Lane"})) == wrong
        assert found(tidy.check_public_names(Source("shm/a.py", text), "shm", {"Lane"})) == 0

    @pytest.mark.parametrize(
        ("module", "text", "wrong"),
        [
            ("b", "from p.a import x", 0),
            ("b", "from p import a", 0),
            ("b", "import p.a", 0),
            ("a", "from p.b import x", 1),
            ("b", "from p.c import x", 1),
            ("b", "from p import x", 1),
            ("__init__", "from p.c import x", 0),
            ("d", "", 1),
        ],
    )
    def test_layers(self, module: str, text: str, wrong: int) -> None:
        """Imports upwards, sideways and of the package itself are wrong, and so is a module without a layer."""
        code = dict.fromkeys(("a", "b", "c", "__init__"), "") | {module: text}
        sources = [Source(f"p/{name}.py", code[name]) for name in code]
        assert found(tidy.check_layers(sources, "p", [["a"], ["b", "c"]])) == wrong

    def test_layers_name_what_is_there(self) -> None:
        """A removed module must be removed from its layer too."""
        assert list(tidy.check_layers([], "p", [["a"]])) == ["p.a: is in a layer, but not there"]

    @pytest.mark.parametrize(
        ("text", "wrong"),
        [
            ("from tools.processor.store import x", 0),
            ("from tools.environment import reexec", 0),
            ("from tools import debian", 0),
            ("from tools.benchmark import score", 1),
            ("import struct", 0),
        ],
    )
    def test_siblings(self, text: str, wrong: int) -> None:
        """A sub-package may import itself and the shared modules."""
        assert found(tidy.check_siblings(Source("tools/processor/api.py", text), "tools", TOOLS_SHARED)) == wrong

    def test_lengths(self) -> None:
        """A function's length is that of its definition, a file's that of its text."""
        text = "async def f():\n    a = 1\n    return a\n"
        assert found(tidy.check_function_lengths(Source("a.py", text), 2)) == 1
        assert found(tidy.check_function_lengths(Source("a.py", text), 3)) == 0
        assert found(tidy.check_file_length("a.py", text, 2)) == 1
        assert found(tidy.check_file_length("a.py", text, 3)) == 0

    @pytest.mark.parametrize(
        ("text", "wrong"),
        [
            ('"""It is."""', 0),
            ("", 1),
            ('"""It is"""', 1),
            ('"""It is\nlong.\n\nAnd more"""', 0),
            ('"""It is."""\ndef f(): ...', 1),
            ('"""It is."""\ndef _f(): ...', 0),
            ('"""It is."""\nclass A:\n    """It is."""\n    def f(self): ...\n    def __init__(self): ...', 1),
            ('"""It is."""\n@overload\ndef f(): ...', 0),
        ],
    )
    def test_docstrings_check(self, text: str, wrong: int) -> None:
        """Files, functions, classes and methods need one; private and magic ones do not."""
        assert found(tidy.check_docstrings(Source("a.py", text))) == wrong

    def test_words_check(self) -> None:
        """It finds each word of the patterns, but not longer words that contain it."""
        assert found(tidy.check_words("a", "# todo: x\n# method, stodos\n# fixme".upper(), tidy.LEFTOVERS)) == 2
        foreign = "cd /wor_k/x; pip -i pyp_i.org; an LL_M".replace("_", "")
        assert found(tidy.check_words("a", foreign, tidy.FOREIGN_WORDS)) == 3
        assert found(tidy.check_words("a", "User-Agent; /network/; https://docs.python.org", tidy.FOREIGN_WORDS)) == 0

    @pytest.mark.parametrize(
        ("sources", "tests", "wrong"),
        [
            (["server/app.py"], ["tests/server/test_app.py"], 0),
            (["server/app.py"], ["tests/server/test_app_limits.py"], 0),
            (["server/app.py"], ["tests/test_app.py"], 1),
            (["server/app.py"], ["tests/server/conftest.py"], 1),
            (["server/__main__.py", "server/__init__.py"], ["tests/server/test_main.py"], 0),
            (["server/__main__.py"], ["tests/server/test___main__.py"], 0),
            (["tools/bench/score.py"], ["tests/tools/test_score.py"], 0),
            (["tools/bench/score.py"], ["tests/tools/bench/test_score.py"], 0),
            (["server/app.py"], ["tests/server/test_app.py", "tests/server/test_gone.py"], 1),
            (["server/app.py"], ["tests/server/test_app.py", "tests/server/test_docker_compose.py"], 0),
            (["server/app.py"], ["tests/server/test_app.py", "tests/integration/test_kill.py"], 0),
        ],
    )
    def test_test_files(self, sources: list[str], tests: list[str], wrong: int) -> None:
        """It finds a source without a test, and a test without a source."""
        others = ["server/docker-compose.yml"]
        assert found(tidy.check_test_files(sources, others, tests)) == wrong
