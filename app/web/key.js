// Asks for the key where the service wants one, on every page with the same card.

import * as focus from "./focus.js";
import { hasKey, useKey } from "./service.js";

const $ = (id) => document.getElementById(id);

/** Show the card; gives what there is to say about the key that was tried, if any. */
export function ask() {
  $("key-card").hidden = false;
  $("key").focus();
  return hasKey() ? "The service does not know this key." : "";
}

/** Take the card away, and put the keyboard where the page goes on. */
export function dismiss() {
  focus.keep(document.querySelector("main"), () => ($("key-card").hidden = true));
}

/** Try again with every key that is given. */
export function onGiven(retry) {
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey($("key").value);
    retry();
  });
}
