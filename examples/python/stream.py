"""Reads an answer as it is made: stream.py HOST:PORT."""

import sys

import grpc
from pointsman.inference.v1.generate_pb2 import GenerateRequest
from pointsman.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from pointsman.inference.v1.message_pb2 import ROLE_USER, Message, Part

with grpc.insecure_channel(sys.argv[1]) as channel:
    question = Message(role=ROLE_USER, parts=[Part(text="Tell me a story.")])
    request = GenerateRequest(model="pip", messages=[question])
    for frame in InferenceServiceStub(channel).GenerateStream(request, timeout=30):
        kind = frame.WhichOneof("body")
        if kind == "delta":
            print(frame.delta.text, end="", flush=True)
        elif kind == "usage":
            print(f"\n{frame.usage.output_tokens} tokens")
    # The loop ends only after `finished`: a stream that breaks raises grpc.RpcError instead.
