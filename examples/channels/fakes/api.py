"""What both vendors' APIs have in common: JSON posted with a token, checked strictly, and written down."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Api:
    """A server on a port of its own. A subclass says in `judge` what is wrong with what is posted."""

    def __init__(self, token: str):
        self.token = token
        # (to whom, what), as they were posted; and what no client of the real API would have sent.
        self.posts: list[tuple[str, str]] = []
        self.violations: list[str] = []
        # Answers to the next posts, in place of taking them: (status, headers, JSON).
        self.refusals: list[tuple[int, dict[str, str], dict]] = []
        self.changed = threading.Condition()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.api = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def judge(self, path: str, content_type: str, body: dict) -> str | None:
        """Returns what is wrong with a post."""
        raise NotImplementedError

    def take(self, body: dict) -> dict:
        """Takes a post that is right; returns the answer."""
        raise NotImplementedError

    def wait_for(self, what, seconds: float = 60) -> list[tuple[str, str]]:
        """Waits until this holds of the posts, and returns them."""
        with self.changed:
            if not self.changed.wait_for(lambda: what(self.posts), seconds):
                raise AssertionError(f"only these were posted: {self.posts}; violations: {self.violations}")
            return list(self.posts)

    def _handler(self):
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                status, headers, answer = api._post(self.path, self.headers, body)
                encoded = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {"content-length": str(len(encoded)), "content-type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(encoded)

            def log_message(self, *_):
                pass

        return Handler

    def _post(self, path: str, headers, body: bytes) -> tuple[int, dict[str, str], dict]:
        with self.changed:
            if headers.get("authorization") != f"Bearer {self.token}":
                self.violations.append("a wrong token")
                return 401, {}, {"ok": False, "error": "invalid_auth"}
            try:
                parsed = json.loads(body)
                wrong = self.judge(path, headers.get("content-type", ""), parsed)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                wrong = repr(error)
            if wrong:
                self.violations.append(f"{path}: {wrong}")
                return 400, {}, {"ok": False, "error": wrong}
            if self.refusals:
                return self.refusals.pop(0)
            answer = self.take(parsed)
            self.changed.notify_all()
            return 200, {}, answer
