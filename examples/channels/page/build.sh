#!/usr/bin/env bash
# Makes the page's one script, beside it: build.sh PROTOS, the folder with what the gateway gives away at /protos.tar.gz.
# Needs `npm install` here, and Python's grpcio-tools for protoc.
set -euo pipefail
protos="$(cd "$1" && pwd)"
cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p gen
"${PYTHON:-python3}" -m grpc_tools.protoc -I "$protos" --plugin=protoc-gen-es=node_modules/.bin/protoc-gen-es \
    --es_out=gen --es_opt=target=js "$protos"/pointsman/inference/v1/*.proto "$protos"/pointsman/sessions/v1/*.proto
node_modules/.bin/esbuild page.js --bundle --format=esm --minify --outfile=page.bundle.js --log-level=warning
