"""The webhooks: check, write down, acknowledge. Nothing here waits for a model."""

import logging
import sqlite3
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from .channel import Channel, Delivery
from .inbox import Inbox

# WhatsApp's deliveries have at most 3 MiB, Slack's less.
LARGEST = 3 << 20


def serve(address: tuple[str, int], channels: list[Channel], inbox: Inbox) -> ThreadingHTTPServer:
    """Listens for what these channels deliver."""
    by_path = {channel.path: channel for channel in channels}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Of a caller that says nothing more, in seconds.
        timeout = 10

        def do_GET(self):
            url = urlsplit(self.path)
            channel = by_path.get(url.path)
            self._answer(channel.verify(dict(parse_qsl(url.query))) if channel else Delivery(404))

        def do_POST(self):
            channel = by_path.get(urlsplit(self.path).path)
            length = self.headers.get("content-length", "")
            if channel is None or not length.isdecimal() or int(length) > LARGEST:
                # Its body was not read: nothing that follows on this connection would make sense.
                self.close_connection = True
                return self._answer(Delivery(413 if channel else 404))
            self._answer(receive(channel, self.headers, self.rfile.read(int(length)), inbox))

        def _answer(self, delivery: Delivery):
            body = delivery.text.encode()
            self.send_response(delivery.status)
            self.send_header("content-type", "text/plain; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            try:
                self.end_headers()
                self.wfile.write(body)
            except ConnectionError:
                # It waited for too long, and delivers again.
                self.close_connection = True

        def log_message(self, format, *values):
            logging.debug(format, *values)

    return ThreadingHTTPServer(address, Handler)


def receive(channel: Channel, headers, body: bytes, inbox: Inbox) -> Delivery:
    """Takes a delivery. A 200 says that its messages are on disk; after anything else the channel delivers again."""
    try:
        delivery = channel.receive(headers, body)
        if delivery.messages:
            inbox.keep(delivery.messages)
        return delivery
    except sqlite3.Error as error:
        logging.error("%s: a delivery was not kept: %s", channel.name, error)
        return Delivery(503)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # Signed, and not what the vendor's pages say. It would be the same the next time.
        logging.error("%s: a delivery was not understood: %r", channel.name, error)
        return Delivery(200)
