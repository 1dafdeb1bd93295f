"""Runs both receivers: python -m adapters --mesh HOST:PORT --model NAME. What is secret comes from the environment."""

import argparse
import logging
from os import environ

from . import worker
from .inbox import Inbox
from .mesh import Mesh
from .receiver import serve
from .slack import Slack
from .whatsapp import WhatsApp

parser = argparse.ArgumentParser(prog="adapters", description=__doc__)
parser.add_argument("--mesh", default="127.0.0.1:8080", help="the gateway [%(default)s]")
parser.add_argument("--model", default="pip", help="who answers [%(default)s]")
parser.add_argument("--port", type=int, default=8090, help="of the webhooks, on loopback [%(default)s]")
parser.add_argument("--inbox", default="inbox.db", help="the file with what is to be answered [%(default)s]")
parser.add_argument("--window", type=float, default=1.0, help="seconds to wait for what was sent before [%(default)s]")
options = parser.parse_args()
logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")

slack = Slack(environ["SLACK_SIGNING_SECRET"], environ["SLACK_BOT_TOKEN"], environ.get("SLACK_API", "https://slack.com/api"))
whatsapp = WhatsApp(
    environ["WHATSAPP_APP_SECRET"],
    environ["WHATSAPP_VERIFY_TOKEN"],
    environ["WHATSAPP_TOKEN"],
    environ["WHATSAPP_PHONE_NUMBER_ID"],
    environ.get("WHATSAPP_API", "https://graph.facebook.com/v26.0"),
)
inbox = Inbox(options.inbox, options.window)
worker.start(inbox, Mesh(options.mesh, options.model, environ.get("POINTSMAN_KEY", "")), [slack, whatsapp])
# Before a proxy that ends TLS, without which neither vendor delivers.
server = serve(("127.0.0.1", options.port), [slack, whatsapp], inbox)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
