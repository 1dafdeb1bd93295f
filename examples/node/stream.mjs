// Reads an answer as it is made: node stream.mjs HOST:PORT.

import { connect, question } from "./mesh.mjs";

const mesh = connect(process.argv[2]);
for await (const frame of mesh.GenerateStream(question("Tell me a story."))) {
  if (frame.body === "delta") process.stdout.write(frame.delta.text ?? "");
  if (frame.body === "usage") console.log(`\n${frame.usage.output_tokens} tokens`);
}
// The loop ends only after `finished`: a stream that breaks throws instead.
mesh.close();
