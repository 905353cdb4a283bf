// Where the keyboard is on the page.

/** Make a change that hides or removes elements; if one of them has the focus, it goes to `rest`, not to the top. */
export function keep(rest, change) {
  const focused = document.activeElement;
  change();
  if (!focused.isConnected || focused.closest("[hidden]")) rest.focus();
}
