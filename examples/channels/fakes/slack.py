"""Slack, as far as a bot that is written to directly meets it.

Shapes and rules: https://docs.slack.dev/apis/events-api, https://docs.slack.dev/reference/methods/chat.postMessage.
"""

import hashlib
import hmac
import json
import time
import uuid

from .api import Api
from .delivery import Redelivery, call

TEAM = "T043DB835ML"


class FakeSlack(Api):
    """A workspace. It calls `events_url`, which is set once it is known."""

    def __init__(self, signing_secret: str, bot_token: str):
        super().__init__(bot_token)
        self.signing_secret, self.events_url = signing_secret.encode(), ""
        self.echoes = []

    def headers(self, body: bytes, count: int = 0, why: str = "", at: float | None = None) -> dict[str, str]:
        """Signs a call, and says which redelivery it is."""
        at = str(int(at or time.time()))
        digest = hmac.new(self.signing_secret, f"v0:{at}:".encode() + body, hashlib.sha256).hexdigest()
        headers = {"content-type": "application/json", "x-slack-request-timestamp": at, "x-slack-signature": f"v0={digest}"}
        if count:
            headers |= {"x-slack-retry-num": str(count), "x-slack-retry-reason": why}
        return headers

    def verify_url(self) -> None:
        """Does what happens when the URL is entered: the challenge has to come back."""
        body = json.dumps({"token": "t", "challenge": "3eZbrw1aBm2rZgRNFdxV2595", "type": "url_verification"}).encode()
        status, text = call(self.events_url, "POST", self.headers(body), body)
        assert (status, text) == (200, "3eZbrw1aBm2rZgRNFdxV2595"), (status, text)

    def event(self, user: str, text: str, **more: object) -> bytes:
        """Makes the event of a direct message."""
        ts = f"{time.time():.6f}"
        event = {"type": "message", "channel_type": "im", "channel": f"D{user}", "user": user, "ts": ts, "event_ts": ts}
        outer = {"token": "t", "team_id": TEAM, "api_app_id": "A1", "type": "event_callback"}
        outer["event_id"] = f"Ev{uuid.uuid4().hex[:10].upper()}"
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return json.dumps(outer | {"event_time": int(time.time()), "event": event | {"text": text} | more}).encode()

    def delivery(self, event: bytes, lose: int = 0) -> Redelivery:
        """Of an event: at once again if that fails, after a minute and after five; both are shorter here."""
        return Redelivery(self.events_url, event, lambda *tries: self.headers(event, *tries), [0, 1, 3], lose)

    def say(self, user: str, text: str) -> list[int | str]:
        """Delivers what a user writes to the bot."""
        return self.delivery(self.event(user, text)).run()

    def said_to(self, user: str, count: int) -> list[str]:
        """Waits until the bot has written to a user so often; returns what."""
        channel = f"D{user}"
        posts = self.wait_for(lambda posts: sum(to == channel for to, _ in posts) >= count)
        return [text for to, text in posts if to == channel]

    def judge(self, path: str, content_type: str, body: dict) -> str | None:
        if path != "/chat.postMessage":
            return "unknown_method"
        if content_type != "application/json; charset=utf-8":
            return "missing_charset"
        if unknown := set(body) - {"channel", "text", "thread_ts"}:
            return f"invalid_arguments {unknown}"
        if not body["channel"].startswith("DU"):
            return "channel_not_found"
        if not body["text"]:
            return "no_text"
        return "msg_too_long" if len(body["text"]) > 40_000 else None

    def take(self, body: dict) -> dict:
        plain = body["text"].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        self.posts.append((body["channel"], plain))
        # What a bot writes comes back to it as an event.
        echo = self.event("U0BOT", plain, channel=body["channel"], bot_id="B1")
        self.echoes.append(self.delivery(echo).start())
        return {"ok": True, "channel": body["channel"], "ts": f"{time.time():.6f}"}
