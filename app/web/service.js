// Requests to the service that this page comes from. The key lives here, in memory, and nowhere else.

let key = "";

/** Keep a key for the requests to come. */
export function useKey(given) {
  key = given;
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
}

async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  if (key) headers.set("Authorization", `Bearer ${key}`);
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The service cannot be reached. Is it still running?");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const problem = await response.json().catch(() => ({}));
  const words = problem.detail ? problem.detail[0].toUpperCase() + problem.detail.slice(1) : "";
  return new Refusal(response.status, `${words || `The service answered ${response.status}`}.`, problem.code);
}

/** The interface, as OpenAPI describes it. */
export async function description() {
  return (await ask("openapi.json")).json();
}

/** All models: {default, models: [...]}. */
export async function models() {
  return (await ask("models")).json();
}

/** Classify; gives the body, the stages in milliseconds and the time the whole request took. */
export async function predict(image, model, { signal, explain = true }) {
  const start = performance.now();
  const response = await ask(predictPath(model, explain), sending(image, signal));
  const body = await response.json();
  return { body, stages: stages(response), took: performance.now() - start };
}

/** The maps of one class, as numbers. */
export async function explain(image, model, label, signal) {
  const query = new URLSearchParams({ model, label });
  const response = await ask(`explain?${query}`, sending(image, signal, { Accept: "application/json" }));
  return response.json();
}

/** The line that gives the same answer from a terminal. */
export function curl(image, model) {
  const lines = [
    `curl --data-binary @${quote(image.name)}`,
    `-H 'Content-Type: ${image.type || "application/octet-stream"}'`,
    ...(key ? [`-H "Authorization: Bearer $KEY"`] : []),
    `'${new URL(predictPath(model), document.baseURI)}'`,
  ];
  return lines.join(" \\\n  ");
}

function predictPath(model, explain = true) {
  return `predict?${new URLSearchParams({ model, explain })}`.replaceAll("%3A", ":");
}

function sending(image, signal, headers = {}) {
  const type = image.type || "application/octet-stream";
  return { method: "POST", body: image, signal, headers: { ...headers, "Content-Type": type } };
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
