"""Asks for what cannot be, and reads all that the mesh says about it: errors.py HOST:PORT."""

import sys

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status
from pointsman.inference.v1.generate_pb2 import GenerateRequest, Sampling
from pointsman.inference.v1.inference_service_pb2_grpc import InferenceServiceStub

request = GenerateRequest(model="pip", sampling=Sampling(temperature=9))
try:
    with grpc.insecure_channel(sys.argv[1]) as channel:
        InferenceServiceStub(channel).Generate(request, timeout=30)
except grpc.RpcError as error:
    print(error.code().name)
    # None if the error is the network's and not the mesh's.
    status = rpc_status.from_call(error)
    info, bad, retry = ErrorInfo(), BadRequest(), RetryInfo()
    for detail in status.details if status else []:
        if detail.Unpack(info):
            print(f"reason {info.reason}: see docs/errors/{info.reason}.md")
        elif detail.Unpack(bad):
            for violation in bad.field_violations:
                print(f"  {violation.field}: {violation.description}")
        elif detail.Unpack(retry):
            print(f"  worth repeating in {retry.retry_delay.ToTimedelta()}")
    print("trace", dict(error.trailing_metadata() or []).get("x-pointsman-trace-id"))
