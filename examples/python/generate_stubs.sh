#!/usr/bin/env bash
# Makes Python stubs of the contract in a folder: generate_stubs.sh FOLDER. Needs the package grpcio-tools.
set -euo pipefail
mkdir -p "$1"
stubs="$(cd "$1" && pwd)"
cd "$(dirname "${BASH_SOURCE[0]}")/../../proto"
"${PYTHON:-python3}" -m grpc_tools.protoc -I . --python_out="$stubs" --grpc_python_out="$stubs" \
    pointsman/inference/v1/*.proto pointsman/sessions/v1/*.proto
