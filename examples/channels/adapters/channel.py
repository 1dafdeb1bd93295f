"""What a channel is to the rest: it takes deliveries apart, and posts."""

import http.client
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from email.message import Message as Headers
from typing import Protocol

from .inbox import Message


@dataclass
class Delivery:
    """What came of a webhook call: the answer to it, and the messages that must be kept before it is given."""

    status: int
    text: str = ""
    messages: list[Message] = field(default_factory=list)


class Channel(Protocol):
    name: str
    # Where its webhook is.
    path: str
    # The most characters of one message.
    longest: int

    def verify(self, query: dict[str, str]) -> Delivery:
        """Answers a GET."""

    def receive(self, headers: Headers, body: bytes) -> Delivery:
        """Answers a POST. Malformed JSON may raise ValueError, KeyError or TypeError."""

    def post(self, reply_to: str, text: str) -> None:
        """Posts one message, or raises PostFailed."""


class PostFailed(Exception):
    """A message was not posted, or nobody knows."""

    def __init__(self, what: str, retry_after: float | None = None):
        super().__init__(what)
        self.retry_after = retry_after


def post_json(url: str, token: str, body: dict) -> dict:
    """Posts to a vendor's API and returns its answer."""
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json; charset=utf-8"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        after = error.headers.get("retry-after", "")
        with error:
            told = error.read(1000).decode(errors="replace")
        raise PostFailed(f"{error.code} {told}", float(after) if after.isdigit() else None) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise PostFailed(repr(error)) from error
