// Takes an answer away from the page: as a file, or to the clipboard.

const FETCHED_MS = 40_000; // by then the browser has read what it is to save

/** Save bytes as a file. */
export function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), FETCHED_MS);
}

/** Name a file after the image and the model that it is about. */
export function name({ image, body: { model, version } }, ending) {
  return `${image.name.replace(/\.[^.]*$/, "")}-${model}-${version}.${ending}`;
}

/** Copy the text of an element; tells what came of it. */
export async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return "Copied";
  } catch {
    // Only a secure page has a clipboard: https, or this very machine.
    getSelection().selectAllChildren(element);
    return document.execCommand("copy") ? "Copied" : "Selected";
  }
}
