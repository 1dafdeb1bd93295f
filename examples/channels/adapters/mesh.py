"""The mesh: which conversation a person has, a turn of it, and when it is worth asking again."""

import grpc
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status
from pointsman.inference.v1.generate_pb2 import GenerateRequest, SessionReference
from pointsman.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from pointsman.inference.v1.message_pb2 import ROLE_USER, Part
from pointsman.inference.v1.message_pb2 import Message as Spoken
from pointsman.sessions.v1.session_service_pb2 import ResolveSessionRequest
from pointsman.sessions.v1.session_service_pb2_grpc import SessionServiceStub

# For one answer. One that takes longer is asked for again under its name, and found.
ANSWER_SECONDS = 120
SECONDS = 5


class Mesh:
    """A gateway. Its methods may be called from any thread, and raise grpc.RpcError."""

    def __init__(self, address: str, model: str, key: str = ""):
        """`address`: HOST:PORT, without TLS. `key` may have to be empty: `pointsman up` alone needs none."""
        channel = grpc.insecure_channel(address)
        self.model = model
        self.metadata = [("authorization", f"Bearer {key}")] if key else []
        self.inference, self.sessions = InferenceServiceStub(channel), SessionServiceStub(channel)

    def session_of(self, channel: str, person: str) -> str:
        """Returns the name of the conversation that a person has in a channel. The first time it is made."""
        request = ResolveSessionRequest(channel=channel, external_user=person)
        return self.sessions.ResolveSession(request, timeout=SECONDS, metadata=self.metadata).session.name

    def request(self, session: str, channel: str, person: str, id: str, text: str) -> bytes:
        """Makes the request for a turn.

        It is sent again byte by byte as it is: the mesh knows a repeated turn by its id, and would refuse another request of
        the same id. The id says the channel too, because a turn that a model made has no other place for it.
        """
        request = GenerateRequest(
            model=self.model,
            messages=[Spoken(role=ROLE_USER, parts=[Part(text=text)])],
            session=SessionReference(session=session),
            request_id=f"{channel}:{id}",
            end_user=f"{channel}:{person}",
            labels={"channel": channel},
        )
        return request.SerializeToString(deterministic=True)

    def generate(self, request: bytes) -> str:
        """Returns the answer, once it is part of the conversation; that of the first time, if it is already."""
        asked = GenerateRequest.FromString(request)
        answer = self.inference.Generate(asked, timeout=ANSWER_SECONDS, metadata=self.metadata)
        return "".join(part.text for part in answer.choices[0].message.parts)


def retry_after(error: grpc.RpcError) -> float | None:
    """Returns in how many seconds to ask again; None: never, the answer would be the same."""
    status, retry = rpc_status.from_call(error), RetryInfo()
    if status and any(detail.Unpack(retry) for detail in status.details):
        return retry.retry_delay.ToTimedelta().total_seconds()
    # Without a hint: an engine that was lost, a network, our own deadline. That the turn may be there already does no harm.
    return 1 if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED) else None


def reason(error: grpc.RpcError) -> str:
    """Returns what docs/errors calls it, or gRPC's own code."""
    status, info = rpc_status.from_call(error), ErrorInfo()
    if status and any(detail.Unpack(info) for detail in status.details):
        return info.reason
    return error.code().name
