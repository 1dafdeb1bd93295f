// Asks for what cannot be, and reads all that the mesh says about it: node errors.mjs HOST:PORT.

import { promisify } from "node:util";

import { connect, question, told } from "./mesh.mjs";

const mesh = connect(process.argv[2]);
const generate = promisify(mesh.Generate).bind(mesh);
try {
  await generate(question("Hello", { sampling: { temperature: 9 } }));
} catch (error) {
  const { code, reason, violations, retryAfter, trace } = told(error);
  console.log(code);
  console.log(`reason ${reason}: see docs/errors/${reason}.md`);
  for (const { field, description } of violations) console.log(`  ${field}: ${description}`);
  if (retryAfter !== undefined) console.log(`  worth repeating in ${retryAfter} ms`);
  console.log(`trace ${trace}`);
}
mesh.close();
