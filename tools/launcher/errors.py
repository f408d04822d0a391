"""How a run can end before its time."""


class LaunchError(Exception):
    """The run can't begin or go on; the sentence says why and what helps."""


class Stop(Exception):
    """Somebody wants the run to end: Ctrl-C, a signal, or nobody reads what it says any more."""
