"""The web worker over the raw ASGI interface, where HTTP clients hide what happens: facts about `server/app.py`."""

from uuid import UUID

import pytest
from starlette.applications import Starlette
from starlette.types import Message

from server.app import build_app
from tests.server.fake_gate import FakeGate, FakeTotals, exchange, piece

ID = "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3"
PAYMENT = (UUID(ID).bytes, 1990)
BODY = b'{"correlationId":"%b","amount":19.90}' % ID.encode()


@pytest.fixture
def gate() -> FakeGate:
    """A gate that accepts."""
    return FakeGate()


@pytest.fixture
def app(gate: FakeGate) -> Starlette:
    """The application, with totals of nothing."""
    return build_app(gate, FakeTotals(), amount_cents_max=100_000_000, purge_enabled=False)


class TestTakePayment:
    """POST /payments in pieces, too long, or from a client that leaves."""

    async def test_usual_message_is_taken(self, app: Starlette, gate: FakeGate) -> None:
        """A body that arrives whole is taken with one receive; a message without one is an empty body."""
        sent, left = await exchange(app, [piece(BODY), piece(b"")], headers=[(b"content-type", b"application/json")])
        assert ([message.get("status") for message in sent], len(left), gate.offered) == ([202, None], 1, [PAYMENT])
        sent, _ = await exchange(app, [{"type": "http.request"}])
        assert sent[0]["status"] == 400

    @pytest.mark.parametrize("length", [b"1025", b"0001025", b"9" * 5000])
    async def test_length_announced_is_refused_unread(self, app: Starlette, length: bytes) -> None:
        """A body that is announced as too long is refused before anything of it is asked for."""
        sent, left = await exchange(app, [piece(BODY)], headers=[(b"content-length", length)])
        assert (sent[0]["status"], len(left)) == (413, 1)
        assert (b"connection", b"close") in sent[0]["headers"]

    @pytest.mark.parametrize("length", [b"%d" % len(BODY), b"0" * 5000 + b"%d" % len(BODY)])
    async def test_length_with_zeros_before_it(self, app: Starlette, length: bytes) -> None:
        """It is a number all the same."""
        sent, _ = await exchange(app, [piece(BODY)], headers=[(b"content-length", length)])
        assert sent[0]["status"] == 202

    async def test_pieces_are_joined(self, app: Starlette, gate: FakeGate) -> None:
        """A body that comes in pieces, even empty ones, is the same payment."""
        pieces = [piece(BODY[at : at + 7], more_body=True) for at in range(0, len(BODY), 7)]
        sent, left = await exchange(
            app, [*pieces, {"type": "http.request", "more_body": True}, {"type": "http.request"}]
        )
        assert (sent[0]["status"], left, gate.offered) == (202, [], [PAYMENT])

    async def test_endless_pieces_are_refused(self, app: Starlette, gate: FakeGate) -> None:
        """A chunked body is read up to the first piece that is too much, and the connection ends there."""
        pieces = [piece(b" " * 512, more_body=True)] * 9
        sent, left = await exchange(app, pieces)
        assert (sent[0]["status"], len(left), gate.offered) == (413, 6, [])
        assert dict(sent[0]["headers"])[b"content-type"] == b"application/problem+json"
        assert dict(sent[0]["headers"])[b"connection"] == b"close"

    @pytest.mark.parametrize("headers", [[], [(b"content-length", b"1024")]])
    async def test_longest_body_is_taken(self, app: Starlette, headers: list[tuple[bytes, bytes]]) -> None:
        """Exactly the cap is not too long, in chunks or announced."""
        rest = b" " * (1024 - len(BODY))
        sent, _ = await exchange(app, [piece(BODY, more_body=True), piece(rest)], headers=headers)
        assert sent[0]["status"] == 202

    @pytest.mark.parametrize("pieces", [[], [piece(BODY[:9], more_body=True)], [piece(BODY, more_body=True)]])
    async def test_client_that_leaves_pays_nothing(self, app: Starlette, gate: FakeGate, pieces: list[Message]) -> None:
        """Who hangs up before the body's end is not answered and has paid nothing, even if it could be read."""
        sent, _ = await exchange(app, [*pieces, {"type": "http.disconnect"}])
        assert (sent, gate.offered) == ([], [])


class TestErrorLayer:
    """What is not an HTTP request."""

    async def test_lifespan_is_served(self, app: Starlette) -> None:
        """A server's start and stop are acknowledged."""
        sent, _ = await exchange(app, [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}], type="lifespan")
        assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    async def test_other_protocols_fail_aloud(self, app: Starlette) -> None:
        """What is not HTTP gets no HTTP answer."""
        with pytest.raises(IndexError):
            await exchange(app, [], type="lifespan")

    @pytest.mark.parametrize(
        ("headers", "is_refused"),
        [
            ({b"connection": b"keep-alive, Upgrade", b"upgrade": b"h2c", b"content-length": b"%d" % len(BODY)}, True),
            ({b"connection": b"upgrade", b"upgrade": b"h2c", b"transfer-encoding": b"chunked"}, True),
            ({b"connection": b"upgrade", b"upgrade": b"h2c", b"content-length": b"0"}, False),
            ({b"connection": b"upgrade", b"upgrade": b"h2c"}, False),
            ({b"connection": b"upgrade", b"content-length": b"%d" % len(BODY)}, False),
            ({b"x": b"upgrade", b"upgrade": b"h2c", b"content-length": b"%d" % len(BODY)}, False),
        ],
    )
    async def test_upgrade_with_a_body(
        self, app: Starlette, gate: FakeGate, headers: dict[bytes, bytes], *, is_refused: bool
    ) -> None:
        """It is refused in one answer and pays nothing; what asks for no other protocol, or has no body, is not it."""
        sent, _ = await exchange(app, [piece(BODY)], headers=[*headers.items()])
        assert [message.get("status") for message in sent] == [400 if is_refused else 202, None]
        assert gate.offered == ([] if is_refused else [PAYMENT])
