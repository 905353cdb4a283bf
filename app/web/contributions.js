// Why: what each branch contributes, where in the image, and the sum of it all.

import { $, element } from "./dom.js";
import * as familiarity from "./familiarity.js";
import { overlay, strip } from "./picture.js";
import { isolated, ranked, signed, words } from "./words.js";

const DARK = matchMedia("(prefers-color-scheme: dark)");

/** A card for each branch, and their sum; the maps, in the shape of the model's input, are drawn later. */
export function show(body, statistics, explained, size) {
  const { explanation } = body;
  const rival = runnerUp(explanation, explained);
  $("explained").textContent = explained;
  const [one, other] = [explained, rival].map(isolated);
  $("why-words").textContent = `Each branch adds a contribution to the score of ${one}: the first figure. `
    + `The second figure is by how much it favours ${one} over ${other}. `
    + "The maps show where in the image the contribution comes from.";
  const longest = Math.max(...explanation.branches.map((branch) => Math.abs(branch.contributions[explained])), 1e-6);
  $("branches").replaceChildren(
    ...body.branches.map((branch, i) => card(branch, explanation.branches[i], { explained, rival, longest, body, statistics })),
  );
  for (const canvas of document.querySelectorAll(".map")) canvas.style.aspectRatio = `${size.width} / ${size.height}`;
  sums(explanation, explained);
  const strips = [...document.querySelectorAll(".strip")];
  DARK.onchange = () => strips.forEach((canvas, i) => strip(canvas, body.branches[i].features)); // in the colour of text
  DARK.onchange();
}

/** The class with the highest score besides this one. */
function runnerUp({ logits }, explained) {
  return Object.keys(logits).filter((label) => label !== explained)
    .reduce((best, label) => (logits[label] > logits[best] ? label : best));
}

function card(branch, share, { explained, rival, longest, body, statistics }) {
  const made = $("branch").content.cloneNode(true);
  const find = (selector) => made.querySelector(selector);
  const mine = share.contributions[explained];
  const lead = mine - share.contributions[rival];
  find("h3").textContent = words(branch.name);
  find(".chip").textContent = branch.pooling;
  find(".for dt").textContent = `for ${isolated(explained)}`;
  amount(find(".for dd"), mine, longest);
  find(".versus dt").textContent = `against ${isolated(rival)}`;
  amount(find(".versus dd"), lead, longest);
  find(".map").setAttribute("aria-label", `Where the contribution of ${words(branch.name)} to ${explained} comes from: ${signed(mine)} in total`);
  const largest = Math.max(...branch.features.map(Math.abs));
  const count = `${branch.features.length} features, up to ${largest.toFixed(2)}`;
  find(".strip").setAttribute("aria-label", count);
  const known = body.familiarity?.branches[branch.name];
  const figure = known === undefined ? "" : `; familiarity ${familiarity.figure(known, statistics)}`;
  find(".features").textContent = count + figure;
  const changed = share.without === ranked(body.probabilities)[0] ? "stay the same" : `be ${isolated(share.without)}`;
  find(".votes").textContent = `This branch alone would answer ${isolated(share.alone)}. Without it, the answer would ${changed}.`;
  return made;
}

function amount(place, value, size) {
  const bar = element("span", { className: value < 0 ? "amount minus" : "amount plus" });
  bar.style.setProperty("--share", Math.min(1, Math.abs(value) / size));
  place.append(element("span", { className: "axis" }, bar), element("span", { className: "number", text: signed(value) }));
}

/**
 * Draw the maps into the cards, each on its own scale unless they share one: an average spreads over the whole image
 * what a maximum has in one place, so on a shared scale it may be invisible.
 */
export function maps(found, { grey, size, regions, shared }) {
  const sizes = found.maps.map((map) => Math.max(...map.flat().map(Math.abs)));
  for (const [i, canvas] of [...document.querySelectorAll(".map")].entries()) {
    const largest = shared ? Math.max(...sizes) : sizes[i];
    overlay(canvas, { grey, size, map: found.maps[i], region: regions[i] ?? [0, 0, 1, 1], largest });
  }
}

/** Bias and contributions, one after the other, up to the score. */
function sums({ bias, branches, logits }, explained) {
  const steps = [["bias", bias[explained]], ...branches.map((one) => [words(one.name), one.contributions[explained]])];
  let at = 0;
  const spans = steps.map(([name, value]) => ({ name, value, from: at, to: (at += value) }));
  spans.push({ name: "score", value: logits[explained], from: 0, to: logits[explained], total: true });
  const low = Math.min(0, ...spans.map(({ from, to }) => Math.min(from, to)));
  const high = Math.max(0, ...spans.map(({ from, to }) => Math.max(from, to)));
  const place = (value) => (value - low) / (high - low || 1);
  $("sum").replaceChildren(
    ...spans.map(({ name, value, from, to, total }) => {
      const span = element("span", { className: `span ${total ? "total" : value < 0 ? "minus" : "plus"}` });
      span.style.setProperty("--from", place(Math.min(from, to)));
      span.style.setProperty("--size", Math.abs(place(to) - place(from)));
      const zero = element("span", { className: "zero" });
      zero.style.setProperty("--from", place(0));
      return element(
        "p",
        { className: total ? "step total" : "step" },
        element("span", { className: "name", text: name }),
        element("span", { className: "track" }, zero, span),
        element("span", { className: "number", text: signed(value) }),
      );
    }),
  );
}
