"""WhatsApp's Cloud API, as far as a business that is written to meets it.

Shapes: https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages and
https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/text-messages.
"""

import base64
import hashlib
import hmac
import json
import time
import uuid
from urllib.parse import urlencode

from .api import Api
from .delivery import Redelivery, call


class FakeWhatsApp(Api):
    """A business account with one number. It calls `webhook`, which is set once it is known."""

    def __init__(self, app_secret: str, verify_token: str, token: str, phone_number_id: str):
        super().__init__(token)
        self.app_secret, self.verify_token, self.phone_number_id = app_secret.encode(), verify_token, phone_number_id
        self.webhook, self.statuses = "", []

    def headers(self, body: bytes) -> dict[str, str]:
        digest = hmac.new(self.app_secret, body, hashlib.sha256).hexdigest()
        return {"content-type": "application/json", "x-hub-signature-256": f"sha256={digest}"}

    def verify_subscription(self, token: str) -> tuple[int, str]:
        """Does what happens when the webhook is entered."""
        query = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": token}
        return call(f"{self.webhook}?{urlencode(query)}", "GET", {}, b"")

    def text(self, sender: str, body: str, at: int) -> dict:
        """Makes a message; `at` in Unix seconds, finer is no message's time."""
        id = made_id()
        return {"from": sender, "id": id, "timestamp": str(at), "type": "text", "text": {"body": body}}

    def delivery(self, messages: list[dict]) -> bytes:
        """Packs messages, beside all that has become of the business's own since, as they come: newest first."""
        statuses, self.statuses = self.statuses[::-1], []
        value = {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "15550783881", "phone_number_id": self.phone_number_id},
            "contacts": [{"profile": {"name": "Somebody"}, "wa_id": message["from"]} for message in messages],
            "messages": messages,
            "statuses": statuses,
        }
        change = {"value": {name: part for name, part in value.items() if part}, "field": "messages"}
        return json.dumps({"object": "whatsapp_business_account", "entry": [{"id": "1022", "changes": [change]}]}).encode()

    def deliver(self, messages: list[dict], lose: int = 0) -> list[int | str]:
        """Delivers messages, and again with growing pauses; here they are short."""
        body = self.delivery(messages)
        return Redelivery(self.webhook, body, lambda *_: self.headers(body), [0, 1, 3], lose).run()

    def say(self, sender: str, text: str) -> list[int | str]:
        """Delivers what somebody writes to the business."""
        return self.deliver([self.text(sender, text, int(time.time()))])

    def said_to(self, sender: str, count: int) -> list[str]:
        """Waits until the business has written to somebody so often; returns what."""
        posts = self.wait_for(lambda posts: sum(to == sender for to, _ in posts) >= count)
        return [text for to, text in posts if to == sender]

    def judge(self, path: str, content_type: str, body: dict) -> str | None:
        if path != f"/{self.phone_number_id}/messages":
            return "unsupported post request"
        if not content_type.startswith("application/json"):
            return "not JSON"
        given = {name: body.get(name) for name in ("messaging_product", "recipient_type", "type")}
        if given != {"messaging_product": "whatsapp", "recipient_type": "individual", "type": "text"}:
            return f"invalid parameter: {given}"
        if unknown := set(body) - {*given, "to", "text"}:
            return f"invalid parameter: {unknown}"
        if not body["to"].isdecimal():
            return "invalid parameter: to"
        return None if 1 <= len(body["text"]["body"]) <= 4096 else "invalid parameter: text.body"

    def take(self, body: dict) -> dict:
        self.posts.append((body["to"], body["text"]["body"]))
        id = made_id()
        for status in ("sent", "delivered", "read"):
            self.statuses.append({"id": id, "status": status, "timestamp": str(int(time.time())), "recipient_id": body["to"]})
        contact = {"input": body["to"], "wa_id": body["to"]}
        return {"messaging_product": "whatsapp", "contacts": [contact], "messages": [{"id": id}]}


def made_id() -> str:
    """Makes the id of a message. The real ones are as long."""
    return f"wamid.{base64.b64encode(uuid.uuid4().hex[:31].encode()).decode()}"
