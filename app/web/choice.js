// The chosen model and version, among those that the service offers.

import { $ } from "./dom.js";
import { isolated } from "./words.js";

let listed = { models: [] };

/** The chosen model as the service lists it; undefined while there is none. */
export const model = () => listed.models.find(({ name }) => name === $("model").value);

/** The chosen model and version, as requests name them. */
export const reference = () => `${$("model").value}:${$("version").value}`;

/** Model and perhaps version that the address of the page names, as requests do. */
const addressed = () => new URLSearchParams(location.search).get("model") ?? "";

/**
 * Offer the models that are served; the choice is kept if it is still among them, and at first comes from the address.
 * Returns a notice if what the address names is not served.
 */
export function offer(found) {
  const before = $("model").value;
  const [wanted, version] = before ? [before, $("version").value] : addressed().split(":");
  listed = found;
  const kept = listed.models.some(({ name }) => name === wanted);
  const chosen = kept ? wanted : listed.default;
  $("model").replaceChildren(...listed.models.map(({ name }) => new Option(name, name, false, name === chosen)));
  $("model").disabled = $("version").disabled = false;
  choose(kept ? version : null);
  if (before || !wanted || (kept && (!version || version === $("version").value))) return "";
  return `The address of this page names the model ${isolated(addressed().slice(0, 100))}, which is not served; `
    + `${reference()} answers instead.`;
}

/** Call `then` after each choice by the user, which the address of the page then names. */
export function onChosen(then) {
  $("model").addEventListener("change", () => {
    choose();
    address($("model").value); // without a version: a bookmark is to follow the model
    then();
  });
  $("version").addEventListener("change", () => {
    address(reference());
    then();
  });
  $("choice").addEventListener("submit", (event) => event.preventDefault());
}

function address(chosen) {
  const url = new URL(location.href);
  url.searchParams.set("model", chosen);
  history.replaceState(null, "", url.href.replaceAll("%3A", ":"));
}

function choose(kept) {
  const { name, versions, version, input, labels } = model();
  const preset = name === listed.default ? listed.default_version : version;
  const chosen = versions.find((number) => String(number) === kept) ?? preset;
  $("version").replaceChildren(
    ...versions.toReversed().map((number) => new Option(number, number, false, number === chosen)),
  );
  const kind = { 1: "grey", 3: "colour" }[input.channels] ?? `${input.channels}-band`;
  const some = labels.slice(0, 12).map(isolated).join(", ");
  $("facts").textContent = `The model takes ${kind} images, scaled to ${input.width} × ${input.height} pixels, and knows `
    + `${labels.length} classes: ${some}${labels.length > 12 ? ", …" : "."}`;
}
