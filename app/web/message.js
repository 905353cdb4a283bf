// Shows errors, in the same place on every page, with a button to try again where that may help.

import { $, element } from "./dom.js";
import * as focus from "./focus.js";

const place = $("message");

let retry; // the latest `again`, even if the message shown is from an earlier one

/** Show a text, with a button that calls the latest `again` if there is one; an empty text removes the message. */
export function say(text, again) {
  const same = place.firstChild?.textContent === text && !retry === !again;
  retry = again;
  if (same) return; // screen readers would read it out again
  const button = element("button", { type: "button", text: "Try again" });
  button.addEventListener("click", () => {
    const now = retry;
    say("");
    now();
  });
  focus.keep(document.querySelector("main"), () => place.replaceChildren(text, ...(again ? [button] : [])));
  place.hidden = !text;
  if (text) place.scrollIntoView({ block: "nearest" });
}
