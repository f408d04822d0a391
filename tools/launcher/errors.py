"""The errors that end a run early."""


class LaunchError(Exception):
    """The run can't begin or go on; the message says why and what to do."""


class Stop(Exception):
    """The run is to end: Ctrl-C, another signal, or nobody reads its output any more."""
