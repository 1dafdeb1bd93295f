"""The page of examples/channels in a real browser: channels_page.py HOST:PORT FOLDER PORT SESSION.

FOLDER has the page as it was built, PORT is where it is served, so that its origin is known to the mesh. SESSION has turns
already. Chromium is driven through chromedriver, by W3C's protocol (https://www.w3.org/TR/webdriver2/).
"""

import functools
import http.server
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import grpc
from pointsman.inference.v1.generate_pb2 import GenerateRequest, SessionReference
from pointsman.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from pointsman.inference.v1.message_pb2 import ROLE_USER, Message, Part
from pointsman.sessions.v1.session_service_pb2 import ListTurnsRequest
from pointsman.sessions.v1.session_service_pb2_grpc import SessionServiceStub

SECONDS = 60
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run --disable-sync"
    " --disable-background-networking --disable-component-update"
).split()
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """Headless Chromium with one page."""

    def __init__(self, folder: str):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{port}/session"
        eventually("chromedriver is ready", lambda: is_open(port))
        options = {"binary": shutil.which("chromium"), "args": [*FLAGS, f"--user-data-dir={folder}"]}
        capabilities = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
        answer = self.ask("", {"capabilities": capabilities})
        self.url += f"/{answer['sessionId']}"

    def ask(self, path: str, body: dict | None = None, method: str = "POST"):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return json.load(answer)["value"]

    def run(self, script: str):
        """Runs a script in the page and returns what it returns."""
        return self.ask("/execute/sync", {"script": script, "args": []})

    def type(self, selector: str, text: str) -> None:
        element = self.ask("/element", {"using": "css selector", "value": selector})[ELEMENT]
        self.ask(f"/element/{element}/value", {"text": text})

    def errors(self) -> list[str]:
        """What the page's console was told of, such as calls that the mesh or CORS refused."""
        return [entry["message"] for entry in self.ask("/se/log", {"type": "browser"}) if entry["level"] == "SEVERE"]

    def end(self) -> None:
        self.ask("", method="DELETE")
        self.driver.terminate()
        self.driver.wait()


def is_open(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def eventually(what: str, holds):
    end = time.monotonic() + SECONDS
    while not (found := holds()):
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)
    return found


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


SHOWN = "return [...document.querySelectorAll('#turns p')].map((p) => [p.dataset.channel ?? 'answer', p.textContent])"
# Notes each text that the last answer has had, as it grows.
WATCH = """
window.seen = [];
new MutationObserver(() => {
  const last = [...document.querySelectorAll('.answer')].at(-1)?.textContent;
  if (last && window.seen.at(-1) !== last) window.seen.push(last);
}).observe(document.getElementById('turns'), { childList: true, subtree: true, characterData: true });
"""
# Of the next turn that is asked for the page gets no answer, though the mesh has made it.
LOSE = """
const real = window.fetch;
window.fetch = async (...call) => {
  if (!String(call[0].url ?? call[0]).endsWith('/GenerateStream')) return real(...call);
  window.fetch = real;
  await (await real(...call)).arrayBuffer();
  throw new TypeError('lost');
};
"""
PROBLEMS = "return ['problem', 'offline'].map((id) => document.getElementById(id).textContent)"
FIELD = "return document.getElementById('text').value"


def main(mesh: str, page: str, port: int, session: str, folder: str) -> None:
    channel = grpc.insecure_channel(mesh)
    inference, sessions = InferenceServiceStub(channel), SessionServiceStub(channel)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Quiet, directory=page))
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def told() -> list[list[str]]:
        """What the mesh has, as the page shows it."""
        lines = []
        for turn in sessions.ListTurns(ListTurnsRequest(name=session)).turns:
            origin = turn.request_id.split(":")[0] if ":" in turn.request_id else "terminal"
            lines += [[origin, part.text] for message in turn.input for part in message.parts]
            lines += [["answer", part.text] for part in turn.output.parts]
        return lines

    browser = Browser(folder)
    try:
        query = f"session={session}&mesh=http://{mesh}&model=simulated"
        browser.ask("/url", {"url": f"http://127.0.0.1:{port}/index.html?{query}"})
        before = told()
        assert {"slack", "whatsapp", "terminal"} <= {origin for origin, _ in before}, before
        eventually("the turns of the other channels are shown", lambda: browser.run(SHOWN) == before)

        browser.run(WATCH)
        typed = "one two three four five six"
        browser.type("#text", f"{typed}\ue007")
        eventually("the turn is kept", lambda: len(told()) == len(before) + 2)
        after = told()
        assert after[:-1] == [*before, ["web", typed]], after
        eventually("the page shows it, and nothing twice", lambda: browser.run(SHOWN) == after)
        seen = [text for text in browser.run("return window.seen") if after[-1][1].startswith(text)]
        assert len(seen) > 2 and seen[-1] == after[-1][1], f"it did not come in pieces: {seen}"

        # The answer is lost on its way, and the page's reader presses the key again.
        browser.run(LOSE)
        browser.type("#text", "again\ue007")
        eventually("it says so", lambda: browser.run("return document.getElementById('problem').textContent"))
        eventually("the turn is kept", lambda: len(told()) == len(after) + 2)
        browser.type("#text", "\ue007")
        eventually("the page shows it once", lambda: browser.run(FIELD) == "" and browser.run(SHOWN) == told())
        assert told()[:-1] == [*after, ["web", "again"]], told()

        said = Message(role=ROLE_USER, parts=[Part(text="meanwhile")])
        reference = SessionReference(session=session)
        turn = GenerateRequest(model="simulated", messages=[said], session=reference, request_id="slack:1")
        inference.Generate(turn, timeout=SECONDS)
        eventually("what others say comes by itself", lambda: browser.run(SHOWN) == told())
        assert browser.run(PROBLEMS) == ["", ""]
        assert not browser.errors(), browser.errors()
    finally:
        browser.end()


# The browser may still write there when it is told to end.
with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], folder)
