"""Everything that can go wrong in an instance, and whose fault it is.

* GatewayError
  * ConfigError               the operator's: a setting is missing or wrong; the start stops with exit status 2
  * ListenError               the operator's: a port or socket path can't be had; the start stops with exit status 3
  * ProcessorError            a processor's or the network's: no usable answer to a call
    * ProcessorUnreachable    surely not sent: not one byte of the request left this process
    * OutcomeUnknown          something was sent: the processor may have acted on it, now or later
  * LookupUnavailable         the machine's: an instance can't be looked at, so the look-up is a 503 with the reason
  * TotalsUnavailable         no one's fault: totals would not be exact, so the summary is a 503 with the reason

A client's bad request is not among them: `server/payments.py` and `server/window.py` have a typed refusal for it.
Two errors never leave the files that know them: `MalformedAnswer` (connection to transport), `Refusal` (in retire).
"""


class GatewayError(Exception):
    """Base of all errors of this package; never raised itself."""


class ConfigError(GatewayError):
    """A setting is missing, malformed or contradicts another; the sentence names it and what would be right."""


class ListenError(GatewayError):
    """A port or socket path is in use or can't be used; the sentence says which and what to do."""


class ProcessorError(GatewayError):
    """Base of the errors of a call to a payment processor; never raised itself."""


class ProcessorUnreachable(ProcessorError):
    """The call was surely not sent: not one byte left, so the processor does not know of it and never will."""


class OutcomeUnknown(ProcessorError):
    """At least one byte may have left and no answer that decides came back: the processor may have acted on it."""


class LookupUnavailable(GatewayError):
    """A payment was not found, and not everyone who may have it could be asked; one sentence for the 503's detail."""


class TotalsUnavailable(GatewayError):
    """The totals of all instances cannot be told exactly just now."""

    def __init__(self, reason: str) -> None:
        """Keeps the reason, one sentence in plain English, for the 503's detail.

        Args:
            reason: why not, as the client is told.
        """
        super().__init__(reason)
        self.reason = reason
