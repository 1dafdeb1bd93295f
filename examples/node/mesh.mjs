// What the others share: a client of the contract, and what the mesh's errors say.

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const here = dirname(fileURLToPath(import.meta.url));
// The files that the gateway gives away at /protos.tar.gz.
const protos = join(here, "protos");
const contract = "pointsman/inference/v1";
const options = { includeDirs: [protos, here], keepCase: true, longs: Number, enums: String, oneofs: true };

/** Returns a client for HOST:PORT. Calls whose answer has not begun are tried again where that is worth it. */
export function connect(address) {
  const definition = protoLoader.loadSync(`${contract}/inference_service.proto`, options);
  const { InferenceService } = grpc.loadPackageDefinition(definition).pointsman.inference.v1;
  const config = readFileSync(join(protos, contract, "service_config.json"), "utf8");
  return new InferenceService(address, grpc.credentials.createInsecure(), { "grpc.service_config": config });
}

/** Returns a request with one message of a user. */
export function question(text, fields) {
  return { model: "pip", messages: [{ role: "ROLE_USER", parts: [{ text }] }], ...fields };
}

const details = protoLoader.loadSync("rpc_status.proto", options);

/** Returns what a failed call says. Without a reason the error is the network's, or the client's own. */
export function told(error) {
  const said = { code: grpc.status[error.code], trace: error.metadata?.get("x-pointsman-trace-id")[0], violations: [] };
  const [packed] = error.metadata?.get("grpc-status-details-bin") ?? [];
  const status = packed && details["google.rpc.Status"].deserialize(packed);
  for (const { type_url, value } of status?.details ?? []) {
    const name = type_url.split("/").at(-1);
    const detail = details[name]?.deserialize(value);
    if (name === "google.rpc.ErrorInfo") said.reason = detail.reason;
    if (name === "google.rpc.BadRequest") said.violations = detail.field_violations;
    if (name === "google.rpc.RetryInfo") said.retryAfter = detail.retry_delay.seconds * 1000 + detail.retry_delay.nanos / 1e6;
  }
  return said;
}
