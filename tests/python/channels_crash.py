"""The mesh of examples/channels dies in the middle of a turn, and comes back: channels_crash.py pointsman."""

import os
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

from channels_town import Town, answered, eventually, running, said
from fakes.slack import TEAM

# Each word of an answer takes a tenth of a second.
CONFIG = "engine: {simulated: {timing: {step: 100ms}}}\n"
TEXTS = ["one two three four five six seven eight nine ten", "and after that"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def main(pointsman: str, folder: str) -> None:
    # The same ones when it comes back.
    listen, operator = (f"127.0.0.1:{free_port()}" for _ in range(2))
    config = f"{folder}/config.yaml"
    with open(config, "w") as file:
        file.write(CONFIG)

    def start() -> subprocess.Popen:
        command = [pointsman, "up", "--config", config, "--listen", listen, "--operator-listen", operator]
        mesh = subprocess.Popen(command, env=os.environ | {"XDG_STATE_HOME": folder}, stdout=subprocess.DEVNULL)
        eventually("the mesh is ready", is_ready)
        return mesh

    def is_ready() -> bool:
        try:
            return urllib.request.urlopen(f"http://{operator}/readyz").status == 200
        except urllib.error.URLError:
            return False

    mesh = start()
    try:
        town = Town(listen, folder, window=0)
        for text in TEXTS:
            assert town.slack.say("U0ANA", text) == [200]
        eventually("the first is being answered", lambda: running(f"http://{operator}") == 1)
        mesh.kill()
        mesh.wait()
        mesh = start()
        posts = town.slack.said_to("U0ANA", len(TEXTS))
        eventually("everything is done", lambda: town.inbox() == 0)
        turns = town.turns(town.session_of("slack", f"{TEAM}:U0ANA"))
        assert [said(turn) for turn in turns] == TEXTS, turns
        assert town.slack.said_to("U0ANA", len(TEXTS)) == posts == [answered(turn) for turn in turns], town.slack.posts
        town.end()
    finally:
        mesh.kill()
        mesh.wait()


with tempfile.TemporaryDirectory() as folder:
    main(sys.argv[1], folder)
