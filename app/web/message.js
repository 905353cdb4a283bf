// Says what went wrong, on every page in the same place, and offers to try again where that may help.

const place = document.getElementById("message");

/** Show a text, with a button that calls `again` if that is given; an empty text takes the last one away. */
export function say(text, again) {
  if (place.firstChild?.textContent === text) return; // not aloud once more
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Try again" });
  button.addEventListener("click", () => {
    document.querySelector("main").focus(); // the button goes
    say("");
    again();
  });
  place.replaceChildren(text, ...(again ? [button] : []));
  place.hidden = !text;
  if (text) place.scrollIntoView({ block: "nearest" });
}
