// What an application does with OpenAI's own library: openai_chat.mjs ADDRESS.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

// The packages lie below the build folder, where `import` does not look and `require` does (NODE_PATH).
const { OpenAI } = createRequire(import.meta.url)("openai");

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none", maxRetries: 0 });
const greeting = "Hello! I am Pip. How can I help you?";
const request = { model: "pip", messages: [{ role: "user", content: "Hello" }] };

const whole = await client.chat.completions.create(request);
assert.equal(whole.choices[0].message.content, greeting);
assert.equal(whole.choices[0].finish_reason, "stop");
assert.deepEqual(
  [whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens],
  [9, 13, 22],
);

let text = "";
let usage = null;
const stream = { ...request, stream: true, stream_options: { include_usage: true } };
for await (const chunk of await client.chat.completions.create(stream)) {
  text += chunk.choices[0]?.delta.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(text, greeting);
assert.equal(usage.total_tokens, 22);

// The library's own reader of streams, which puts the answer together again.
const final = await client.chat.completions.stream(request).finalChatCompletion();
assert.equal(final.choices[0].message.content, greeting);

const models = [];
for await (const model of client.models.list()) models.push(model.id);
assert.deepEqual(models, ["pip"]);

await assert.rejects(client.chat.completions.create({ ...request, model: "nobody" }), (error) => {
  assert.ok(error instanceof OpenAI.NotFoundError);
  assert.equal(error.code, "model_not_found");
  return true;
});
await assert.rejects(client.chat.completions.create({ ...request, temperature: 9 }), (error) => {
  assert.ok(error instanceof OpenAI.BadRequestError);
  assert.equal(error.param, "temperature");
  return true;
});
