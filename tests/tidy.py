"""Checks of the code's structure: each is a function from sources to messages about what is wrong.

`test_tidy.py` applies them to the project, and tests each of them on a few made-up lines.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import PurePosixPath
from typing import NamedTuple

# Written so that they don't match themselves.
LEFTOVERS = re.compile(r"\b(?:TO[D]O|FIX[M]E|XX[X]|HAC[K]|WI[P])\b")
FOREIGN_WORDS = re.compile(
    r"/(?:wo[r]k|fa[r]m)/|/ro[o]t/|/ho[m]e/\w"  # folders of one machine
    r"|pyp[i]\.org|pythonhoste[d]|debia[n]\.org|npmj[s]\.(?:org|com)"  # registries: users choose their own mirror
    r"|\b(?:sub-?agen[t]|LL[M]|AI assistan[t])s?\b",  # tools the code was typed with
    re.IGNORECASE,
)


@cache
def _parse(text: str) -> ast.Module:
    """Parse a file once for all checks."""
    return ast.parse(text)


class Source(NamedTuple):
    """One Python file: its path from the project's folder, and its text."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        """The parsed text."""
        return _parse(self.text)

    @property
    def package(self) -> str:
        """The first folder of its path."""
        return self.path.split("/")[0]

    @property
    def module(self) -> str:
        """Its dotted name; a package's `__init__.py` has the package's."""
        path = PurePosixPath(self.path)
        return ".".join(path.parent.parts if path.name == "__init__.py" else path.with_suffix("").parts)


class Import(NamedTuple):
    """One imported name: `from module import name`, or `import module` with no name."""

    module: str
    name: str | None
    line: int

    @property
    def package(self) -> str:
        """The outermost package it comes from."""
        return self.module.split(".")[0]


def imports_of(source: Source) -> Iterator[Import]:
    """List what a file imports, at any depth of its code."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, None, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (Import(node.module or "", alias.name, node.lineno) for alias in node.names)


def check_packages(source: Source, allowed: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """Check the direction of imports between the project's packages.

    Args:
        source: the file.
        allowed: by package, all of the project, those it may import beside itself.
    """
    for item in imports_of(source):
        foreign = item.package in allowed and item.package != source.package
        if foreign and item.package not in allowed[source.package]:
            yield f"{source.path}:{item.line}: {source.package} imports {item.package}"


def check_third_parties(source: Source, allowed: Iterable[str], forbidden: Iterable[str]) -> Iterator[str]:
    """Check that a file imports the standard library, itself and `allowed` only, and nothing of `forbidden`."""
    for item in imports_of(source):
        known = item.package in sys.stdlib_module_names or item.package in {source.package, *allowed}
        if not known or item.package in forbidden:
            yield f"{source.path}:{item.line}: {source.package} has no business with {item.package}"


def check_only_users(source: Source, only_users: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """Check that certain packages are imported in certain files only."""
    for item in imports_of(source):
        users = only_users.get(item.package)
        if users is not None and source.path not in users:
            yield f"{source.path}:{item.line}: {item.package} is for {', '.join(sorted(users))} only"


def check_public_names(source: Source, package: str, public: Iterable[str]) -> Iterator[str]:
    """Check that a file of another package uses only what `package` exports, by `from package import name`."""
    for item in imports_of(source):
        if item.package != package or source.package == package:
            continue
        if item.module != package or item.name is None:
            yield f"{source.path}:{item.line}: write `from {package} import …`, not {item.module}"
        elif item.name not in public:
            yield f"{source.path}:{item.line}: {package} does not export {item.name}"


def check_layers(sources: Sequence[Source], package: str, layers: Sequence[Sequence[str]]) -> Iterator[str]:
    """Check that each module of a package imports from lower layers only.

    Args:
        sources: the package's files.
        package: its name.
        layers: module names without the package's, lowest layer first; those of one layer don't import each other.
    """
    height = {f"{package}.{name}": place for place, layer in enumerate(layers) for name in layer}
    height[package] = len(layers)  # __init__ exports everything
    modules = {source.module for source in sources}
    for source in sources:
        if source.module not in height:
            yield f"{source.path}: not in any layer"
            continue
        for item in imports_of(source):
            inner = f"{item.module}.{item.name}" if f"{item.module}.{item.name}" in modules else item.module
            if item.package == package and height.get(inner, len(layers)) >= height[source.module]:
                yield f"{source.path}:{item.line}: {inner} is not below {source.module}"
    for missing in sorted(height.keys() - modules - {package}):
        yield f"{missing}: is in a layer, but not there"


def check_siblings(source: Source, package: str, shared: Iterable[str]) -> Iterator[str]:
    """Check that the sub-packages of a package don't import each other, except its shared modules."""
    parts = source.module.split(".")
    for item in imports_of(source):
        other = f"{item.module}.{item.name or ''}".split(".")
        if len(parts) > 1 and other[0] == package and other[1] not in {"", parts[1], *shared}:
            yield f"{source.path}:{item.line}: tools.{parts[1]} reaches into tools.{other[1]}"


def check_environment(source: Source, readers: Iterable[str]) -> Iterator[str]:
    """Check that only `readers` read the process's environment variables."""
    if source.path in readers:
        return
    names = {"environ", "environb", "getenv", "getenvb", "putenv"}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and node.attr in names and ast.unparse(node.value) == "os":
            yield f"{source.path}:{node.lineno}: reads the environment"
    for item in imports_of(source):
        if item.module == "os" and item.name in names:
            yield f"{source.path}:{item.line}: reads the environment"


def check_function_lengths(source: Source, lines_max: int) -> Iterator[str]:
    """Check that no function, its docstring included, is longer than `lines_max`."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            if lines > lines_max:
                yield f"{source.path}:{node.lineno}: {node.name} has {lines} lines"


def check_file_length(path: str, text: str, lines_max: int) -> Iterator[str]:
    """Check that a file is not longer than `lines_max`."""
    lines = len(text.splitlines())
    if lines > lines_max:
        yield f"{path}: {lines} lines"


def check_docstrings(source: Source) -> Iterator[str]:
    """Check that the file and its public classes, functions and tests, nested or not, have docstrings.

    The first paragraph of each ends like a sentence. Magic methods, overloads, setters (their getter says it) and
    functions within functions are left out.
    """
    yield from _check_docstring(source.path, 1, "the file", ast.get_docstring(source.tree))
    bodies: list[Sequence[ast.stmt]] = [source.tree.body]
    while bodies:
        for node in bodies.pop():
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if isinstance(node, ast.ClassDef):
                bodies.append(node.body)
            decorators = {ast.unparse(each).split(".")[-1] for each in node.decorator_list}
            if not node.name.startswith("_") and not decorators & {"overload", "setter"}:
                yield from _check_docstring(source.path, node.lineno, node.name, ast.get_docstring(node))


def _check_docstring(path: str, line: int, name: str, docstring: str | None) -> Iterator[str]:
    """Check one docstring."""
    if not docstring:
        yield f"{path}:{line}: {name} has no docstring"
    elif not docstring.split("\n\n")[0].rstrip(' \n)`"').endswith((".", "!", "?", ":")):
        yield f"{path}:{line}: {name}'s docstring does not begin with a sentence"


def check_words(path: str, text: str, pattern: re.Pattern[str]) -> Iterator[str]:
    """Check that a text does not match a pattern."""
    for number, line in enumerate(text.splitlines(), 1):
        for match in pattern.finditer(line):
            yield f"{path}:{number}: {match.group()}"


def check_test_files(sources: Iterable[str], others: Iterable[str], tests: Iterable[str]) -> Iterator[str]:
    """Check that each source file has its test file, and each test file its source.

    `server/app.py` is tested by `tests/server/test_app.py`; several aspects may be several files
    (`test_app_limits.py`); a sub-package's may lie beside its folder (`tests/tools/test_score.py` for
    `tools/benchmark/score.py`). An `__init__.py` that only exports has nothing to test.

    Args:
        sources: paths of source files, from the project's folder; each must have a test file.
        others: paths of files that may have one (a `load.js`, a `docker-compose.yml`).
        tests: paths of all files below `tests`.
    """
    required = {path: _places(path) for path in sources if PurePosixPath(path).name != "__init__.py"}
    possible = required | {path: _places(path) for path in others}
    found = [PurePosixPath(test) for test in tests if PurePosixPath(test).name.startswith("test_")]
    for source, (folders, stem) in required.items():
        if not any(_is_test_of(test, folders, stem) for test in found):
            yield f"{source}: no {stem}.py in {' or '.join(sorted(folders))}"
    homes = {folder for folders, _ in required.values() for folder in folders}
    for test in found:
        if str(test.parent) in homes and not any(_is_test_of(test, *places) for places in possible.values()):
            yield f"{test}: tests no source file of that name"


def _places(source: str) -> tuple[set[str], str]:
    """Say in which folders a file's tests may be, and how their names begin."""
    path = PurePosixPath(source)
    folders = {str("tests" / folder) for folder in (path.parent, *path.parent.parents)} - {"tests"}
    return folders, f"test_{path.stem.replace('-', '_')}"


def _is_test_of(test: PurePosixPath, folders: Iterable[str], stem: str) -> bool:
    """Tell whether a test file is in one of the folders, with a source's name or that of an aspect of it."""
    stems = {stem, stem.replace("___main__", "_main")}
    return str(test.parent) in folders and any(test.stem == each or test.stem.startswith(f"{each}_") for each in stems)
