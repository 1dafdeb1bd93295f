"""The work after the acknowledgement: ask the mesh, post the answer, each step written down before the next one."""

import logging
import threading
import time

import grpc

from . import link
from .channel import Channel, PostFailed
from .inbox import Inbox
from .mesh import Mesh, reason, retry_after

# How many people are answered at a time.
WORKERS = 8
# How long a message is tried for. After that an answer would surprise more than help.
PATIENCE = 15 * 60
SORRY = "Sorry, that did not work. Please say it again, or in other words."


def start(inbox: Inbox, mesh: Mesh, channels: list[Channel]) -> None:
    """Starts to work, in threads that end with the process: what they leave is taken up by the next one."""
    by_name = {channel.name: channel for channel in channels}

    def work():
        while True:
            try:
                with inbox.next() as row:
                    step(inbox, mesh, by_name[row["channel"]], row)
            except Exception:  # The disk, or a mistake of ours: the message stays, and is tried again.
                logging.exception("a step was not done")
                time.sleep(1)

    for _ in range(WORKERS):
        threading.Thread(target=work, daemon=True).start()


def step(inbox: Inbox, mesh: Mesh, channel: Channel, row) -> None:
    """Does what is left to do for a message, or says when to try again."""
    try:
        reply = row["reply"] or answer(inbox, mesh, row)
        inbox.note(row, reply=reply)
        pieces = [reply[at : at + channel.longest] for at in range(0, len(reply), channel.longest)]
        for count, piece in enumerate(pieces[row["posted"] :], row["posted"] + 1):
            channel.post(row["reply_to"], piece)
            inbox.note(row, posted=count)
        inbox.done(row)
    except grpc.RpcError as error:
        after = retry_after(error)
        logging.warning("%s %s: %s, again in %s s", row["channel"], row["id"], reason(error), after)
        if after is None or not try_again(inbox, row, after):
            # Not the words of the error: they are for whoever runs this.
            inbox.note(row, reply=SORRY, retry_at=time.time())
    except PostFailed as error:
        logging.warning("%s %s: not posted: %s", row["channel"], row["id"], error)
        if not try_again(inbox, row, error.retry_after or min(60, 2 ** row["tries"])):
            inbox.done(row)


def answer(inbox: Inbox, mesh: Mesh, row) -> str:
    """Returns the answer to a message; the same one however often it is asked for."""
    channel, person, id = row["channel"], row["person"], row["id"]
    if match := link.command(row["text"]):
        return link.run(mesh, match, channel, person, id)
    request = row["request"]
    if request is None:
        # Before it is sent: a person who is bound to another conversation meanwhile is not answered in both.
        request = mesh.request(mesh.session_of(channel, person), channel, person, id, row["text"])
        inbox.note(row, request=request)
    return mesh.generate(request) or "(no answer)"


def try_again(inbox: Inbox, row, seconds: float) -> bool:
    """Says when to try again, unless that has gone on for too long."""
    now = time.time()
    inbox.note(row, retry_at=now + seconds, tries=row["tries"] + 1)
    return now + seconds < row["arrived_at"] + PATIENCE
