"""What clients do with a mesh behind TLS: secured.py openai|grpc CA ADDRESS.

The stubs for `grpc` are found through PYTHONPATH.
"""

import ssl
import sys

MODEL = "simulated"


def openai_library(ca: str, address: str) -> None:
    import openai

    messages = [{"role": "user", "content": "Hello"}]
    trusting = openai.DefaultHttpxClient(verify=ssl.create_default_context(cafile=ca))
    client = openai.OpenAI(
        base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=60, http_client=trusting
    )
    whole = client.chat.completions.create(model=MODEL, messages=messages)
    assert whole.choices[0].message.content == "You said: Hello", whole
    chunks = client.chat.completions.create(model=MODEL, messages=messages, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == "You said: Hello", text

    distrusting = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=60)
    try:
        distrusting.chat.completions.create(model=MODEL, messages=messages)
        raise AssertionError("the system's authorities have not signed this certificate")
    except openai.APIConnectionError as error:
        assert "CERTIFICATE_VERIFY_FAILED" in str(error.__cause__), error.__cause__


def grpc_library(ca: str, address: str) -> None:
    import grpc
    from pointsman.inference.v1 import generate_pb2, message_pb2
    from pointsman.inference.v1.inference_service_pb2_grpc import InferenceServiceStub

    message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text="Hello")])
    request = generate_pb2.GenerateRequest(model=MODEL, messages=[message])
    with open(ca, "rb") as file:
        credentials = grpc.ssl_channel_credentials(root_certificates=file.read())
    with grpc.secure_channel(address.removeprefix("https://"), credentials) as channel:
        stub = InferenceServiceStub(channel)
        whole = stub.Generate(request, timeout=60)
        assert whole.choices[0].message.parts[0].text == "You said: Hello", whole
        text = "".join(frame.delta.text for frame in stub.GenerateStream(request, timeout=60))
        assert text == "You said: Hello", text
    with grpc.secure_channel(address.removeprefix("https://"), grpc.ssl_channel_credentials()) as channel:
        try:
            InferenceServiceStub(channel).Generate(request, timeout=60)
            raise AssertionError("its own authorities have not signed this certificate")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE, error


if __name__ == "__main__":
    part, *rest = sys.argv[1:]
    {"openai": openai_library, "grpc": grpc_library}[part](*rest)
