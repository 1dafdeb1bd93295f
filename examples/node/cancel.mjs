// Reads a few pieces of an answer and leaves: node cancel.mjs HOST:PORT. The model stops at once.

import { connect, question, told } from "./mesh.mjs";

const mesh = connect(process.argv[2]);
const stream = mesh.GenerateStream(question("Tell me a story."));
let frames = 0;
try {
  for await (const frame of stream) {
    process.stdout.write(frame.delta?.text ?? "");
    frames += 1;
    if (frames === 6) stream.cancel();
  }
} catch (error) {
  console.log(` … ${told(error).code.toLowerCase()}`);
}
mesh.close();
