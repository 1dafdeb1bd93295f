// The same mesh with OpenAI's own library: node openai.mjs HOST:PORT.

import OpenAI from "openai";

// The key is the mesh's, or anything where none is needed.
const mesh = new OpenAI({ baseURL: `http://${process.argv[2]}/v1`, apiKey: "none" });

const messages = [{ role: "user", content: "Could you check how the weather is in Bergen?" }];
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const tools = [{ type: "function", function: { name: "get_weather", description: "The weather in a city", parameters } }];
const { choices } = await mesh.chat.completions.create({ model: "pip", messages, tools });
messages.push(choices[0].message);
for (const { id, function: asked } of choices[0].message.tool_calls ?? []) {
  console.log(`${asked.name} ${asked.arguments}`);
  messages.push({ role: "tool", tool_call_id: id, content: JSON.stringify({ temp_c: 9, sky: "rainy" }) });
}
for await (const chunk of await mesh.chat.completions.create({ model: "pip", messages, tools, stream: true })) {
  process.stdout.write(chunk.choices[0]?.delta.content ?? "");
}
console.log();

try {
  await mesh.chat.completions.create({ model: "nobody", messages });
} catch (error) {
  if (!(error instanceof OpenAI.APIError)) throw error;
  console.log(`${error.code}: ${error.message}`);
  console.log(`trace ${error.headers.get("x-pointsman-trace-id")}`);
}
