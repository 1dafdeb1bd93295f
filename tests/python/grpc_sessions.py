"""What an application does with stored conversations through gRPC's own library: grpc_sessions.py HOST:PORT.

The stubs are found through PYTHONPATH.
"""

import sys

import grpc
from grpc_stubs import refused, say
from pointsman.inference.v1.generate_pb2 import SessionReference
from pointsman.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from pointsman.inference.v1.message_pb2 import ROLE_USER, Image, Message, Part
from pointsman.sessions.v1 import session_service_pb2 as calls
from pointsman.sessions.v1.session_service_pb2_grpc import SessionServiceStub

NAME = "sessions/tea"


def main(channel: grpc.Channel) -> None:
    mesh, sessions = InferenceServiceStub(channel), SessionServiceStub(channel)
    for request_id in ("one", "two"):
        answer = mesh.Generate(say("Hello", request_id=request_id, session=SessionReference(session="tea")))
        assert answer.started.session_turn.session == NAME, answer
    turns = sessions.ListTurns(calls.ListTurnsRequest(name=NAME)).turns
    assert [turn.request_id for turn in turns] == ["one", "two"], turns

    # A refusal of a stream is one, also for a library that reads the trailers.
    for call, status, reason in [
        (sessions.WatchTurns(calls.WatchTurnsRequest()), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (sessions.ResumeRun(calls.ResumeRunRequest(name=NAME, request_id="no")), grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND"),
        (lambda: sessions.GetRun(calls.GetRunRequest(name=NAME)), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    ]:
        assert refused(call)[:2] == (status, reason), reason

    watching = sessions.WatchTurns(calls.WatchTurnsRequest(group="crm", from_the_beginning=True))
    told = next(watching)
    assert [turn.request_id for turn in told.turns] == ["one", "two"], told
    sessions.AcknowledgeTurns(calls.AcknowledgeTurnsRequest(tokens=[told.token]))
    wrong = sessions.WatchTurns(calls.WatchTurnsRequest(group="crm", channel="tel"))
    _, _, details = refused(wrong)
    assert "for all channels" in details["BadRequest"].field_violations[0].description, details
    watching.cancel()

    # A picture in an earlier turn is kept, and is none of the request's.
    uri = "https://example.com/a.png"
    seen = Message(role=ROLE_USER, parts=[Part(image=Image(uri=uri, media_type="image/png"))])
    sessions.AppendMessages(calls.AppendMessagesRequest(name=NAME, messages=[seen]))
    last = sessions.ListTurns(calls.ListTurnsRequest(name=NAME, after_revision=2)).turns[0]
    assert last.input[0].parts[0].image.uri == uri, last
    code, reason, details = refused(lambda: mesh.Generate(say("And now?", session=SessionReference(session="tea"))))
    assert (code, reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNSUPPORTED_FIELD"), (code, reason)
    assert [violation.field for violation in details["BadRequest"].field_violations] == ["session"], details
    sessions.DeleteSession(calls.DeleteSessionRequest(name=NAME))


if __name__ == "__main__":
    with grpc.insecure_channel(sys.argv[1]) as opened:
        main(opened)
