"""Everything that can go wrong in an instance, and whose fault it is.

* GatewayError
  * ConfigError               the operator's: a setting is missing or wrong; the start stops with exit status 2
  * ListenError               the operator's: a port or socket path can't be had; the start stops with exit status 3
  * ProcessorError            a processor's or the network's: no usable answer to a call
    * ProcessorUnreachable    surely not sent: not one byte of the request left this process
    * OutcomeUnknown          something may have been sent: the processor may have acted on it, or may do so later
  * RequestRefused            the client's: a body, an id or a window that can't be taken, so it is a 400, 413 or 422
  * LookupUnavailable         the machine's: an instance can't be looked at, so the look-up is a 503 with the reason
  * TotalsUnavailable         no one's fault: totals would not be exact, so the summary is a 503 with the reason

The text of the last three is one sentence for the client, the detail of the answer.
Two more errors never go further: `MalformedAnswer` (from connection to transport) and `Refusal` (within retire).
"""

from http import HTTPStatus


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
    """At least one byte may have left, and no clear answer came back: the processor may have acted on the call."""


class RequestRefused(GatewayError):
    """What a request contains can't be taken. The client has to correct it: the same again is refused again."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        """Keeps the answer's status; the text is the detail.

        Args:
            status: 400, 413 or 422; the parsers say which for what.
            detail: what is wrong.
        """
        super().__init__(detail)
        self.status = status


class LookupUnavailable(GatewayError):
    """A payment was not found, and not every instance that may have it could be looked at."""


class TotalsUnavailable(GatewayError):
    """The totals of all instances cannot be told exactly just now."""
