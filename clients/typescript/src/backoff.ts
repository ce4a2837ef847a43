import { retryAfter } from "./errors.js";

const FIRST_PAUSE = 200;
const LAST_PAUSE = 3000;

/**
 * Spaces out attempts and ends them after a time without progress, from the first failure on: a connection that hangs may take
 * longer to fail than that.
 *
 * @internal
 */
export class Backoff {
  #since: number | undefined;
  #pause = FIRST_PAUSE;

  /** @param timeout - milliseconds without progress after which no further attempt is made */
  constructor(private readonly timeout: number) {}

  /** Note progress. */
  reset(): void {
    this.#since = undefined;
    this.#pause = FIRST_PAUSE;
  }

  /** Pause before the next attempt after `error`. Resolves to false when the timeout is used up or the signal aborts. */
  async wait(error: unknown, signal?: AbortSignal): Promise<boolean> {
    const pause = Math.max(this.#pause, retryAfter(error));
    this.#pause = Math.min(2 * this.#pause, LAST_PAUSE);
    this.#since ??= performance.now();
    if (performance.now() - this.#since + pause > this.timeout || signal?.aborted === true) {
      return false;
    }
    return await new Promise((resolve) => {
      const abort = (): void => {
        clearTimeout(timer);
        resolve(false);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", abort);
        resolve(true);
      }, pause);
      signal?.addEventListener("abort", abort, { once: true });
    });
  }
}
