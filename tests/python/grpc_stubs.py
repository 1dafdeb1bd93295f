"""What an application does with gRPC's own library and stubs made from proto/: grpc_stubs.py PART HOST:PORT.

The stubs are found through PYTHONPATH.
"""

import sys

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from pointsman.inference.v1 import describe_pb2, frame_pb2, generate_pb2, message_pb2
from pointsman.inference.v1.inference_service_pb2_grpc import InferenceServiceStub

GREETING = "Hello! I am Pip. How can I help you?"
TARGET = "models/pip/versions/f5e2d34cd543"


def say(text: str, model: str = "pip", **fields: object) -> generate_pb2.GenerateRequest:
    message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text=text)])
    return generate_pb2.GenerateRequest(model=model, messages=[message], **fields)


def answers(stub: InferenceServiceStub) -> None:
    whole = stub.Generate(say("Hello", request_id="order-17"))
    assert whole.choices[0].message.parts[0].text == GREETING, whole
    assert whole.choices[0].finish_reason == frame_pb2.FINISH_REASON_STOP, whole
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (9, 13), whole
    assert whole.started.request_id == "order-17" and whole.started.target == TARGET, whole

    frames = list(stub.GenerateStream(say("Hello")))
    assert [frame.sequence for frame in frames] == list(range(1, len(frames) + 1)), frames
    kinds = [frame.WhichOneof("body") for frame in frames]
    deltas = ["delta"] * (len(frames) - 4)
    assert kinds == ["started", *deltas, "choice_finished", "usage", "finished"], kinds
    assert "".join(frame.delta.text for frame in frames) == GREETING, frames
    started, usage = frames[0].started, frames[-2].usage
    assert (started.target, started.version, started.model) == (TARGET, "f5e2d34cd543", "pip"), started
    assert started.instance and started.engine_fingerprint and started.request_id, started
    assert (usage.input_tokens, usage.output_tokens) == (9, 13), usage
    assert usage.source != frame_pb2.USAGE_SOURCE_UNSPECIFIED, usage
    assert not usage.HasField("cached_input_tokens"), usage

    described = stub.Describe(describe_pb2.DescribeRequest())
    assert [target.target for target in described.targets] == [TARGET], described
    assert described.targets[0].context_tokens == 1024, described


def refused(call: object) -> tuple[grpc.StatusCode, str, dict]:
    """Reads a call that must fail: its code, its reason, and its details by name."""
    try:
        call() if callable(call) else list(call)
    except grpc.RpcError as error:
        status = rpc_status.from_call(error)
        assert status is not None, f"no details: {error}"
        details = {}
        for packed in status.details:
            kind = packed.type_url.rsplit(".", 1)[-1]
            details[kind] = getattr(error_details_pb2, kind)()
            assert packed.Unpack(details[kind]), packed
        info = details["ErrorInfo"]
        assert info.domain == "pointsman", info
        return error.code(), info.reason, details
    raise AssertionError("it was answered")


def errors(stub: InferenceServiceStub) -> None:
    bad = say("", sampling=generate_pb2.Sampling(temperature=9, top_p=7), stop=[""])
    unknown = say("Hello", model="nobody")
    lacking = say("Hello", reasoning_effort=generate_pb2.REASONING_EFFORT_HIGH)
    lacking.messages[0].parts.add(opaque=message_pb2.Opaque(origin="another", kind="thought", data=b"?"))
    for ask in (lambda request: lambda: stub.Generate(request), stub.GenerateStream):
        code, reason, details = refused(ask(bad))
        assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"), (code, reason)
        fields = {violation.field for violation in details["BadRequest"].field_violations}
        want = {"messages[0].parts[0].text", "sampling.temperature", "sampling.top_p", "stop[0]"}
        assert fields == want, fields
        code, reason, details = refused(ask(lacking))
        assert (code, reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNSUPPORTED_FIELD"), (code, reason)
        fields = [violation.field for violation in details["BadRequest"].field_violations]
        assert fields == ["messages.parts.opaque", "reasoning_effort"], fields
        code, reason, _ = refused(ask(unknown))
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"), (code, reason)


def ends(stub: InferenceServiceStub) -> None:
    """Against one slot and answers that take minutes: what ends early leaves the slot to the next."""
    forever = say("Tell me a story.", model="simulated")
    # The deadline as the mesh sees it: with `timeout` the library's own clock would be first, without details.
    stream = stub.GenerateStream(forever, metadata=[("grpc-timeout", "800m")])
    assert next(stream).WhichOneof("body") == "started"
    code, reason, _ = refused(stream)
    assert (code, reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"), (code, reason)

    stream = stub.GenerateStream(forever, timeout=0.8)
    try:
        pieces = sum(1 for _ in stream)
        raise AssertionError(f"it ended after {pieces}")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error

    stream = stub.GenerateStream(forever)
    next(stream), next(stream)
    # The deadline covers the wait for the only slot, too.
    code, reason, _ = refused(lambda: stub.Generate(forever, metadata=[("grpc-timeout", "300m")]))
    assert (code, reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"), (code, reason)
    stream.cancel()
    assert stream.code() == grpc.StatusCode.CANCELLED
    short = say("Hello", model="simulated", limits=generate_pb2.Limits(max_output_tokens=2))
    assert stub.Generate(short, timeout=60).choices[0].message.parts[0].text == "You said:"


if __name__ == "__main__":
    part, host = sys.argv[1:]
    with grpc.insecure_channel(host) as channel:
        {"answers": answers, "errors": errors, "ends": ends}[part](InferenceServiceStub(channel))
