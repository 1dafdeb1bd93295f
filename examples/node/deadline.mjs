// Gives an answer less time than it needs: node deadline.mjs HOST:PORT. The model stops when it is over.

import { connect, question, told } from "./mesh.mjs";

const mesh = connect(process.argv[2]);
// The deadline of the whole call, the wait for a place included, everywhere in the mesh.
const deadline = new Date(Date.now() + 10);
try {
  for await (const frame of mesh.GenerateStream(question("Tell me a story."), { deadline })) {
    process.stdout.write(frame.delta?.text ?? "");
  }
} catch (error) {
  // This program's own clock is most often the first, and then there is no reason.
  console.log(` … ${told(error).code}`);
}
mesh.close();
