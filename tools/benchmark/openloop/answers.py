"""Bytes from a connection to whole answers, with httptools' parser. Pure."""

from typing import NamedTuple

import httptools

BODY_BYTES_MAX = 65_536


class Answer(NamedTuple):
    """One whole HTTP answer; `keeps` says whether the connection may be used again."""

    status: int
    body: bytes
    keeps: bool


class BrokenAnswer(Exception):
    """The bytes are no HTTP answer, are too long, or are more than one answer."""


class AnswerReader:
    """Reads one answer after the other from one connection."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self._whole: Answer | None = None

    def feed(self, data: bytes) -> Answer | None:
        """Parses bytes; returns the answer once it is complete. Raises BrokenAnswer."""
        self._whole = None
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise BrokenAnswer(str(error)) from error
        if len(self._body) > BODY_BYTES_MAX:
            raise BrokenAnswer(f"a body of over {BODY_BYTES_MAX} bytes")
        return self._whole

    def on_message_begin(self) -> None:
        """Begins an answer (called by the parser, as the next two are)."""
        if self._whole is not None:
            raise BrokenAnswer("two answers to one request")
        self._body = b""

    def on_body(self, body: bytes) -> None:
        """Takes in the body or a piece of it."""
        self._body += body

    def on_message_complete(self) -> None:
        """Keeps the complete answer for `feed`."""
        parser = self._parser
        self._whole = Answer(parser.get_status_code(), self._body, parser.should_keep_alive())
        self._body = b""
