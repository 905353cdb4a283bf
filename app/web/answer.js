// Shows an answer: probabilities, branches, sums, times.

import { $, element } from "./dom.js";
import * as familiarity from "./familiarity.js";
import { overlay, strip } from "./picture.js";

const SHOWN = 5;
const DARK = matchMedia("(prefers-color-scheme: dark)");

/** A number with its sign and a real minus; zero is never negative. */
export function signed(value) {
  const size = Math.abs(value).toFixed(2);
  return `${value < 0 && Number(size) ? "−" : "+"}${size}`;
}

/** A probability, short enough for a bar; never 0 or 100 %, which a softmax does not reach. */
export function percent(value) {
  if (value > 0.9995) return "> 99.9 %";
  if (value < 0.0005) return "< 0.1 %";
  return `${(100 * value).toFixed(1)} %`;
}

/** A name within a sentence; one that is written from right to left must not reverse the rest. */
export function isolated(name) {
  return `\u2068${name}\u2069`;
}

/** Labels, most probable first; object keys that are numerals would come in numeric order. */
export function ranked(probabilities) {
  return Object.keys(probabilities).sort((one, other) => probabilities[other] - probabilities[one]);
}

/** A branch's name, in words. */
export function words(name) {
  return name.replaceAll("_", " ");
}

/** Winner, agreement, bars and familiarity. */
export function verdict(body, statistics, explained, choose) {
  const labels = ranked(body.probabilities);
  $("empty").hidden = $("unanswered").hidden = true;
  $("verdict").hidden = false;
  $("label").textContent = body.label ?? "Uncertain";
  $("probability").textContent = body.label ? percent(body.probability) : ""; // "Uncertain 70 %" would mislead
  $("agreement").textContent = `${uncertain(body)} ${agreement(body)}`.trim();
  const press = body.explanation ? "; press one to explain that class" : "";
  $("bars").setAttribute("aria-label", `Probabilities${press}`);
  bars(body.probabilities, labels, explained, body.explanation && choose);
  familiarity.show(body.familiarity, statistics);
}

/** Why an answer names no class, if it names none. */
export function uncertain({ label, probabilities, probability }) {
  if (label) return "";
  const likeliest = `${isolated(ranked(probabilities)[0])} (${percent(probability)})`;
  return `The most probable class is ${likeliest}, but it is not probable enough for this service.`;
}

function agreement({ explanation, branches, label }) {
  if (!explanation) return "This model cannot say why: its score is not a sum of contributions of its branches.";
  if (!label) return "";
  const agreeing = explanation.agreement.map(words);
  if (agreeing.length === branches.length) return `Each of the ${branches.length} branches alone would choose this class.`;
  if (agreeing.length === 0) return "No branch alone would choose this class; together they do.";
  return `${agreeing.length} of ${branches.length} branches alone would choose this class: ${agreeing.join(", ")}.`;
}

function bars(probabilities, labels, explained, choose) {
  const all = $("more").getAttribute("aria-expanded") === "true";
  const focused = $("bars").contains(document.activeElement);
  $("bars").replaceChildren(
    ...labels.slice(0, all ? undefined : SHOWN).map((label) => {
      const fill = element("span", { className: "fill" });
      fill.style.inlineSize = `${100 * probabilities[label]}%`;
      const bar = element(
        "button",
        { type: "button", className: "bar", disabled: !choose, onclick: () => choose(label) },
        element("span", { className: "name", dir: "auto", text: label }),
        element("span", { className: "track" }, fill),
        element("span", { className: "number", text: percent(probabilities[label]) }),
      );
      bar.setAttribute("aria-pressed", label === explained);
      return bar;
    }),
  );
  if (focused) $("bars").querySelector("[aria-pressed=true]")?.focus(); // the focused button was replaced
  $("more").hidden = labels.length <= SHOWN;
  $("more").setAttribute("aria-expanded", all);
  $("more").textContent = all ? `Only the first ${SHOWN}` : `All ${labels.length} classes`;
  $("more").onclick = () => {
    $("more").setAttribute("aria-expanded", !all);
    bars(probabilities, labels, explained, choose);
  };
}

/** The cards of the branches; their maps, in the shape of the model's input, are drawn later. */
export function branches(body, statistics, explained, size) {
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

const STAGES = ["read", "decode", "queue", "inference"];

/** How long each stage took. */
export function timing(stages, took) {
  const parts = STAGES.filter((name) => name in stages).map((name) => [name, stages[name]]);
  const inside = stages.total ?? parts.reduce((sum, [, time]) => sum + time, 0);
  parts.push(["other", Math.max(0, inside - parts.reduce((sum, [, time]) => sum + time, 0))]);
  parts.push(["network and browser", Math.max(0, took - inside)]);
  const list = parts.map(([name, time]) => `${name} ${time.toFixed(1)} ms`);
  $("stages").setAttribute("aria-label", list.join(", "));
  $("stages").replaceChildren(
    ...parts.map(([, time], i) => {
      const part = element("span", { className: `stage-${i}` });
      part.style.flexGrow = time;
      return part;
    }),
  );
  $("stage-words").replaceChildren(...list.map((text, i) => element("li", { className: `stage-${i}`, text })));
  $("foot").hidden = false;
}
