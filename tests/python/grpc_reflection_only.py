"""Calls the mesh without any stub, with what it says of itself: grpc_reflection_only.py HOST:PORT."""

import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "pointsman.inference.v1.InferenceService"


def main(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    assert {SERVICE, "grpc.health.v1.Health"} <= services, services
    assert not any("operations" in name for name in services), services

    method = DescriptorPool(database).FindServiceByName(SERVICE).FindMethodByName("GenerateStream")
    request_class, frame_class = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    assert method.server_streaming and not method.client_streaming
    request = request_class(model="pip")
    message = request.messages.add(role="ROLE_USER")
    message.parts.add(text="Hello")
    call = channel.unary_stream(
        f"/{SERVICE}/GenerateStream", request_class.SerializeToString, frame_class.FromString
    )
    text = "".join(frame.delta.text for frame in call(request))
    assert text == "Hello! I am Pip. How can I help you?", text

    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", SERVICE):
        status = health.Check(health_pb2.HealthCheckRequest(service=name)).status
        assert status == health_pb2.HealthCheckResponse.SERVING, (name, status)
    try:
        health.Check(health_pb2.HealthCheckRequest(service="no.such.Service"))
        raise AssertionError("a service that is not there is healthy")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error


if __name__ == "__main__":
    with grpc.insecure_channel(sys.argv[1]) as own:
        main(own)
