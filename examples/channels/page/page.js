// A conversation in a page: index.html?session=NAME&mesh=http://127.0.0.1:8080&model=pip.
//
// It shows every turn, whichever channel it came through, and streams the answer to what is typed here.

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { InferenceService } from "./gen/pointsman/inference/v1/inference_service_pb.js";
import { Role } from "./gen/pointsman/inference/v1/message_pb.js";
import { SessionService } from "./gen/pointsman/sessions/v1/session_service_pb.js";

const asked = new URLSearchParams(location.search);
const [name, model] = [asked.get("session"), asked.get("model") ?? "pip"];
const transport = createGrpcWebTransport({ baseUrl: asked.get("mesh") ?? "http://127.0.0.1:8080" });
const inference = createClient(InferenceService, transport);
const sessions = createClient(SessionService, transport);
const ids = ["turns", "problem", "offline", "form", "text"];
const [turns, problem, offline, form, text] = ids.map((id) => document.getElementById(id));

// The youngest turn that is shown. A revision is 64 bits wide, hence a BigInt.
let shown = 0n;

/** Adds the turns that are not shown yet. */
async function refresh() {
  for (let after = shown; ; ) {
    const page = await sessions.listTurns({ name, afterRevision: after });
    for (const turn of page.turns) {
      // Two of these may overlap.
      if (turn.revision !== shown + 1n) continue;
      shown = turn.revision;
      // A turn that a model made does not say its channel; the adapters put it into the request's id.
      const channel = turn.channel || (turn.requestId.includes(":") ? turn.requestId.split(":")[0] : "terminal");
      for (const message of turn.input) turns.append(paragraph("said", textOf(message), channel));
      if (turn.output) turns.append(paragraph("answer", textOf(turn.output)));
    }
    if (page.nextAfterRevision === 0n) return;
    after = page.nextAfterRevision;
  }
}

/** Sends what was typed, and shows the answer while it comes. */
async function send(request) {
  const draft = [paragraph("said", textOf(request.messages[0]), "web"), paragraph("answer", "")];
  turns.append(...draft);
  try {
    for await (const { body } of inference.generateStream(request)) {
      if (body.case === "delta" && body.value.content.case === "text") draft[1].firstChild.append(body.value.content.value);
    }
    // The stream has ended well: the turn is durable, and is read like everybody's.
    await refresh();
  } finally {
    for (const element of draft) element.remove();
  }
}

function textOf(message) {
  return message.parts.map((part) => (part.kind.case === "text" ? part.kind.value : "")).join("");
}

function paragraph(kind, content, channel) {
  const [item, element] = [document.createElement("li"), document.createElement("p")];
  element.className = kind;
  if (channel) element.dataset.channel = channel;
  element.append(content);
  item.append(element);
  return item;
}

/** Does something and shows there what goes wrong with it. Returns whether it went well. */
async function tried(what, where) {
  try {
    await what();
    where.textContent = "";
    return true;
  } catch (error) {
    where.textContent = ConnectError.from(error).rawMessage;
    return false;
  }
}

// What is sent again after a failure has the same id: if the turn is there after all, its answer comes from the store.
let unanswered;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const typed = text.value;
  if (unanswered?.typed !== typed) unanswered = { typed, requestId: `web:${crypto.randomUUID()}` };
  const messages = [{ role: Role.USER, parts: [{ kind: { case: "text", value: typed } }] }];
  const request = { model, messages, session: { session: name }, requestId: unanswered.requestId };
  text.disabled = true;
  if (await tried(() => send(request), problem)) {
    text.value = "";
    unanswered = undefined;
  }
  text.disabled = false;
  text.focus();
});

/** Looks for what others said, every second: the mesh does not tell by itself yet. */
async function follow() {
  if (!text.disabled) await tried(() => refresh().catch(unlessNew), offline);
  setTimeout(follow, 1000);
}

// A session begins with its first turn.
function unlessNew(error) {
  if (ConnectError.from(error).code !== Code.NotFound) throw error;
}

follow();
