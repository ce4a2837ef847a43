package io.memgptmilvus.client;

import io.grpc.ConnectivityState;
import io.grpc.ManagedChannel;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;

/** Has gRPC look for a lost server every few seconds. By default it ends up doing so every two minutes, longer than calls wait. */
final class Reconnects {
  private static final Executor LATER = CompletableFuture.delayedExecutor(3, TimeUnit.SECONDS);

  private Reconnects() {}

  /** Watches a connection until it is closed. */
  static void watch(ManagedChannel channel) {
    ConnectivityState state = channel.getState(false);
    if (state == ConnectivityState.TRANSIENT_FAILURE) {
      LATER.execute(
          () -> {
            channel.resetConnectBackoff();
            watch(channel);
          });
    } else if (state != ConnectivityState.SHUTDOWN) {
      channel.notifyWhenStateChanged(state, () -> watch(channel));
    }
  }
}
