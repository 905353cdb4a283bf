// Asks for a key if the service wants one, with the same card on every page.

import { $ } from "./dom.js";
import * as focus from "./focus.js";
import { hasKey, useKey } from "./service.js";

/** Show the card; returns a message about the key that was tried, if any. */
export function ask() {
  $("key-card").hidden = false;
  $("key").focus();
  return hasKey() ? "The service does not know this key." : "";
}

/** Hide the card. */
export function dismiss() {
  focus.keep(document.querySelector("main"), () => ($("key-card").hidden = true));
}

/** Call `retry` after each key that is entered. */
export function onGiven(retry) {
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey($("key").value);
    retry();
  });
}
