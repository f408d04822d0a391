"""Tests of tools/launcher/errors.py."""

from tools.launcher.errors import LaunchError, Stop


class TestErrors:
    """The two ends of a run that has not gone its way."""

    def test_a_wish_to_stop_is_no_failure(self) -> None:
        """Whoever handles the one does not catch the other."""
        assert not issubclass(Stop, LaunchError)
        assert not issubclass(LaunchError, Stop)
