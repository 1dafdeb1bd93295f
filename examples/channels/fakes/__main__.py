"""Both messengers in a terminal, to try the adapters without an account: python -m fakes, with the options of the adapters.

A line is `slack TEXT` or `whatsapp TEXT`; what the bot posts is printed.
"""

import os
import subprocess
import sys
import threading

from .api import Api
from .settings import connect, environment, vendors


def show(name: str, api: Api) -> None:
    """Prints what is posted, as it comes."""
    count = 0
    while True:
        with api.changed:
            api.changed.wait_for(lambda: len(api.posts) > count)
            new, count = api.posts[count:], len(api.posts)
        for _, text in new:
            print(f"{name}: {text}", flush=True)


slack, whatsapp = vendors()
command = [sys.executable, "-m", "adapters", *sys.argv[1:]]
with subprocess.Popen(command, env=os.environ | environment(slack, whatsapp), stdout=subprocess.PIPE, text=True) as adapters:
    connect(adapters.stdout.readline(), slack, whatsapp)
    for name, api in (("slack", slack), ("whatsapp", whatsapp)):
        threading.Thread(target=show, args=(name, api), daemon=True).start()
    print("slack TEXT or whatsapp TEXT, a line each", flush=True)
    for line in sys.stdin:
        name, _, text = line.strip().partition(" ")
        if name in ("slack", "whatsapp") and text:
            slack.say("U0ANA", text) if name == "slack" else whatsapp.say("4712345678", text)
        else:
            print("slack TEXT or whatsapp TEXT")
    adapters.terminate()
