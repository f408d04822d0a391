"""What holds for all tests: how Hypothesis looks for counter-examples, and the option `--no-skips`.

Which tests run is a matter of markers (`slow`, `containers`, see pyproject.toml) and of `./tools/test`.
"""

from collections.abc import Generator

import pytest
from hypothesis import settings

# No deadline: a busy machine makes an example slow, not wrong. The blob printed with a failure replays it anywhere.
settings.register_profile("project", deadline=None, print_blob=True)
settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--no-skips`, for machines where nothing may be missing: a test that does not run tells nothing."""
    parser.addoption("--no-skips", action="store_true", help="a test that would be skipped fails")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Makes a failure of a skip, if that was asked for. (A failure that is expected is reported as one, too.)"""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("no_skips"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was not to be skipped: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a file that skips itself."""
    report = yield
    if report.skipped and collector.config.getoption("no_skips"):
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was not to be skipped: {report.longrepr}"
    return report
