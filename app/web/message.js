// Says what went wrong, on every page in the same place, and offers to try again where that may help.

import * as focus from "./focus.js";

const place = document.getElementById("message");

let retry; // what was asked last, though it was said of what was asked before

/** Show a text, with a button that calls the latest `again` if that is given; an empty text takes the last one away. */
export function say(text, again) {
  const same = place.firstChild?.textContent === text && !retry === !again;
  retry = again;
  if (same) return; // not aloud once more
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Try again" });
  button.addEventListener("click", () => {
    const now = retry;
    say("");
    now();
  });
  focus.keep(document.querySelector("main"), () => place.replaceChildren(text, ...(again ? [button] : [])));
  place.hidden = !text;
  if (text) place.scrollIntoView({ block: "nearest" });
}
