"""Reads a few pieces of an answer and leaves: cancel.py HOST:PORT. The model stops at once."""

import itertools
import sys

import grpc
from pointsman.inference.v1.generate_pb2 import GenerateRequest
from pointsman.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from pointsman.inference.v1.message_pb2 import ROLE_USER, Message, Part

with grpc.insecure_channel(sys.argv[1]) as channel:
    question = Message(role=ROLE_USER, parts=[Part(text="Tell me a story.")])
    stream = InferenceServiceStub(channel).GenerateStream(GenerateRequest(model="pip", messages=[question]))
    for frame in itertools.islice(stream, 6):
        print(frame.delta.text, end="", flush=True)
    stream.cancel()
    print(f" … {stream.code().name.lower()}")
