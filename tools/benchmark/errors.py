"""Errors of the bench. The message of each is shown to the user.

BenchError
  OptionError         an option on the command line can't be followed
  ScenarioError       the scenario file, or an option that changes it, makes no sense
  EndpointError       the gateway or a processor gave no answer or an unexpected one
  DockerError         docker or compose is missing, or refused
  GeneratorError      the load generator (k6, or the bench's own) is missing, could not start, or gave up
UnreadError           nobody reads the output any more
UnwrittenError        the output can't be written
"""


class BenchError(Exception):
    """Something outside the measurement went wrong; never raised itself. Its message is shown, without a traceback."""


class OptionError(BenchError):
    """An option can't be used, or not now: the message says what to do instead."""


class ScenarioError(BenchError):
    """A scenario can't be run: the message names the member and what it must be."""


class EndpointError(BenchError):
    """The gateway or a processor is unreachable, or its answer breaks its contract."""


class DockerError(BenchError):
    """The docker command is missing or failed; the message has the end of its output."""


class GeneratorError(BenchError):
    """The load generator is missing or ended before the load was over."""


class UnreadError(Exception):
    """The reader of the output has gone, as in `bench preview | head`; never shown."""


class UnwrittenError(Exception):
    """The output can't be written, as on a full disk; told on stderr. No BenchError: those go to the output."""
