"""The command `link`: it makes two channels' conversations one.

`link` in one channel tells a code, `link CODE` in another one binds it to the first one's conversation. The code is a label of
that conversation, so that it needs no store of its own and works between adapters on different machines. It is good once and
for ten minutes.
"""

import re
import secrets
import time

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from pointsman.sessions.v1.session_pb2 import Session
from pointsman.sessions.v1.session_service_pb2 import (
    BindChannelRequest,
    ChannelBinding,
    GetSessionRequest,
    ListSessionsRequest,
    UpdateSessionRequest,
)

from .mesh import SECONDS, Mesh

# Slack keeps to itself what begins with a slash, so it may be left out.
COMMAND = re.compile(r"\s*/?link(?:\s+([0-9a-z]{8}))?\s*", re.IGNORECASE)
# Without letters and digits that look alike.
LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"
GOOD_FOR = 600


def command(text: str) -> re.Match | None:
    """Returns the command that a message is, if it is one."""
    return COMMAND.fullmatch(text)


def run(mesh: Mesh, match: re.Match, channel: str, person: str, id: str) -> str:
    """Does a command and returns what to say. Done again, for the same message, it does the same."""
    return join(mesh, match[1].lower(), channel, person, id) if match[1] else invite(mesh, channel, person)


def invite(mesh: Mesh, channel: str, person: str) -> str:
    name = mesh.session_of(channel, person)
    code = "".join(secrets.choice(LETTERS) for _ in range(8))
    session = mesh.sessions.GetSession(GetSessionRequest(name=name), timeout=SECONDS, metadata=mesh.metadata)
    label(mesh, session, {"link": code, "link-until": str(int(time.time()) + GOOD_FOR)})
    return f"Write `link {code}` in the other channel within ten minutes. This conversation is {name}."


def join(mesh: Mesh, code: str, channel: str, person: str, id: str) -> str:
    claim = f"{channel}:{id}"
    # Claimed by this very message, where we stopped after the claim.
    session = with_label(mesh, "link-claim", claim)
    if session is None:
        session = with_label(mesh, "link", code)
        if session is None or int(session.labels["link-until"]) < time.time():
            return "That code is not, or no longer, good. Write `link` in the other channel to get one."
        try:
            # Of two who send the same code, one has the etag.
            label(mesh, session, {"link": "", "link-until": "", "link-claim": claim})
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.ABORTED:
                return "That code was just used. Write `link` in the other channel to get another."
            raise
    binding = ChannelBinding(channel=channel, external_user=person, session=session.name)
    mesh.sessions.BindChannel(BindChannelRequest(binding=binding), timeout=SECONDS, metadata=mesh.metadata)
    return "Done: from here on this is the same conversation as there."


def with_label(mesh: Mesh, name: str, value: str) -> Session | None:
    request = ListSessionsRequest(labels={name: value}, page_size=1)
    return next(iter(mesh.sessions.ListSessions(request, timeout=SECONDS, metadata=mesh.metadata).sessions), None)


def label(mesh: Mesh, session: Session, changes: dict[str, str]) -> None:
    """Changes labels, unless somebody else changed the session since it was read. All labels are sent: they are one field."""
    labels = {name: value for name, value in {**session.labels, **changes}.items() if value}
    changed = Session(name=session.name, labels=labels, etag=session.etag)
    request = UpdateSessionRequest(session=changed, update_mask=FieldMask(paths=["labels"]))
    mesh.sessions.UpdateSession(request, timeout=SECONDS, metadata=mesh.metadata)
