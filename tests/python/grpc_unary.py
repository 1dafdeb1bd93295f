"""Calls with one answer, with gRPC's own library and stubs made from proto/: grpc_unary.py HOST:PORT.

A simulated engine answers. The stubs are found through PYTHONPATH.
"""

import math
import sys

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from pointsman.inference.v1 import count_tokens_pb2, embed_pb2, frame_pb2, generate_pb2, message_pb2
from pointsman.inference.v1.inference_service_pb2_grpc import InferenceServiceStub

TARGET = "models/simulated/versions/1"


def say(text: str, **fields: object) -> generate_pb2.GenerateRequest:
    message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text=text)])
    return generate_pb2.GenerateRequest(**{"model": "simulated", "messages": [message], **fields})


def refused(call: object, request: object) -> tuple[grpc.StatusCode, str, list[str]]:
    """Makes a call that must fail: its code, its reason, and the fields at fault."""
    try:
        answer = call(request, timeout=30)
    except grpc.RpcError as error:
        reason, fields = "", []
        for packed in rpc_status.from_call(error).details:
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if packed.Unpack(info):
                reason = info.reason
            elif packed.Unpack(bad):
                fields = [violation.field for violation in bad.field_violations]
        return error.code(), reason, fields
    raise AssertionError(f"it was answered: {answer}")


def counts(stub: InferenceServiceStub) -> None:
    request = say("one two three", request_id="count-1", seed=7)
    counted, call = stub.CountTokens.with_call(count_tokens_pb2.CountTokensRequest(request=request))
    # Three words, and four for the template.
    assert (counted.prompt_tokens, counted.target, counted.context_tokens) == (7, TARGET, 8192), counted
    metadata = dict(call.initial_metadata())
    assert metadata["x-request-id"] == "count-1" and len(metadata["x-pointsman-decision-id"]) == 16, metadata
    assert f"{TARGET}@" in metadata["x-pointsman-attempts"], metadata
    whole = stub.Generate(request)
    assert whole.usage.input_tokens == counted.prompt_tokens, whole

    def count(request: object) -> tuple:
        return refused(stub.CountTokens, count_tokens_pb2.CountTokensRequest(request=request))

    invalid, unsupported = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED
    assert count(None) == (invalid, "INVALID_REQUEST", ["request"])
    assert count(say("a", messages=[])) == (invalid, "INVALID_REQUEST", ["messages"])
    assert count(say("a", reasoning_effort="REASONING_EFFORT_LOW")) == (
        unsupported,
        "UNSUPPORTED_FIELD",
        ["reasoning_effort"],
    )
    assert count(say("a", model="nobody"))[:2] == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")


def embeds(stub: InferenceServiceStub) -> None:
    fields = {"model": "simulated", "inputs": ["a cat", "a dog"]}
    response = stub.Embed(embed_pb2.EmbedRequest(**fields, request_id="embed-1", labels={"team": "search"}))
    started = response.started
    assert (started.target, started.version, started.model) == (TARGET, "1", "simulated"), started
    assert started.request_id == "embed-1" and started.instance and started.engine_fingerprint, started
    assert len(started.decision_id) == 16 and not started.resume_token and not started.HasField("load"), started
    assert [attempt.outcome for attempt in started.attempts] == ["FINISHED"], started
    assert [embedding.index for embedding in response.embeddings] == [0, 1], response
    assert all(len(embedding.values) == 64 for embedding in response.embeddings), response
    assert all(math.isclose(math.hypot(*e.values), 1, abs_tol=1e-5) for e in response.embeddings), response
    usage = response.usage
    assert (usage.input_tokens, usage.output_tokens, usage.source) == (4, 0, frame_pb2.USAGE_SOURCE_COUNTED), usage

    def embed(**changed: object) -> tuple:
        return refused(stub.Embed, embed_pb2.EmbedRequest(**{**fields, **changed}))

    invalid, unsupported = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED
    assert embed(inputs=[], model="") == (invalid, "INVALID_REQUEST", ["model", "inputs"])
    assert embed(inputs=["a", ""]) == (invalid, "INVALID_REQUEST", ["inputs[1]"])
    assert embed(dimensions=3) == (unsupported, "UNSUPPORTED_FIELD", ["dimensions"])
    assert embed(inputs=["word " * 9000])[1] == "CONTEXT_TOO_LONG"
    assert embed(model="nobody")[:2] == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")


if __name__ == "__main__":
    with grpc.insecure_channel(sys.argv[1]) as channel:
        stub = InferenceServiceStub(channel)
        counts(stub)
        embeds(stub)
