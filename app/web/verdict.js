// The classes of an answer, the most probable first, and whether the branches agree.

import { $, element } from "./dom.js";
import * as familiarity from "./familiarity.js";
import { isolated, percent, ranked, words } from "./words.js";

const SHOWN = 5;

/** Winner, agreement, bars and familiarity. */
export function show(body, statistics, explained, choose) {
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
