// What an application does with Vercel's AI SDK: ai_sdk.mjs PART ADDRESS. The demo model answers, but in `texts` and `script`.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

// The packages lie below the build folder, where `import` does not look and `require` does (NODE_PATH).
const require = createRequire(import.meta.url);
const ai = require("ai");
const { createOpenAI } = require("@ai-sdk/openai");
const { createOpenAICompatible } = require("@ai-sdk/openai-compatible");
const { z } = require("zod");
const { APICallError, NoObjectGeneratedError, Output, RetryError, generateObject, generateText, streamObject, streamText } = ai;

const [part, address] = process.argv.slice(2);
const baseURL = `${address}/v1`;
const compatible = createOpenAICompatible({ name: "pointsman", baseURL, apiKey: "none", includeUsage: true, supportsStructuredOutputs: true });
const openai = createOpenAI({ baseURL, apiKey: "none" });
const greeting = "Hello! I am Pip. How can I help you?";
const question = "Could you check how the weather is in Bergen?";
const told = "It is 9 degrees and rainy in Bergen.";
const wanted = "Give me order 4417 as JSON.";
const story = "Tell me a story.";

const get_weather = ai.tool({
  description: "The weather in a city",
  inputSchema: z.object({ city: z.string().max(12) }),
  execute: async () => ({ temp_c: 9, sky: "rainy" }),
});
const plan_trip = ai.tool({
  description: "Plans a trip",
  inputSchema: z.object({ days: z.number().int().min(1).max(9) }),
});
const order = z.object({ order: z.number().int().min(0).max(9999), status: z.string().max(8) });

async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

// Every part below holds for both of Vercel's packages for this format.
async function answers(model) {
  const ask = (prompt, options) => generateText({ model, maxRetries: 0, prompt, ...options });
  const whole = await ask("Hello");
  assert.equal(whole.text, greeting);
  assert.equal(whole.finishReason, "stop");
  assert.deepEqual(whole.warnings, []);
  const counted = ({ inputTokens, outputTokens, totalTokens }) => [inputTokens, outputTokens, totalTokens];
  assert.deepEqual(counted(whole.usage), [9, 13, 22]);
  assert.equal(whole.response.modelId, "pip");
  assert.equal(whole.response.headers["x-pointsman-trace-id"].length, 32);

  const stream = streamText({ model, maxRetries: 0, prompt: "Hello" });
  const pieces = await all(stream.textStream);
  assert.ok(pieces.length > 5 && pieces.join("") === greeting, pieces);
  assert.deepEqual(counted(await stream.usage), [9, 13, 22]);
  assert.equal(await stream.finishReason, "stop");

  const talk = [
    { role: "user", content: "Hi, my name is Maria." },
    { role: "assistant", content: [{ type: "text", text: "Hi Maria!" }] },
    { role: "user", content: [{ type: "text", text: "Hello" }] },
  ];
  assert.ok((await generateText({ model, system: "Be kind.", messages: talk })).usage.inputTokens > 9);
  assert.equal((await ask("Count to 12.", { stopSequences: [", 5"] })).text, "1, 2, 3, 4");
  const cut = await ask(story, { maxOutputTokens: 5, frequencyPenalty: 0.1, presencePenalty: 0.1, topP: 0.9 });
  assert.deepEqual([cut.finishReason, cut.usage.outputTokens], ["length", 5]);
  const seeded = (seed) => ask(story, { temperature: 2, seed, maxOutputTokens: 48 });
  const stories = [];
  for (const seed of [0, 1, 2, 3, 4, 5]) stories.push((await seeded(seed)).text);
  assert.ok(new Set(stories).size > 1, stories);
  assert.equal((await seeded(3)).text, stories[3]);
  const named = await ask("Hello", { headers: { "idempotency-key": `order-${model.provider}` } });
  assert.equal(named.response.headers["x-request-id"], `order-${model.provider}`);
}

async function tools(model) {
  const options = { model, maxRetries: 0, tools: { get_weather }, stopWhen: ai.stepCountIs(3), prompt: question };
  const whole = await generateText(options);
  assert.equal(whole.text, told);
  assert.deepEqual(whole.steps.map((step) => step.finishReason), ["tool-calls", "stop"]);
  const [call] = whole.steps[0].toolCalls;
  assert.deepEqual([call.toolName, call.input], ["get_weather", { city: "Bergen" }]);
  assert.deepEqual(whole.steps[0].toolResults[0].output, { temp_c: 9, sky: "rainy" });

  const stream = streamText(options);
  const kinds = (await all(stream.fullStream)).map((piece) => piece.type);
  assert.equal(await stream.text, told);
  assert.equal((await stream.steps).length, 2);
  const count = (kind) => kinds.filter((other) => other === kind).length;
  assert.deepEqual(["tool-input-start", "tool-call", "tool-result", "error"].map(count), [1, 1, 1, 0]);
  assert.ok(count("tool-input-delta") > 2 && count("text-delta") > 5, kinds);
  // Before a call there is no text, not even an empty one.
  assert.ok(count("text-start") === 1 && kinds.indexOf("text-start") > kinds.indexOf("tool-result"), kinds);

  const both = { get_weather, plan_trip };
  for (const [toolChoice, names] of [
    ["required", ["get_weather", "plan_trip"]],
    [{ type: "tool", toolName: "plan_trip" }, ["plan_trip"]],
    [{ type: "tool", toolName: "get_weather" }, ["get_weather"]],
  ]) {
    // The demo model never calls when it is greeted.
    const forced = await generateText({ model, tools: both, toolChoice, prompt: "Hello" });
    assert.equal(forced.toolCalls.length, 1);
    assert.ok(names.includes(forced.toolCalls[0].toolName) && !forced.toolCalls[0].invalid, forced.toolCalls);
  }
  const none = await generateText({ ...options, toolChoice: "none" });
  assert.equal(none.toolCalls.length, 0);

  const agent = new ai.ToolLoopAgent({ model, tools: { get_weather } });
  assert.equal((await agent.generate({ prompt: question })).text, told);
}

async function forms(model) {
  const options = { model, maxRetries: 0, prompt: wanted };
  const want = { order: 4417, status: "delivery" };
  assert.deepEqual((await generateObject({ ...options, schema: order })).object, want);
  assert.deepEqual((await generateText({ ...options, output: Output.object({ schema: order }) })).output, want);
  const stream = streamObject({ ...options, schema: order });
  const partial = await all(stream.partialObjectStream);
  assert.ok(partial.length > 0, "no part");
  assert.deepEqual([partial.at(-1), await stream.object], [want, want]);
  const streamed = streamText({ ...options, output: Output.object({ schema: order }) });
  assert.deepEqual((await all(streamed.partialOutputStream)).at(-1), want);
  assert.deepEqual(await streamed.output, want);

  const word = await generateObject({ ...options, output: "enum", enum: ["sent", "lost"] });
  assert.ok(["sent", "lost"].includes(word.object), word.object);
  const choice = await generateText({ ...options, output: Output.choice({ options: ["sent", "lost"] }) });
  assert.ok(["sent", "lost"].includes(choice.output), choice.output);
  const list = await generateObject({ ...options, output: "array", schema: z.enum(["a", "b"]), maxOutputTokens: 200 });
  assert.ok(Array.isArray(list.object), list.object);
  assert.equal((await generateObject({ ...options, output: "no-schema" })).object.order, 4417);
  // An answer that was cut is an error, and no half object.
  await assert.rejects(generateObject({ ...options, schema: order, maxOutputTokens: 4 }), (error) => {
    assert.ok(NoObjectGeneratedError.isInstance(error), error);
    assert.equal(error.finishReason, "length");
    return true;
  });
}

async function refused(promise, status, code, text) {
  await assert.rejects(promise, (error) => {
    assert.ok(APICallError.isInstance(error), error);
    assert.equal(error.statusCode, status);
    assert.equal(error.isRetryable, status === 429);
    assert.equal(error.data?.error.code ?? JSON.parse(error.responseBody).error.code, code);
    assert.ok(error.message.includes(text), error.message);
    return true;
  });
}

async function errors(model, provider) {
  const ask = (options) => generateText({ model, maxRetries: 0, prompt: "Hello", ...options });
  await refused(ask({ temperature: 9 }), 400, "invalid_request", "temperature: must be 0 to 2");
  await refused(ask({ prompt: "word ".repeat(2000) }), 400, "context_length_exceeded", "2011 tokens");
  await refused(ask({ model: provider("nobody") }), 404, "model_not_found", "`nobody`");
  const picture = [{ role: "user", content: [{ type: "image", image: "data:image/png;base64,AAAA" }] }];
  await refused(ask({ prompt: undefined, messages: picture }), 400, "unsupported_field", "image_url");
  const seen = [];
  const stream = streamText({ model, maxRetries: 0, temperature: 9, prompt: "Hello", onError: ({ error }) => seen.push(error) });
  assert.deepEqual(await all(stream.textStream), []);
  assert.equal(seen.length, 1);
  await refused(Promise.reject(seen[0]), 400, "invalid_request", "temperature");
}

// With a simulated engine: what needs no model.
async function texts() {
  const options = { model: compatible.embeddingModel("simulated"), maxRetries: 0 };
  const { embedding, usage } = await ai.embed({ ...options, value: "a cat" });
  assert.deepEqual([embedding.length, usage.tokens], [64, 2]);
  const many = await ai.embedMany({ ...options, values: ["a cat", "a dog"] });
  assert.deepEqual(many.embeddings[0], embedding);
  assert.notDeepEqual(many.embeddings[1], embedding);
  assert.deepEqual((await ai.embed({ ...options, model: openai.embeddingModel("simulated"), value: "a cat" })).embedding, embedding);
  const providerOptions = { pointsman: { dimensions: 8 } };
  await refused(ai.embed({ ...options, value: "a cat", providerOptions }), 400, "unsupported_field", "dimensions");
  const whole = await generateText({ model: compatible.completionModel("simulated"), prompt: "Hello" });
  assert.ok(whole.text.startsWith("You said:"), whole.text);
}

// With a script: a queue that is full thrice, a stream that breaks off, and one that never ends.
async function script() {
  const model = compatible.chatModel("simulated");
  await refused(generateText({ model, maxRetries: 0, prompt: "full" }), 429, "rate_limit_exceeded", "nothing free");
  await assert.rejects(generateText({ model, maxRetries: 1, prompt: "full" }), (error) => {
    assert.ok(RetryError.isInstance(error) && error.reason === "maxRetriesExceeded", error);
    return true;
  });
  // It waits and asks again by itself, unless told otherwise.
  assert.equal((await generateText({ model, prompt: "full once" })).text, "after full");

  const seen = [];
  const stream = streamText({ model, maxRetries: 0, prompt: "break", onError: ({ error }) => seen.push(error) });
  assert.equal((await all(stream.textStream)).join(""), "Half an");
  // What comes in a stream is given on as it came; there is no status any more.
  assert.equal(seen[0].code, "stream_truncated");
  assert.equal(await stream.finishReason, "error");

  const leaves = new AbortController();
  const kinds = [];
  const endless = streamText({ model, maxRetries: 0, prompt: "endless", abortSignal: leaves.signal });
  for await (const { type } of endless.fullStream) {
    kinds.push(type);
    if (type === "text-delta") leaves.abort();
  }
  assert.equal(kinds.at(-1), "abort");
}

// What only one of the packages has.
async function only() {
  // A field of ours, which the SDK does not know, goes as it is.
  const narrow = { model: compatible.chatModel("pip"), temperature: 2, maxOutputTokens: 48, prompt: story };
  const texts = new Set();
  for (const seed of [0, 1, 2, 3, 4, 5]) {
    texts.add((await generateText({ ...narrow, seed, providerOptions: { pointsman: { top_k: 1 } } })).text);
  }
  assert.equal(texts.size, 1);
  const scored = await generateText({ model: openai.chat("pip"), prompt: "Hello", providerOptions: { openai: { logprobs: 2 } } });
  const { logprobs } = scored.providerMetadata.openai;
  assert.equal(logprobs.map(({ token }) => token).join(""), greeting);
  assert.ok(logprobs.every(({ top_logprobs }) => top_logprobs.length === 2), logprobs);
}

const chats = { answers, tools, forms, errors };
if (part in chats) {
  for (const provider of [(name) => compatible.chatModel(name), (name) => openai.chat(name)]) {
    await chats[part](provider("pip"), provider);
  }
} else {
  await { texts, script, only }[part]();
}
