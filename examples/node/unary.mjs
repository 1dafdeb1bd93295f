// Asks for a whole answer: node unary.mjs HOST:PORT.

import { promisify } from "node:util";

import { connect, question } from "./mesh.mjs";

const mesh = connect(process.argv[2]);
const generate = promisify(mesh.Generate).bind(mesh);
const answer = await generate(question("Hello"));
console.log(answer.choices[0].message.parts[0].text);
console.log(`${answer.started.target}: ${answer.usage.input_tokens} tokens in, ${answer.usage.output_tokens} out`);
mesh.close();
