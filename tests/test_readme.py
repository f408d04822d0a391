"""The documents agree with the code: settings, paths, commands, routes, quoted messages and limits."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
from starlette.routing import Route

from server.app import build_app
from server.config import SETTINGS, Setting
from shm import State
from tests.server.fake_gate import FakeGate, FakeTotals
from tools.launcher.docker import PROJECT

ROOT = Path(__file__).resolve().parent.parent
DOCS = ("docs/performance.md", "docs/summaries.md")
DOCUMENTS = ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "tools/README.md", *DOCS)
FOLDERS = ("shm", "server", "tools", "tests", "haproxy", "docs", r"\.ci")

PATH = re.compile(rf"(?<![\w./-])(?:\./)?((?:{'|'.join(FOLDERS)})/[\w./-]*[\w/]|[A-Z]+\.md|[\w-]+\.(?:lock|toml|yml))")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")
COMMAND = re.compile(r"\./(tools/\w+)([^\n`#|]*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*(?![\w-])")  # but not a part of a longer word
WHOLE_LIMITS = ("1.50", 350)  # CPU and MB, the contest's


def read(document: str) -> str:
    """A document's text."""
    return (ROOT / document).read_text(encoding="utf-8")


README = read("README.md")
OPERATING = read("docs/operating.md")


def section(title: str, text: str = README) -> str:
    """A section of a document, without those below it."""
    return text.split(f"\n## {title}\n")[1].split("\n## ", maxsplit=1)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a text's tables, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    rules = [number for number, line in enumerate(lines) if set(line) <= set("|- ")]
    return [row for number, row in enumerate(cells) if number not in rules and number + 1 not in rules]


def row_of(setting: Setting) -> str:
    """A setting's row in the README."""
    default = f"`{setting.default}`" if setting.default else "empty"
    return f"| `{setting.variable}` | {default} | {setting.unit} | {setting.reason} |"


class TestSettings:
    """The table of settings."""

    def test_it_is_that_of_the_code(self) -> None:
        """Every setting, in order, with its default, unit and reason."""
        written = [line for line in section("Settings").splitlines() if line.startswith("| `")]
        assert written == [row_of(setting) for setting in SETTINGS.values()]

    def test_none_is_named_that_is_not_there(self) -> None:
        """Every word in capitals that looks like a setting is one."""
        known = {setting.variable for setting in SETTINGS.values()}
        named = set(re.findall(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b", "".join(map(read, DOCUMENTS))))
        assert named - known == set()


class TestPaths:
    """Files and modules that the documents name exist."""

    @pytest.mark.parametrize("document", DOCUMENTS)
    def test_files_and_folders(self, document: str) -> None:
        """Those that a document names, and those that it links to."""
        text = read(document)
        named = set(PATH.findall(text))
        linked = {str((ROOT / document).parent.joinpath(path).relative_to(ROOT)) for path in LINK.findall(text)}
        assert sorted(path for path in named | linked if not (ROOT / path).exists()) == []

    def test_modules(self) -> None:
        """Those after `python -m`."""
        named = set(re.findall(r"-m ([a-z_.]+[a-z])", "".join(map(read, DOCUMENTS))))
        assert named
        paths = {name: ROOT / name.replace(".", "/") for name in named}
        runnable = {
            name for name, path in paths.items() if (path / "__main__.py").exists() or path.with_suffix(".py").exists()
        }
        assert named - runnable == set()

    def test_a_wrong_path_would_be_found(self) -> None:
        """The check finds paths."""
        assert PATH.findall("see `server/nowhere.py`, ./tools/walk and NOTES.md") == [
            *("server/nowhere.py", "tools/walk", "NOTES.md"),
        ]


class TestCommands:
    """Commands in the documents."""

    @pytest.mark.slow
    def test_options(self) -> None:
        """Each option named beside a tool is in the tool's help."""
        text = "".join(map(read, DOCUMENTS))
        named = {(program, option) for program, rest in COMMAND.findall(text) for option in OPTION.findall(rest)}
        for row in re.findall(r"^\|.*", text, re.MULTILINE):  # options in a tool's row stand without its name
            programs = set(re.findall(r"tools/[a-z_]+", row.split("|")[1]))
            named |= {(program, option) for program in programs for option in OPTION.findall(row)}
        assert {program for program, _ in named} >= {"tools/run", "tools/test", "tools/dump_ring", "tools/bench"}
        known = {program: self.options_of(program) for program, _ in named}
        assert [f"{program} {option}" for program, option in sorted(named) if option not in known[program]] == []
        assert len(named) >= 10

    @staticmethod
    def options_of(program: str) -> set[str]:
        """All options in the help of a program or one of its commands."""
        shown = subprocess.run([ROOT / program, "--help"], capture_output=True, text=True, check=True).stdout
        commands = re.findall(r"^    ([a-z]+)  ", shown, re.MULTILINE)
        pages = [[ROOT / program, command, "--help"] for command in commands]
        return set(OPTION.findall(shown)).union(
            *(OPTION.findall(subprocess.run(page, capture_output=True, text=True, check=True).stdout) for page in pages)
        )

    def test_services_and_project(self) -> None:
        """The names in Docker's commands exist."""
        services = set(re.findall(r"^  ([a-z0-9]+):$", read("docker-compose.yml"), re.MULTILINE))
        named = re.findall(r"docker compose (?:exec|kill -s USR2|up -d --no-deps --build) (\w+)", OPERATING)
        named += re.findall(r"--entrypoint python (\w+)", OPERATING)
        assert set(named) == {"redis", "haproxy", "app1"} <= services
        assert f"docker compose -p {PROJECT} down" in OPERATING

    def test_the_first_payment(self) -> None:
        """The body in the first example is a valid payment."""
        command = next(line for line in README.splitlines() if "localhost:9999/payments -H" in line)
        assert shlex.split(command)[-1] == '{"correlationId":"$id","amount":19.90}'


class TestApi:
    """The table of requests and answers."""

    def test_every_route(self) -> None:
        """The table has the application's routes, and no others."""
        app = build_app(FakeGate(), FakeTotals(), amount_cents_max=1, purge_enabled=True)
        routes = {
            (method, re.sub("{.*}", "{correlationId}", route.path).replace("correlation_id", "correlationId"))
            for route in app.routes
            if isinstance(route, Route)
            for method in route.methods or ()
            if method != "HEAD"
        }
        assert set(re.findall(r"\| `(GET|POST) ([\w/{}-]+)", section("API"))) == routes

    def test_every_state(self) -> None:
        """The README names every state of a payment."""
        states = {state.name.lower() for state in State if state is not State.FREE} | {"accepted"}
        line = next(line for line in section("API").splitlines() if line.startswith("States:"))
        assert states <= set(re.findall(r"`([a-z]+)`", line))

    def test_contest_limits(self) -> None:
        """The limits in the compose file add up to what the README says."""
        limits = re.findall(r'cpus: "([0-9.]+)", memory: ([0-9]+)MB', read("docker-compose.yml"))
        app, *others = limits
        together = [app, app, *others]
        cpus, memory = sum(float(cpu) for cpu, _ in together), sum(int(megabytes) for _, megabytes in together)
        assert (f"{cpus:.2f}", memory) == WHOLE_LIMITS
        assert "1.5 CPU and 350 MB" in README


class TestSentences:
    """Messages of the gateway and its tools that docs/operating.md quotes."""

    def test_each_is_said_somewhere(self) -> None:
        """The parts between the dots are in the sources."""
        texts = [
            path.read_text(encoding="utf-8")
            for name in ("server", "shm", "tools")
            for path in (ROOT / name).rglob("*.py")
        ]
        texts.append(read("haproxy/haproxy.cfg"))
        said = re.sub(r'"\n\s*f?"', "", "\n".join(texts))
        quoted = [re.findall("`([^`]+)`", row[0]) for row in rows(section("When something is in the way", OPERATING))]
        sentences = [
            sentence for row in quoted for sentence in row if " " in sentence and not sentence.startswith("./")
        ]
        assert len(sentences) > 8
        parts = [part.strip() for sentence in sentences for part in sentence.split("…") if part.strip()]
        assert [part for part in parts if part not in said] == []


class TestChangelog:
    """CHANGELOG.md."""

    def test_the_newest_version_is_the_projects(self) -> None:
        """Every release is described."""
        version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
        versions = re.findall(r"^## \[(.+?)\]", read("CHANGELOG.md"), re.MULTILINE)
        assert versions[:2] == ["Unreleased", version]

    def test_sections(self) -> None:
        """Only those of Keep a Changelog, in the order that is given at the top of the file."""
        text = read("CHANGELOG.md")
        wanted = re.findall(r"[A-Z][a-z]+", text.split("in this order:")[1].split("\n")[0])
        for version in text.split("\n## ")[1:]:
            titles = re.findall(r"^### (.+)$", version, re.MULTILINE)
            assert titles == [title for title in wanted if title in titles]
