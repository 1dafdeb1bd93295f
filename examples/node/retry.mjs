// Asks again where the reason says that it is worth it: node retry.mjs HOST:PORT [MODEL [TEXT]].

import { setTimeout } from "node:timers/promises";

import { connect, question, told } from "./mesh.mjs";

// gRPC tries again by itself until an answer has begun (see mesh.mjs). These end one that had.
const AGAIN = new Set(["ENGINE_LOST", "INSTANCE_UNREACHABLE", "STREAM_TRUNCATED", "SHUTTING_DOWN"]);

async function answer(request, tries) {
  for (let pause = 500; ; pause *= 2) {
    let text = "";
    try {
      for await (const frame of mesh.GenerateStream(request)) text += frame.delta?.text ?? "";
      return text;
    } catch (error) {
      const { reason, retryAfter } = told(error);
      tries -= 1;
      if (tries === 0 || !AGAIN.has(reason)) throw error;
      const wait = retryAfter ?? pause;
      console.log(`${reason} after "${text}": again in ${wait} ms`);
      await setTimeout(wait);
    }
  }
}

const [address, model = "pip", text = "Hello"] = process.argv.slice(2);
const mesh = connect(address);
console.log(await answer(question(text, { model }), 4));
mesh.close();
