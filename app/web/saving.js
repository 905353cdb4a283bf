// Saves an answer as a file, or copies it to the clipboard.

import { element } from "./dom.js";

const FETCHED_MS = 40_000; // by then the browser has read the blob

/** Save bytes as a file. */
export function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), FETCHED_MS);
}

/** Name a file after the image and the model. */
export function name({ image, body: { model, version } }, ending) {
  return `${image.name.replace(/\.[^.]*$/, "")}-${model}-${version}.${ending}`;
}

/** Copy the text of an element; returns what was done, in a word. */
export async function copy(place) {
  try {
    await navigator.clipboard.writeText(place.textContent);
    return "Copied";
  } catch {
    // Only a secure page has a clipboard: over https, or on the same machine.
    getSelection().selectAllChildren(place);
    return document.execCommand("copy") ? "Copied" : "Selected";
  }
}
