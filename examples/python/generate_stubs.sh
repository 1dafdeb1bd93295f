#!/usr/bin/env bash
# Makes Python stubs of the contract in a folder: generate_stubs.sh FOLDER. Needs the package grpcio-tools.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../proto"
mkdir -p "$1"
"${PYTHON:-python3}" -m grpc_tools.protoc -I . --python_out="$1" --grpc_python_out="$1" pointsman/inference/v1/*.proto
