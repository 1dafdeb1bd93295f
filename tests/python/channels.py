"""Runs examples/channels against fakes of the vendors: channels.py WHAT HOST:PORT [MORE].

`conversation` goes through both messengers and a terminal, and prints the name of the session last; it is told where `pointsman`
is. `faults` is told where the operator port is, and wants the replies of tests/tests/mesh/channels.rs.
"""

import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

from channels_town import SECONDS, Town, answered, eventually, running, said
from fakes.delivery import call
from fakes.slack import TEAM
from pointsman.sessions.v1.session_service_pb2 import ListChannelBindingsRequest, ListSessionsRequest

ANA, ANAS_PHONE = "U0ANA", "4712345678"


def conversation(mesh: str, folder: str, pointsman: str) -> None:
    # Long enough for the two deliveries below on a slow machine.
    town = Town(mesh, folder, window=2)
    slack, whatsapp = town.slack, town.whatsapp
    slack.verify_url()
    assert whatsapp.verify_subscription("verify-me") == (200, "1158201444")

    assert slack.say(ANA, "It is <b>me</b> & Tom") == [200]
    slack.said_to(ANA, 1)
    slack.say(ANA, "link")
    told = slack.said_to(ANA, 2)[1]
    code, session = told.split("`")[1], told.rstrip(".").split()[-1]
    whatsapp.say(ANAS_PHONE, "/link wwwwwwww")
    assert "not, or no longer, good" in whatsapp.said_to(ANAS_PHONE, 1)[0]
    whatsapp.say(ANAS_PHONE, f"/{code}")
    assert whatsapp.said_to(ANAS_PHONE, 2)[1].startswith("Done"), whatsapp.posts
    whatsapp.say("4799999999", code)
    assert "not, or no longer, good" in whatsapp.said_to("4799999999", 1)[0], "a code was good twice"

    # The later one comes first, each comes twice, and one acknowledgement gets lost.
    now = int(time.time())
    first, second = whatsapp.text(ANAS_PHONE, "first", now), whatsapp.text(ANAS_PHONE, "second", now + 1)
    assert whatsapp.deliver([second]) == [200]
    assert whatsapp.deliver([first], lose=1) == ["lost", 200]
    assert whatsapp.deliver([second, first]) == [200]
    whatsapp.said_to(ANAS_PHONE, 4)

    chat = [pointsman, "chat", "--address", f"http://{mesh}", "--session", session, "from a terminal"]
    printed = subprocess.run(chat, capture_output=True, text=True, timeout=SECONDS)
    assert printed.returncode == 0, printed
    back = slack.event(ANA, "and back")
    slack.delivery(back).run()
    slack.said_to(ANA, 3)
    # Long after they were answered.
    assert whatsapp.deliver([second, first]) == [200]
    assert slack.delivery(back).run() == [200]
    eventually("everything is done", lambda: town.inbox() == 0)

    turns = town.turns(session)
    want = ["It is <b>me</b> & Tom", "first", "second", "from a terminal", "and back"]
    assert [said(turn) for turn in turns] == want, turns
    assert all(answered(turn) for turn in turns), turns
    # What the model was given grows: it read what was said in the other channels.
    read = [turn.usage.input_tokens for turn in turns]
    assert read == sorted(set(read)), read
    assert slack.said_to(ANA, 3)[::2] == [answered(turns[0]), answered(turns[4])], slack.posts
    assert whatsapp.said_to(ANAS_PHONE, 4)[2:] == [answered(turns[1]), answered(turns[2])], whatsapp.posts
    assert answered(turns[3]) in printed.stdout, printed
    assert [turn.request_id for turn in turns[1:3]] == [f"whatsapp:{first['id']}", f"whatsapp:{second['id']}"]
    bindings = town.sessions.ListChannelBindings(ListChannelBindingsRequest(name=session)).bindings
    assert {(binding.channel, binding.external_user) for binding in bindings} == {
        ("slack", f"{TEAM}:{ANA}"),
        ("whatsapp", ANAS_PHONE),
    }
    town.end()
    print(session)


def faults(mesh: str, folder: str, operator: str) -> None:
    town = Town(mesh, folder, window=0)
    slack = town.slack
    texts = []

    def conversation_of_ana() -> str:
        return town.session_of("slack", f"{TEAM}:{ANA}")

    def answered_once(text: str) -> None:
        """The text is one turn, after those before it, and its answer was posted once."""
        texts.append(text)
        posts = slack.said_to(ANA, len(texts))
        eventually("it is done", lambda: town.inbox() == 0)
        turns = town.turns(conversation_of_ana())
        assert [said(turn) for turn in turns] == texts, turns
        assert posts == [answered(turn) for turn in turns], (posts, turns)

    assert slack.delivery(slack.event(ANA, "lost"), lose=2).run() == ["lost", "lost", 200]
    answered_once("lost")

    # Too late: the adapters stand still until Slack has given the first delivery up.
    town.signal(signal.SIGSTOP)
    late = slack.delivery(slack.event(ANA, "late"))
    thread = late.start()
    eventually("Slack has waited for long enough", lambda: late.outcomes)
    town.signal(signal.SIGCONT)
    thread.join()
    assert late.outcomes[0] == "late" and late.outcomes[-1] == 200, late.outcomes
    answered_once("late")

    # A disk that cannot be written: nothing is acknowledged.
    lock = sqlite3.connect(town.folder / "inbox.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    full = slack.delivery(slack.event(ANA, "full disk"))
    thread = full.start()
    eventually("it was delivered", lambda: full.outcomes)
    lock.execute("ROLLBACK")
    lock.close()
    thread.join()
    assert full.outcomes[0] == 503 and full.outcomes[-1] == 200, full.outcomes
    answered_once("full disk")

    # Killed while the model answers what was acknowledged.
    assert slack.say(ANA, "slow") == [200]
    eventually("it is being asked", lambda: town.inbox("SELECT count(*) FROM message WHERE request IS NOT NULL") == 1)
    town.kill()
    town.start()
    answered_once("slow")

    # Killed when the turn is kept, before the answer has come: it stands still until then.
    assert slack.say(ANA, "slower") == [200]
    eventually("it is being answered", lambda: running(operator) == 1)
    town.signal(signal.SIGSTOP)
    eventually("the turn is kept", lambda: [said(turn) for turn in town.turns(conversation_of_ana())] == [*texts, "slower"])
    town.kill()
    town.start()
    answered_once("slower")

    # The mesh says when to ask again, and breaks an answer off.
    assert slack.say(ANA, "busy") == [200]
    answered_once("busy")
    assert slack.say(ANA, "broken") == [200]
    answered_once("broken")

    # Slack says when to post again, and then nothing useful.
    slack.refusals += [(429, {"retry-after": "1"}, {"ok": False, "error": "ratelimited"}), (500, {}, {})]
    assert slack.say(ANA, "post it") == [200]
    answered_once("post it")

    # What no model will answer is told, and holds nobody up.
    assert slack.say(ANA, "refused") == [200]
    assert slack.said_to(ANA, len(texts) + 1)[-1].startswith("Sorry"), slack.posts
    slack.posts.pop()
    assert slack.say(ANA, "next") == [200]
    answered_once("next")
    town.end()


def forgeries(mesh: str, folder: str) -> None:
    town = Town(mesh, folder, window=0)
    slack, whatsapp = town.slack, town.whatsapp
    event = slack.event(ANA, "hello")
    good = slack.headers(event)
    for headers, body in [
        (good, event + b" "),
        (good | {"x-slack-signature": "v0=" + "0" * 64}, event),
        (good | {"x-slack-signature": "v0=\xff"}, event),
        (good | {"x-slack-request-timestamp": str(int(time.time()) + 1)}, event),
        (good | {"x-slack-request-timestamp": "now"}, event),
        (slack.headers(event, at=time.time() - 301), event),
        (slack.headers(event, at=time.time() + 330), event),
        ({"content-type": "application/json"}, event),
    ]:
        assert call(slack.events_url, "POST", headers, body)[0] == 401, headers
    body = whatsapp.delivery([whatsapp.text(ANAS_PHONE, "hello", int(time.time()))])
    good = whatsapp.headers(body)
    for headers, sent in [(good, body + b" "), ({"x-hub-signature-256": "sha256=" + "0" * 64}, body), ({}, body)]:
        assert call(whatsapp.webhook, "POST", headers, sent)[0] == 401, headers
    assert whatsapp.verify_subscription("guessed")[0] == 403
    assert call(slack.events_url, "POST", {"content-length": str(4 << 20)}, b"")[0] == 413
    assert call(f"{slack.events_url}/x", "POST", {}, b"")[0] == 404
    # Signed, but of another number of the same business, or of nothing that is written.
    other = body.replace(whatsapp.phone_number_id.encode(), b"1")
    assert call(whatsapp.webhook, "POST", whatsapp.headers(other), other)[0] == 200
    odd = b'{"type": "event_callback", "event": []}'
    assert call(slack.events_url, "POST", slack.headers(odd), odd)[0] == 200
    assert town.inbox("SELECT count(*) FROM message") == 0
    assert not town.sessions.ListSessions(ListSessionsRequest()).sessions
    town.end()


with tempfile.TemporaryDirectory() as folder:
    {"conversation": conversation, "faults": faults, "forgeries": forgeries}[sys.argv[1]](sys.argv[2], folder, *sys.argv[3:])
