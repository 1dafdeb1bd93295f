"""The mesh, both vendors and the adapters between them, for channels.py."""

import atexit
import os
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import grpc
from pointsman.sessions.v1.session_service_pb2 import ListTurnsRequest, ResolveSessionRequest
from pointsman.sessions.v1.session_service_pb2_grpc import SessionServiceStub

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/channels"
sys.path.insert(0, str(EXAMPLE))
from fakes.settings import connect, environment, vendors  # noqa: E402

SECONDS = 60


class Town:
    """The mesh, both vendors, and the adapters between them."""

    def __init__(self, mesh: str, folder: str, window: float):
        self.mesh, self.folder, self.window = mesh, Path(folder), window
        self.sessions = SessionServiceStub(grpc.insecure_channel(mesh))
        self.slack, self.whatsapp = vendors()
        self.start()

    def start(self) -> None:
        """Starts the adapters; the inbox is that of the last time."""
        options = ["--mesh", self.mesh, "--model", "simulated", "--port", "0", "--window", str(self.window)]
        command = [sys.executable, "-m", "adapters", *options, "--inbox", str(self.folder / "inbox.db")]
        variables = os.environ | environment(self.slack, self.whatsapp)
        self.adapters = subprocess.Popen(command, cwd=EXAMPLE, env=variables, stdout=subprocess.PIPE, text=True)
        atexit.register(self.adapters.kill)
        connect(self.adapters.stdout.readline(), self.slack, self.whatsapp)

    def kill(self) -> None:
        self.adapters.kill()
        self.adapters.wait()

    def signal(self, number: int) -> None:
        self.adapters.send_signal(number)

    def inbox(self, sql: str = "SELECT count(*) FROM message WHERE done_at IS NULL") -> int:
        with sqlite3.connect(self.folder / "inbox.db") as file:
            return file.execute(sql).fetchone()[0]

    def session_of(self, channel: str, person: str) -> str:
        return self.sessions.ResolveSession(ResolveSessionRequest(channel=channel, external_user=person)).session.name

    def turns(self, session: str) -> list:
        turns = list(self.sessions.ListTurns(ListTurnsRequest(name=session)).turns)
        assert [turn.revision for turn in turns] == list(range(1, len(turns) + 1)), turns
        return turns

    def end(self) -> None:
        """Fails if anything is left to be done, or was done that no vendor would take."""
        eventually("everything is done", lambda: self.inbox() == 0)
        for echo in self.slack.echoes:
            echo.join()
        assert not self.slack.violations and not self.whatsapp.violations, (self.slack.violations, self.whatsapp.violations)
        assert self.inbox("SELECT count(*) FROM message WHERE text != ''") == 0, "texts are kept longer than they are needed"
        self.kill()


def eventually(what: str, holds) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)


def running(operator: str) -> int:
    """How many requests generate."""
    with urllib.request.urlopen(f"{operator}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(line.split()[-1]) for line in lines if line.startswith("pointsman_worker_running_requests"))


def said(turn) -> str:
    return "".join(part.text for message in turn.input for part in message.parts)


def answered(turn) -> str:
    return "".join(part.text for part in turn.output.parts)
