// Requests to the service that this page comes from. The key lives here, in memory, and nowhere else.

const BYTES = "application/octet-stream"; // the bytes say what they are; browsers guess it by the name

let key = "";

/** Keep a key for the requests to come. */
export function useKey(given) {
  key = given.replaceAll(/[^\x20-\x7e]/g, "?"); // a header takes no other characters, and no key has them
}

/** Whether a key is in use. */
export function hasKey() {
  return key !== "";
}

/** What the service answered instead of what was asked for; the message is meant for people. */
export class Refusal extends Error {
  constructor(status, message, code) {
    super(message);
    this.status = status;
    this.code = code;
  }

  /** Whether it may go better another time. */
  get passing() {
    return this.status === 0 || this.status === 429 || this.status >= 500 || this.code === "model_not_found";
  }
}

async function ask(path, options = {}, read = (response) => response.json()) {
  const headers = new Headers(options.headers);
  if (key) headers.set("Authorization", `Bearer ${key}`);
  try {
    const response = await fetch(path, { ...options, headers, cache: "no-store" });
    if (!response.ok) throw await refusal(response);
    return await read(response);
  } catch (error) {
    if (error.name === "AbortError" || error instanceof Refusal) throw error;
    if (await gone(options.body)) {
      throw new Refusal(null, "The file cannot be read: it is a folder, or it was moved or changed. Choose it again.");
    }
    throw new Refusal(0, "The service cannot be reached. Is it still running?");
  }
}

async function refusal(response) {
  const problem = await response.json().catch(() => ({}));
  const words = problem.detail ? problem.detail[0].toUpperCase() + problem.detail.slice(1) : "";
  return new Refusal(response.status, `${words || `The service answered ${response.status}`}.`, problem.code);
}

/** Whether what was to be sent is not there to be read any more; the browser says the same as of a service that is not. */
async function gone(file) {
  try {
    await file?.slice(0, 1).arrayBuffer();
    return false;
  } catch {
    return true;
  }
}

/** The interface, as OpenAPI describes it. */
export function description() {
  return ask("openapi.json");
}

/** All models: {default, default_version, models: [...]}, of which there is at least one. */
export async function models() {
  const listed = await ask("models");
  if (!listed.models.length) throw new Refusal(200, "The service serves no model at the moment.", "model_not_found");
  return listed;
}

/** What familiarity is compared with: {held_out, levels, ...}; null where the model has none, or does not say. */
export async function statistics(model, signal) {
  try {
    return (await ask(`models/${model.replace(":", "/")}`, { signal })).statistics ?? null;
  } catch {
    return null; // the answer stands without it, and says itself what is wrong
  }
}

const unexplained = new Set(); // models whose logits are no sums: they answer all the same, only without reasons

/** Classify; gives the body, also as text, the stages in milliseconds and the time the whole request took. */
export async function predict(image, model, signal) {
  const start = performance.now();
  const explain = !unexplained.has(model);
  try {
    return await ask(predictPath(model, explain), sending(image, signal), async (response) => {
      const text = await response.text();
      return { body: JSON.parse(text), text, stages: stages(response), took: performance.now() - start };
    });
  } catch (error) {
    if (!explain || error.code !== "invalid_parameter") throw error;
    unexplained.add(model);
    return predict(image, model, signal);
  }
}

/** The maps of one class, as numbers. */
export function explain(image, model, label, signal) {
  return ask(explainPath(model, label), sending(image, signal, { Accept: "application/json" }));
}

/** The maps of one class, drawn together, as a PNG. */
export function picture(image, model, label) {
  const sent = sending(image, null, { Accept: "image/png" });
  return ask(explainPath(model, label), sent, (response) => response.blob());
}

/** The line that gives the same answer from a terminal. */
export function curl(image, model, explain) {
  const lines = [
    `curl --data-binary @${quote(image.name)}`,
    `-H 'Content-Type: ${BYTES}'`,
    ...(key ? [`-H "Authorization: Bearer $KEY"`] : []),
    `'${new URL(predictPath(model, explain), document.baseURI)}'`,
  ];
  return lines.join(" \\\n  ");
}

function predictPath(model, explain) {
  return `predict?${new URLSearchParams({ model, explain })}`.replaceAll("%3A", ":");
}

function explainPath(model, label) {
  return `explain?${new URLSearchParams({ model, label })}`;
}

function sending(image, signal, headers = {}) {
  return { method: "POST", body: image, signal, headers: { ...headers, "Content-Type": BYTES } };
}

function stages(response) {
  const found = {};
  for (const part of (response.headers.get("Server-Timing") ?? "").split(",")) {
    const match = part.match(/^\s*([a-z]+);dur=([\d.]+)/);
    if (match) found[match[1]] = Number(match[2]);
  }
  return found;
}

function quote(name) {
  return /^[\w.-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`;
}
