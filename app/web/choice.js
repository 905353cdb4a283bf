// The chosen model and version, among those that the service offers.

import { isolated } from "./answer.js";

const $ = (id) => document.getElementById(id);

let listed = { models: [] };

/** The chosen model as the service lists it; undefined while there is none. */
export const model = () => listed.models.find(({ name }) => name === $("model").value);

/** The chosen model and version, as requests name them. */
export const reference = () => `${$("model").value}:${$("version").value}`;

/** Offer the models that are served; the choice is kept if it is still among them. */
export function offer(found) {
  const [before, version] = [$("model").value, $("version").value];
  listed = found;
  const kept = model() ? before : listed.default;
  $("model").replaceChildren(...listed.models.map(({ name }) => new Option(name, name, false, name === kept)));
  $("model").disabled = $("version").disabled = false;
  choose(kept === before ? version : null);
}

/** Call `then` after each choice by the user. */
export function onChosen(then) {
  $("model").addEventListener("change", () => {
    choose();
    then();
  });
  $("version").addEventListener("change", () => then());
  $("choice").addEventListener("submit", (event) => event.preventDefault());
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
