package io.memgptmilvus.client;

import java.time.Duration;

/** Spaces out attempts and ends them after a time without progress. */
final class Backoff {
  private static final Duration FIRST_PAUSE = Duration.ofMillis(200);
  private static final Duration LAST_PAUSE = Duration.ofSeconds(3);

  private final Duration timeout;
  private final Runnable reconnect;
  private long since = System.nanoTime();
  private Duration pause = FIRST_PAUSE;

  /**
   * Starts the clock.
   *
   * @param timeout the time without progress after which no further attempt is made
   * @param reconnect makes gRPC look for a lost server at once, which by default it does only every two minutes in the end
   */
  Backoff(Duration timeout, Runnable reconnect) {
    this.timeout = timeout;
    this.reconnect = reconnect;
  }

  /** Note progress. */
  void reset() {
    since = System.nanoTime();
    pause = FIRST_PAUSE;
  }

  /** Pause before the next attempt, or throw the error if it is not an interruption or the time is up. */
  void await(RuntimeException error) {
    await(error, Errors.isInterruption(error));
  }

  /** Pause before the next attempt, or throw the error if it is not resumable or the time is used up. */
  void await(RuntimeException error, boolean resumable) {
    Duration next = pause.compareTo(Errors.retryAfter(error)) > 0 ? pause : Errors.retryAfter(error);
    pause = pause.multipliedBy(2).compareTo(LAST_PAUSE) < 0 ? pause.multipliedBy(2) : LAST_PAUSE;
    boolean exhausted = Duration.ofNanos(System.nanoTime() - since).plus(next).compareTo(timeout) > 0;
    if (exhausted || !resumable) {
      throw error;
    }
    try {
      Thread.sleep(next.toMillis());
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
      throw error;
    }
    reconnect.run();
  }
}
