"""The gateway's answers when something is wrong, as RFC 9457 problems; and the only table from an `Acceptance` to its
answer.

Programs tell problems apart by their status, people by their `detail`, one sentence. No `type`s are defined, so `type`
is `about:blank` and the title is the status's own name (RFC 9457 section 4.2.1). Problems that never vary are built
once, below.
"""

from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Final

import orjson

from server.answers import JSON, Answer
from server.payments import Acceptance

PROBLEM_JSON: Final = b"application/problem+json"

RETRY_AFTER_S: Final = 1
"""After how many seconds to send a request again that failed for now: the smallest value that asks for a pause."""

PROBLEMS_MAX: Final = 256
"""How many problems are cached. The sentences are few, but some quote a position or a reason: this bounds those."""

# RFC 9110's names; http.HTTPStatus has older ones before Python 3.13.
_TITLES: Final = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
}

Headers = tuple[tuple[bytes, bytes], ...]


@lru_cache(maxsize=PROBLEMS_MAX)
def problem(status: int, detail: str, headers: Headers = ()) -> Answer:
    """An RFC 9457 problem.

    Args:
        status: HTTP status code, 4xx or 5xx.
        detail: one sentence for the client: what is wrong and, where it can be told, what would be right.
        headers: further headers, names in lower case.
    """
    code = HTTPStatus(status)
    content = {"type": "about:blank", "title": _TITLES.get(code, code.phrase), "status": int(code), "detail": detail}
    return Answer(code, orjson.dumps(content), content_type=PROBLEM_JSON, headers=headers)


def passing_problem(status: int, detail: str) -> Answer:
    """A problem that passes by itself; `Retry-After` says when to send the request again."""
    return problem(status, detail, ((b"retry-after", b"%d" % RETRY_AFTER_S),))


def method_not_allowed(methods: Iterable[str]) -> Answer:
    """405 with the methods that are allowed at this path, in `Allow` and in the sentence."""
    allowed = ", ".join(sorted(methods))
    return problem(
        HTTPStatus.METHOD_NOT_ALLOWED,
        f"This path does not take that method, only {allowed}.",
        ((b"allow", allowed.encode("ascii")),),
    )


NOT_FOUND: Final = problem(
    HTTPStatus.NOT_FOUND,
    "There is nothing at this path. "
    "This gateway knows /payments, /payments/{id}, /payments-summary, /purge-payments and /health.",
)
PAYMENT_NOT_FOUND: Final = problem(
    HTTPStatus.NOT_FOUND, "No payment with this id was ever accepted here, or it is no longer remembered."
)
LOOK_UPS_LIMITED: Final = passing_problem(
    HTTPStatus.TOO_MANY_REQUESTS, "More payments are being looked up than this gateway allows per second."
)
CONFLICT: Final = problem(
    HTTPStatus.CONFLICT, "A payment with this correlationId and another amount was accepted before; that one stands."
)
FULL: Final = passing_problem(
    HTTPStatus.SERVICE_UNAVAILABLE, "The gateway can't hold more payments at the moment; this one was not taken."
)
NOT_HTTP: Final = problem(
    HTTPStatus.BAD_REQUEST, "This is no HTTP request that can be read.", ((b"connection", b"close"),)
)
UPGRADE: Final = problem(
    HTTPStatus.BAD_REQUEST,
    "A request that asks for another protocol can't have a body here; leave out the header Upgrade.",
    ((b"connection", b"close"),),
)
NOT_JSON: Final = problem(
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "The Content-Type of this request is not JSON; send the header 'Content-Type: application/json', or none.",
    ((b"accept", JSON),),
)
PURGE_OFF: Final = problem(
    HTTPStatus.FORBIDDEN, "Purging is switched off; the gateway must be started with PURGE_ENABLED=1 to allow it."
)
LEAVING: Final = problem(HTTPStatus.NOT_FOUND, "This worker is leaving; send new requests to another one.")
UNEXPECTED: Final = problem(
    HTTPStatus.INTERNAL_SERVER_ERROR, "Something unexpected went wrong in the gateway; its log says what."
)

_ACCEPTED: Final = Answer(HTTPStatus.ACCEPTED)
ANSWER_BY_ACCEPTANCE: Final = {
    Acceptance.ACCEPTED: _ACCEPTED,
    Acceptance.REPEATED: _ACCEPTED,
    Acceptance.CONFLICT: CONFLICT,
    Acceptance.FULL: FULL,
}
