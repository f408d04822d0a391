"""RFC 9457 problems: facts about `server/problems.py`."""

import json

import pytest

from server import problems
from server.answers import Answer
from server.payments import Acceptance
from server.problems import PROBLEMS_MAX, method_not_allowed, passing_problem, problem

READY = {name: value for name, value in vars(problems).items() if isinstance(value, Answer) and name[0] != "_"}


def headers_of(answer: Answer) -> dict[bytes, bytes]:
    """An answer's headers, each of which may be there once."""
    headers = answer.start["headers"]
    assert len(dict(headers)) == len(headers)
    return dict(headers)


class TestProblem:
    """RFC 9457 problems."""

    def test_is_problem_json(self) -> None:
        """Status, title and detail are in the body, the type is RFC 9457's."""
        answer = problem(422, "Said so.")
        assert answer.start["status"] == 422
        assert headers_of(answer)[b"content-type"] == b"application/problem+json"
        assert headers_of(answer)[b"content-length"] == b"%d" % len(answer.body["body"])
        assert json.loads(answer.body["body"]) == {
            "type": "about:blank",
            "title": "Unprocessable Content",
            "status": 422,
            "detail": "Said so.",
        }

    def test_title_is_the_status(self) -> None:
        """Other statuses have the name that RFC 9110 gives them."""
        titles = [json.loads(problem(status, "").body["body"])["title"] for status in (400, 413, 429, 503)]
        assert titles == ["Bad Request", "Content Too Large", "Too Many Requests", "Service Unavailable"]

    def test_is_built_once(self) -> None:
        """The same problem is the same object, and not more than a bounded number is kept."""
        assert problem(400, "Once.") is problem(400, "Once.")
        for number in range(2 * PROBLEMS_MAX):
            problem(400, f"Number {number}.")
        assert problem.cache_info().currsize == PROBLEMS_MAX

    def test_try_again_says_when(self) -> None:
        """What passes by itself says when to try again, in whole seconds."""
        assert headers_of(passing_problem(503, "Later."))[b"retry-after"] == b"1"

    def test_method_not_allowed_says_which_are(self) -> None:
        """A 405 lists what is allowed, in a fixed order."""
        answer = method_not_allowed({"HEAD", "GET"})
        assert (answer.start["status"], headers_of(answer)[b"allow"]) == (405, b"GET, HEAD")
        assert "GET, HEAD" in json.loads(answer.body["body"])["detail"]


class TestReadyProblems:
    """The constant ones."""

    @pytest.mark.parametrize("name", sorted(READY))
    def test_ends_in_a_sentence(self, name: str) -> None:
        """Each says its status and one sentence."""
        content = json.loads(READY[name].body["body"])
        assert content["status"] == READY[name].start["status"] >= 400
        assert content["detail"].endswith(".")

    def test_every_acceptance_has_an_answer(self) -> None:
        """What is taken is a 202 without a body."""
        assert {acceptance: answer.start["status"] for acceptance, answer in problems.ANSWER_BY_ACCEPTANCE.items()} == {
            Acceptance.ACCEPTED: 202,
            Acceptance.REPEATED: 202,
            Acceptance.CONFLICT: 409,
            Acceptance.FULL: 503,
        }
        assert set(problems.ANSWER_BY_ACCEPTANCE) == set(Acceptance)

    def test_passing_ones_say_when(self) -> None:
        """A full ring and too many look-ups pass, so they have `Retry-After`."""
        passing = {name for name, answer in READY.items() if b"retry-after" in headers_of(answer)}
        assert passing == {"FULL", "LOOK_UPS_LIMITED"}

    def test_ending_ones_say_so(self) -> None:
        """Where nothing more is read on a connection, its client is told that it ends."""
        ending = {name for name, answer in READY.items() if headers_of(answer).get(b"connection") == b"close"}
        assert ending == {"NOT_HTTP", "UPGRADE"}

    def test_unsupported_type_names_the_header(self) -> None:
        """The 415 says which header to send."""
        assert b"Content-Type: application/json" in problems.NOT_JSON.body["body"]
