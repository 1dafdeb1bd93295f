#!/usr/bin/env bash
# Makes Go stubs of the contract beside this file: generate_stubs.sh PROTOS, the folder with what the gateway gives
# away at /protos.tar.gz. Needs protoc, protoc-gen-go and protoc-gen-go-grpc.
set -euo pipefail
protos="$(cd "$1" && pwd)"
cd "$(dirname "${BASH_SOURCE[0]}")"
protoc -I "$protos" --go_out=. --go_opt=module=pointsman --go-grpc_out=. --go-grpc_opt=module=pointsman \
  "$protos"/pointsman/inference/v1/*.proto
