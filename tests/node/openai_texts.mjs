// Texts with OpenAI's own library: openai_texts.mjs ADDRESS, where a simulated engine answers.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const { OpenAI } = createRequire(import.meta.url)("openai");

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none", maxRetries: 0 });
const model = "simulated";

const whole = await client.completions.create({ model, prompt: "Hello" });
assert.equal(whole.choices[0].text, "You said: Hello");
assert.equal(whole.choices[0].finish_reason, "stop");
let text = "";
for await (const chunk of await client.completions.create({ model, prompt: "Hello", stream: true, echo: true })) {
  text += chunk.choices[0]?.text ?? "";
}
assert.equal(text, "HelloYou said: Hello");
await assert.rejects(client.completions.create({ model, prompt: "Hello", suffix: "!" }), (error) => {
  assert.ok(error instanceof OpenAI.BadRequestError);
  assert.equal(error.param, "suffix");
  return true;
});

const input = ["a cat", "a dog"];
// The library asks for base64 by itself, and decodes it.
const usual = await client.embeddings.create({ model, input });
const floats = await client.embeddings.create({ model, input, encoding_format: "float" });
for (const [index, { embedding }] of usual.data.entries()) {
  assert.equal(embedding.length, 64);
  assert.deepEqual(embedding.map(Math.fround), floats.data[index].embedding.map(Math.fround));
  assert.ok(Math.abs(Math.hypot(...embedding) - 1) < 1e-5);
}
assert.equal(usual.usage.total_tokens, 4);
await assert.rejects(client.embeddings.create({ model, input, dimensions: 8 }), (error) => {
  assert.ok(error instanceof OpenAI.BadRequestError);
  assert.equal(error.param, "dimensions");
  return true;
});

for await (const listed of client.models.list()) {
  assert.equal(listed.id, model);
  assert.equal(listed.pointsman.embedding_dimensions, 64);
}
