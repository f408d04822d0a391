"""Settings for all tests: Hypothesis's profile, and the option `--no-skips`.

Markers (`slow`, `containers`, see pyproject.toml) and `./tools/test` decide which tests run.
"""

from collections.abc import Generator

import pytest
from hypothesis import settings

# No deadline: on a busy machine an example is slow, not wrong. The blob printed with a failure replays it anywhere.
settings.register_profile("project", deadline=None, print_blob=True)
settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--no-skips`, for machines that must run every test."""
    parser.addoption("--no-skips", action="store_true", help="a test that would be skipped fails")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns a skip into a failure with `--no-skips`. (pytest reports an expected failure as a skip; it stays one.)"""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("no_skips"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was not to be skipped: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Does the same for a file that skips itself."""
    report = yield
    if report.skipped and collector.config.getoption("no_skips"):
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was not to be skipped: {report.longrepr}"
    return report
