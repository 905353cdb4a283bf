// The interface as openapi.json describes it: routes, parameters, bodies, answers, schemas.

import { $, element } from "./dom.js";
import * as key from "./key.js";
import { Latest } from "./latest.js";
import { say } from "./message.js";
import * as service from "./service.js";

/** Words in which `backticks` mark code. */
function words(text = "") {
  return text.split(/`+([^`]+)`+/).map((part, index) => (index % 2 ? element("code", { text: part }) : part));
}

// Types

const between = (lists, word) => lists.flatMap((list, index) => (index ? [word, ...list] : list));

/** What a value may be, in words and links to the schemas. */
function type(schema = {}) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return [element("a", { href: `#${name}`, text: name })];
  }
  const options = schema.anyOf ?? schema.oneOf;
  if (options) return between(options.map(type), " or ");
  const values = schema.enum ?? ("const" in schema ? [schema.const] : null);
  if (values) return between(values.map((value) => [element("code", { text: JSON.stringify(value) })]), " or ");
  if (schema.type === "array") return ["array of ", ...(schema.items ? type(schema.items) : ["anything"])];
  if (schema.type === "object" && typeof schema.additionalProperties === "object") {
    return ["object of ", ...type(schema.additionalProperties)];
  }
  if (schema.contentEncoding) return [`${schema.type} in ${schema.contentEncoding}`];
  return [[schema.format === "binary" ? "bytes" : schema.type ?? "anything", bounds(schema)].join(" ").trimEnd()];
}

function bounds({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }) {
  const found = { "≥": minimum, "≤": maximum, ">": exclusiveMinimum, "<": exclusiveMaximum };
  return Object.entries(found).filter(([, limit]) => limit !== undefined).map((pair) => pair.join(" ")).join(", ");
}

// Lists

function row(name, kind, text) {
  const term = element("dt", {}, name, element("span", { className: "kind" }, kind));
  return element("div", {}, term, element("dd", {}, words(text)));
}

function list(title, rows) {
  return rows.length ? [...(title ? [element("h4", { text: title })] : []), element("dl", { className: "rows" }, rows)] : [];
}

function fields({ properties = {}, required = [] }, word = "always") {
  return Object.entries(properties).map(([name, schema]) => {
    const kind = [...type(schema), required.includes(name) ? `, ${word}` : ""];
    return row(element("code", { text: name }), kind, schema.description);
  });
}

function parameters(operation) {
  return (operation.parameters ?? []).map((one) => {
    const preset = one.schema.default ?? null;
    const kind = [...type(one.schema), `, in ${one.in}`, one.required ? ", required" : ""];
    if (preset !== null) kind.push(`, default ${JSON.stringify(preset)}`);
    return row(element("code", { text: one.name }), kind, one.description);
  });
}

/** Media types, those of the same schema together. */
function contents(content = {}) {
  const groups = new Map();
  for (const [media, { schema }] of Object.entries(content)) {
    const key = JSON.stringify(schema);
    groups.set(key, { schema, media: [...(groups.get(key)?.media ?? []), media] });
  }
  return [...groups.values()];
}

function bodies(operation) {
  return contents(operation.requestBody?.content).map(({ schema, media }) => {
    const inside = schema?.properties && list("", fields(schema, "required"));
    return element("div", {}, element("dt", { text: media.join(", ") }), element("dd", {}, inside ?? type(schema)));
  });
}

function answers(operation) {
  return Object.entries(operation.responses).map(([status, { description, content }]) => {
    const kinds = contents(content).map(({ schema, media }) => [...type(schema), ` as ${media.join(", ")}`]);
    return row(status, between(kinds, "; "), description);
  });
}

// The document

function route(method, path, operation) {
  const [first, ...more] = (operation.description ?? "").split("\n\n");
  const title = element("summary", {}, element("h3", {}, element("span", { className: "method", text: method }), ` ${path}`));
  title.append(element("span", { className: "note" }, words(first)));
  return element(
    "details",
    { className: "card route", id: `${method}-${path}` },
    title,
    more.map((paragraph) => element("p", {}, words(paragraph))),
    list("Parameters", parameters(operation)),
    list("Body", bodies(operation)),
    list("Answers", answers(operation)),
  );
}

function described(name, schema) {
  const title = element("summary", {}, element("h3", { text: name }));
  const inside = schema.properties ? list("", fields(schema)) : element("p", {}, type(schema));
  return element("details", { className: "card schema", id: name }, title, element("p", {}, words(schema.description)), inside);
}

function show({ info, paths, components = {} }) {
  $("about").textContent = `${info.description} Version ${info.version}.`;
  $("routes").replaceChildren(
    ...Object.entries(paths).flatMap(([path, operations]) =>
      Object.entries(operations).map(([method, operation]) => route(method, path, operation))),
  );
  $("schemas").replaceChildren(
    ...Object.entries(components.schemas ?? {}).map(([name, schema]) => described(name, schema)),
  );
}

/** Open the section that the address points to. */
function open() {
  const target = $(decodeURIComponent(location.hash.slice(1)));
  if (target?.matches("details")) {
    target.open = true;
    target.scrollIntoView();
  }
}

const reading = new Latest(); // of the document

async function load() {
  const signal = reading.next(); // so that a late refusal of the previous key is not taken for one of this key
  try {
    const found = await service.description(signal);
    key.dismiss();
    say("");
    show(found);
    if (service.hasKey()) link(found); // an ordinary link would send no key
    open();
  } catch (error) {
    if (signal.aborted) return;
    if (error.status === 401) say(key.ask());
    else say(error.message, error.passing ? load : null);
  }
}

/** Make the link open the document that was read. */
function link(found) {
  const file = new Blob([JSON.stringify(found, null, 2)], { type: "application/json" });
  $("document").href = URL.createObjectURL(file);
}

key.onGiven(load);
window.addEventListener("hashchange", open);
load();
