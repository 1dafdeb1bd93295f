// Tools, forms and the like with OpenAI's own library and its own helpers: openai_structured.mjs ADDRESS.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

// The packages lie below the build folder, where `import` does not look and `require` does (NODE_PATH).
const { OpenAI } = createRequire(import.meta.url)("openai");

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none", maxRetries: 0 });
const question = "Could you check how the weather is in Bergen?";
const ask = (text, options) => ({ model: "pip", messages: [{ role: "user", content: text }], ...options });
const closed = (properties) => ({
  type: "object",
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
});
const weather = { name: "get_weather", description: "The weather in a city", parameters: closed({ city: { type: "string" } }) };
const trip = {
  name: "plan_trip",
  strict: true,
  parameters: closed({ to: { enum: ["Oslo", "Bergen"] }, days: { type: "integer", minimum: 1, maximum: 9 } }),
};
const tools = [weather, trip].map((tool) => ({ type: "function", function: tool }));

// The library calls the tool itself, and sends its result back, until there is an answer.
for (const stream of [false, true]) {
  const asked = [];
  const get_weather = { ...weather, parse: JSON.parse, function: ({ city }) => (asked.push(city), { temp_c: 9, sky: "rainy" }) };
  const runner = client.chat.completions.runTools(ask(question, { stream, tools: [{ type: "function", function: get_weather }] }));
  assert.equal(await runner.finalContent(), "It is 9 degrees and rainy in Bergen.");
  assert.deepEqual(asked, ["Bergen"]);
}

// Arguments come in pieces.
const pieces = [];
const calling = client.chat.completions.stream(ask(question, { tools }));
calling.on("tool_calls.function.arguments.delta", ({ arguments_delta }) => pieces.push(arguments_delta));
const called = (await calling.finalChatCompletion()).choices[0];
assert.equal(called.finish_reason, "tool_calls");
assert.equal(called.message.tool_calls[0].function.arguments, pieces.join(""));
assert.ok(pieces.length > 2, pieces);

for (const tool_choice of ["required", { type: "function", function: { name: "plan_trip" } }, "none"]) {
  const options = { tools, tool_choice, parallel_tool_calls: false, temperature: 1, seed: 3 };
  const { message } = (await client.chat.completions.create(ask("Hello", options))).choices[0];
  assert.equal(message.tool_calls?.length ?? 0, tool_choice === "none" ? 0 : 1, JSON.stringify(message));
  for (const call of message.tool_calls ?? []) {
    const given = JSON.parse(call.function.arguments);
    if (call.function.name === "plan_trip") assert.ok(["Oslo", "Bergen"].includes(given.to) && given.days >= 1 && given.days <= 9);
  }
}

// Forms, read by the library: parsed by its helper, whole and streamed.
const schema = closed({ order: { type: "integer", minimum: 0, maximum: 9999 }, status: { enum: ["sent", "packed", "lost"] } });
const form = { type: "json_schema", json_schema: { name: "order", strict: true, schema } };
const order = ask("Give me order 4417 as JSON.", { response_format: form });
for (const answer of [
  await client.chat.completions.parse(order),
  await client.chat.completions.stream(order).finalChatCompletion(),
]) {
  const { content } = answer.choices[0].message;
  assert.deepEqual(Object.keys(JSON.parse(content)), ["order", "status"], content);
}
await assert.rejects(
  client.chat.completions.create({ ...order, response_format: { ...form, json_schema: { ...form.json_schema, schema: { type: "bird" } } } }),
  (error) => error instanceof OpenAI.BadRequestError && error.message.includes("json_schema"),
);

// Scores, several answers, seeds, stop texts.
const scored = (await client.chat.completions.create(ask("Count to 12.", { logprobs: true, top_logprobs: 2 }))).choices[0];
assert.equal(scored.logprobs.content.map(({ token }) => token).join(""), scored.message.content);
const several = { n: 3, temperature: 2, seed: 7, max_completion_tokens: 24 };
const texts = async () =>
  (await client.chat.completions.create(ask("Tell me a story.", several))).choices.map(({ message }) => message.content);
const first = await texts();
assert.equal(new Set(first).size, 3);
assert.deepEqual(await texts(), first);
const cut = (await client.chat.completions.create(ask("Hello", { stop: ["How can"] }))).choices[0];
assert.deepEqual([cut.message.content, cut.finish_reason], ["Hello! I am Pip. ", "stop"]);
