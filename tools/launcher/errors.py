"""What can go wrong with a run."""


class LaunchError(Exception):
    """The run can't begin or go on; the sentence says why and what helps."""
