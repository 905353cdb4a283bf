// Elements of the page: found, and built from text nodes; nothing is parsed as HTML.

/** The element of this id. */
export const $ = (id) => document.getElementById(id);

/** A new element with a text, properties, and children, which may be lists of them. */
export function element(tag, { text, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  if (text !== undefined) made.textContent = text;
  made.append(...children.flat());
  return made;
}
