"""What a gRPC client does with the contract's own service config: grpc_retry.py HOST:PORT HTTP_ADDRESS.

The files of the contract are those that the mesh gives away: nothing is read from a clone.
"""

import io
import json
import sys
import tarfile
import tempfile
from importlib.resources import files as files_of
from pathlib import Path

import grpc
import grpc_tools
import httpx
from grpc_tools import protoc


def stubs(archive: bytes, folder: Path) -> dict:
    """Makes stubs of what the mesh gives away, and returns the service config beside it."""
    protos, out = folder / "protos", folder / "stubs"
    out.mkdir()
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        tar.extractall(protos, filter="data")
    files = [str(file.relative_to(protos)) for file in protos.rglob("*.proto")]
    assert "pointsman/inference/v1/inference_service.proto" in files, files
    google = files_of(grpc_tools) / "_proto"
    arguments = [f"-I{protos}", f"-I{google}", f"--python_out={out}", f"--grpc_python_out={out}"]
    assert protoc.main(["", *arguments, *files]) == 0
    sys.path.insert(0, str(out))
    return json.loads((protos / "pointsman/inference/v1/service_config.json").read_text())


def main(host: str, address: str) -> None:
    response = httpx.get(f"{address}/protos.tar.gz", trust_env=False).raise_for_status()
    assert response.headers["content-type"] == "application/gzip", response.headers
    with tempfile.TemporaryDirectory() as folder:
        config = stubs(response.content, Path(folder))
        from pointsman.inference.v1 import generate_pb2, message_pb2
        from pointsman.inference.v1.inference_service_pb2_grpc import InferenceServiceStub

        def say(text: str) -> generate_pb2.GenerateRequest:
            message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text=text)])
            return generate_pb2.GenerateRequest(model="simulated", messages=[message])

        options = [("grpc.service_config", json.dumps(config)), ("grpc.enable_http_proxy", 0)]
        with grpc.insecure_channel(host, options) as channel:
            mesh = InferenceServiceStub(channel)
            for text in ["full", "away"]:
                answer = "".join(frame.delta.text for frame in mesh.GenerateStream(say(text), timeout=30))
                assert answer == f"after {text}", answer
            assert mesh.Generate(say("full whole"), timeout=30).choices[0].message.parts[0].text == "after full whole"
            for text, code in [
                # Said to be in vain, under a code that is tried again otherwise.
                ("too large", grpc.StatusCode.RESOURCE_EXHAUSTED),
                ("refused", grpc.StatusCode.FAILED_PRECONDITION),
                ("begun", grpc.StatusCode.UNAVAILABLE),
            ]:
                try:
                    list(mesh.GenerateStream(say(text), timeout=30))
                    raise AssertionError(f"{text}: it was tried again")
                except grpc.RpcError as error:
                    assert error.code() == code, error


main(sys.argv[1], sys.argv[2])
