"""Slack: direct messages of the Events API in, `chat.postMessage` out.

Events: https://docs.slack.dev/apis/events-api. Signatures:
https://docs.slack.dev/authentication/verifying-requests-from-slack. Posting:
https://docs.slack.dev/reference/methods/chat.postMessage.
"""

import hashlib
import hmac
import json
import time

from .channel import Delivery, Headers, PostFailed, post_json
from .inbox import Message

# Of the time in a signature: an older request may be one that somebody has listened to.
TOLERANCE = 5 * 60


class Slack:
    name, path, longest = "slack", "/slack/events", 4000

    def __init__(self, signing_secret: str, bot_token: str, api: str = "https://slack.com/api"):
        self.signing_secret, self.bot_token, self.api = signing_secret.encode(), bot_token, api

    def verify(self, query: dict[str, str]) -> Delivery:
        return Delivery(405)

    def receive(self, headers: Headers, body: bytes) -> Delivery:
        if not self._is_signed(headers, body):
            return Delivery(401)
        outer = json.loads(body)
        if outer["type"] == "url_verification":
            return Delivery(200, outer["challenge"])
        event = outer.get("event", {})
        # What has a subtype is an edit, a deletion, a file; what has a bot id may be our own reply.
        is_said = event.get("type") == "message" and event.get("channel_type") == "im"
        if not is_said or "subtype" in event or "bot_id" in event:
            return Delivery(200)
        # Users are unique in their workspace. Slack writes &, < and > as HTML does.
        person = f"{outer['team_id']}:{event['user']}"
        text = event["text"].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        return Delivery(200, "", [Message(self.name, outer["event_id"], person, event["channel"], text, float(event["ts"]))])

    def post(self, reply_to: str, text: str) -> None:
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        body = {"channel": reply_to, "text": text}
        answer = post_json(f"{self.api}/chat.postMessage", self.bot_token, body)
        if not answer.get("ok"):
            raise PostFailed(str(answer.get("error")))

    def _is_signed(self, headers: Headers, body: bytes) -> bool:
        sent = headers.get("x-slack-request-timestamp", "")
        if not sent.isdecimal() or abs(time.time() - int(sent)) > TOLERANCE:
            return False
        digest = hmac.new(self.signing_secret, b"v0:" + sent.encode() + b":" + body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(f"v0={digest}".encode(), headers.get("x-slack-signature", "").encode())
