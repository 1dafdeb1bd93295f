"""Asks for a whole answer: unary.py HOST:PORT."""

import sys

import grpc
from pointsman.inference.v1.generate_pb2 import GenerateRequest
from pointsman.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from pointsman.inference.v1.message_pb2 import ROLE_USER, Message, Part

with grpc.insecure_channel(sys.argv[1]) as channel:
    question = Message(role=ROLE_USER, parts=[Part(text="Hello")])
    request = GenerateRequest(model="pip", messages=[question])
    # The timeout is the deadline of the whole call, everywhere in the mesh.
    answer = InferenceServiceStub(channel).Generate(request, timeout=30)

print(answer.choices[0].message.parts[0].text)
print(f"{answer.started.target}: {answer.usage.input_tokens} tokens in, {answer.usage.output_tokens} out")
