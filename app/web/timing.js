// How long an answer took.

import { $, element } from "./dom.js";

const STAGES = ["read", "decode", "queue", "inference"];

/** Show how long each stage took, by the service's account, and what is left of the time that passed here. */
export function show(stages, took) {
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
