// Requests to the service that this page comes from. The key is kept here, in memory, and nowhere else.

const BYTES = "application/octet-stream"; // the service detects the format from the bytes; browsers guess it from the name

let key = "";

/** Send this key with all further requests. */
export function useKey(given) {
  key = given.replaceAll(/[^\x20-\x7e]/g, "?"); // a header allows no other characters, and no key has them
}

/** Whether a key is in use. */
export function hasKey() {
  return key !== "";
}

/** An error answer of the service; the message is meant for people. */
export class Refusal extends Error {
  constructor(status, message, code) {
    super(message);
    this.status = status;
    this.code = code;
  }

  /** Whether the same request may succeed later. */
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
    if (error instanceof SyntaxError) throw new Refusal(0, "Something between this page and the service has answered instead of it.");
    throw new Refusal(0, "The service cannot be reached. Is it still running?");
  }
}

async function refusal(response) {
  const { detail, code } = (await response.json().catch(() => null)) ?? {}; // anything at all, where a proxy has answered
  const words = typeof detail === "string" ? detail.slice(0, 1).toUpperCase() + detail.slice(1) : "";
  return new Refusal(response.status, `${words || `The service answered ${response.status}`}.`, code);
}

/** Whether the file cannot be read any more; the browser reports that like a service that cannot be reached. */
async function gone(file) {
  try {
    await file?.slice(0, 1).arrayBuffer();
    return false;
  } catch {
    return true;
  }
}

/** The interface, as OpenAPI describes it. */
export function description(signal) {
  return ask("openapi.json", { signal });
}

/** All models: {default, default_version, models: [...]}, at least one. */
export async function models(signal) {
  const listed = await ask("models", { signal });
  if (!listed.models.length) throw new Refusal(200, "The service serves no model at the moment.", "model_not_found");
  return listed;
}

/** What familiarity is compared with: {held_out, levels, ...}; null if the model has none, or on an error. */
export async function statistics(model, signal) {
  try {
    return (await ask(`models/${model.replace(":", "/")}`, { signal })).statistics ?? null;
  } catch {
    return null; // the answer is shown without it; if the service has a problem, the prediction reports it
  }
}

const unexplained = new Set(); // models that cannot be explained: they answer, but without contributions

/** Classify; returns the body, also as text, the stages in milliseconds and the time of the whole request. */
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

/** The command that gets the same answer in a terminal. */
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
