"""Errors of the bench: each is one sentence for the person at the keyboard, if there is one.

BenchError
  OptionError         an option on the command line can't be followed
  ScenarioError       the scenario file, or an option that changes it, makes no sense
  EndpointError       the gateway or a processor did not answer as agreed
  DockerError         docker or compose is missing, or refused
  GeneratorError      the load generator (k6, or the bench's own) is missing, could not start, or gave up
UnreadError           nobody reads what is shown any more
"""


class BenchError(Exception):
    """Something outside the measurement went wrong; never raised itself. Its text is shown, without a traceback."""


class OptionError(BenchError):
    """An option that makes no sense, or not here and now: the message says what to do instead."""


class ScenarioError(BenchError):
    """A scenario that can't be run: the message names the member and what it must be."""


class EndpointError(BenchError):
    """The gateway or a processor is unreachable, or answered otherwise than its contract says."""


class DockerError(BenchError):
    """The docker command is missing or failed; the message carries its last words."""


class GeneratorError(BenchError):
    """The load generator is missing or ended before the load was over."""


class UnreadError(Exception):
    """Whoever read what is shown has gone, as in `bench preview | head`; never shown."""
