package io.memgptmilvus.client;

import io.grpc.ManagedChannel;
import java.time.Duration;
import java.util.OptionalLong;

/**
 * Spaces out attempts and ends them after a time without progress, from the first failure on: a connection that hangs may take
 * longer to fail than that.
 */
final class Backoff {
  private static final Duration FIRST_PAUSE = Duration.ofMillis(200);
  private static final Duration LAST_PAUSE = Duration.ofSeconds(3);

  private final Duration timeout;
  private final ManagedChannel channel;
  private OptionalLong since = OptionalLong.empty();
  private Duration pause = FIRST_PAUSE;

  /**
   * Starts before the first attempt.
   *
   * @param timeout the time without progress after which no further attempt is made
   * @param channel the connection that the attempts use; when it is closed, no further attempt is made
   */
  Backoff(Duration timeout, ManagedChannel channel) {
    this.timeout = timeout;
    this.channel = channel;
  }

  /** Note progress. */
  void reset() {
    since = OptionalLong.empty();
    pause = FIRST_PAUSE;
  }

  /** Pause before the next attempt, or throw the error if it is not resumable or the time is used up. */
  void await(RuntimeException error, boolean resumable) {
    Duration next = pause.compareTo(Errors.retryAfter(error)) > 0 ? pause : Errors.retryAfter(error);
    pause = pause.multipliedBy(2).compareTo(LAST_PAUSE) < 0 ? pause.multipliedBy(2) : LAST_PAUSE;
    long now = System.nanoTime();
    since = OptionalLong.of(since.orElse(now));
    boolean exhausted = Duration.ofNanos(now - since.getAsLong()).plus(next).compareTo(timeout) > 0;
    if (exhausted || !resumable || channel.isShutdown()) {
      throw error;
    }
    try {
      Thread.sleep(next.toMillis());
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
      throw error;
    }
    // By default gRPC ends up looking for a lost server only every two minutes.
    channel.resetConnectBackoff();
  }
}
