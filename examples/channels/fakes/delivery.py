"""Webhook calls as a vendor makes them: an answer is awaited for three seconds, and what failed is sent again."""

import http.client
import threading
import time
from urllib.parse import urlsplit

# Slack's limit. Meta names none, and is answered by the same code.
PATIENCE = 3


def call(url: str, method: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
    """Makes one call; returns the status and the text. OSError or HTTPException: no answer in time, or none at all."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)
    begin = time.monotonic()
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body, headers)
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    if time.monotonic() - begin > PATIENCE:
        raise TimeoutError("the acknowledgement came too late")
    return response.status, text


class Redelivery:
    """One delivery with its redeliveries, and what came of each."""

    def __init__(self, url: str, body: bytes, signed, pauses: list[float], lose: int = 0):
        """`signed` makes the headers, of how many tries there were and why the last one failed.

        `pauses`: seconds before each redelivery. `lose`: how many acknowledgements get lost on their way.
        """
        self.url, self.body, self.signed, self.pauses, self.lose = url, body, signed, pauses, lose
        self.outcomes: list[int | str] = []

    def run(self) -> list[int | str]:
        """Delivers until it is acknowledged, or no more."""
        for count in range(len(self.pauses) + 1):
            if count:
                time.sleep(self.pauses[count - 1])
            self.outcomes.append(self._deliver(count))
            if self.outcomes[-1] == 200:
                break
        return self.outcomes

    def start(self) -> threading.Thread:
        """Delivers beside whatever goes on."""
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        return thread

    def _deliver(self, count: int) -> int | str:
        try:
            status, _ = call(self.url, "POST", self.signed(count, self._why()), self.body)
            return "lost" if count < self.lose else status
        except TimeoutError:
            return "late"
        except (OSError, http.client.HTTPException):
            return "unreachable"

    def _why(self) -> str:
        last = self.outcomes[-1] if self.outcomes else ""
        names = {"late": "http_timeout", "lost": "http_timeout", "unreachable": "connection_failed"}
        return names.get(last, "http_error")
