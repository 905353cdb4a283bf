// Of several requests for the same thing, only the latest counts.

/** Gives each request a signal, which is aborted when the next one begins. */
export class Latest {
  #controller = new AbortController();

  /** Abort the one before; returns the signal of the new one. */
  next() {
    this.abort();
    this.#controller = new AbortController();
    return this.#controller.signal;
  }

  abort() {
    this.#controller.abort();
  }
}
