"""WhatsApp's Cloud API: texts of the webhook `messages` in, `POST /{phone_number_id}/messages` out.

Webhooks: https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview, what they carry:
https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages. Sending:
https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/text-messages.
"""

import hashlib
import hmac
import json
import logging

from .channel import Delivery, Headers, post_json
from .inbox import Message


class WhatsApp:
    name, path, longest = "whatsapp", "/whatsapp/webhook", 4096

    def __init__(
        self, app_secret: str, verify_token: str, token: str, phone_number_id: str, api: str = "https://graph.facebook.com/v26.0"
    ):
        self.app_secret, self.verify_token, self.token = app_secret.encode(), verify_token.encode(), token
        self.phone_number_id, self.api = phone_number_id, api

    def verify(self, query: dict[str, str]) -> Delivery:
        is_ours = hmac.compare_digest(query.get("hub.verify_token", "").encode(), self.verify_token)
        if query.get("hub.mode") != "subscribe" or not is_ours:
            return Delivery(403)
        return Delivery(200, query.get("hub.challenge", ""))

    def receive(self, headers: Headers, body: bytes) -> Delivery:
        digest = "sha256=" + hmac.new(self.app_secret, body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(digest.encode(), headers.get("x-hub-signature-256", "").encode()):
            return Delivery(401)
        # One delivery has any number of messages and statuses, of any of the business's numbers.
        changes = [change for entry in json.loads(body)["entry"] for change in entry["changes"]]
        values = [change["value"] for change in changes if change["field"] == "messages"]
        ours = [value for value in values if value["metadata"]["phone_number_id"] == self.phone_number_id]
        for status in (status for value in ours for status in value.get("statuses", [])):
            if status["status"] == "failed":
                logging.warning("whatsapp did not deliver %s: %s", status["id"], status.get("errors"))
        texts = [message for value in ours for message in value.get("messages", []) if message["type"] == "text"]
        return Delivery(200, "", [self._message(text) for text in texts])

    def post(self, reply_to: str, text: str) -> None:
        body = {"messaging_product": "whatsapp", "recipient_type": "individual", "to": reply_to}
        body |= {"type": "text", "text": {"body": text}}
        post_json(f"{self.api}/{self.phone_number_id}/messages", self.token, body)

    def _message(self, text: dict) -> Message:
        sender = text["from"]
        return Message(self.name, text["id"], sender, sender, text["text"]["body"], float(text["timestamp"]))
