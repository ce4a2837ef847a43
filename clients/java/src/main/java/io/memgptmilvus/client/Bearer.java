package io.memgptmilvus.client;

import io.grpc.CallCredentials;
import io.grpc.Metadata;
import io.grpc.Status;
import java.util.concurrent.Executor;
import java.util.function.Supplier;
import java.util.regex.Pattern;

/** Sends a bearer token with every call. */
final class Bearer extends CallCredentials {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
  private static final Pattern TOKEN = Pattern.compile("[!-~]{1,16384}");
  private static final Pattern LOCAL =
      Pattern.compile("unix(-abstract)?:.*|(localhost|127(\\.[0-9]{1,3}){3}|\\[::1])(:[0-9]+)?");

  private final Supplier<String> supplier;

  Bearer(Supplier<String> supplier) {
    this.supplier = supplier;
  }

  /** Throws if a token sent in plaintext to an address could be read on the network. */
  static void checkExposure(String address) {
    if (!LOCAL.matcher(address).matches()) {
      throw new IllegalStateException(
          "a credential is not sent to " + address + " without TLS, since others on the network could read it; call"
              + " transport, or allowPlaintext if a mesh or a tunnel encrypts the connection");
    }
  }

  @Override
  public void applyRequestMetadata(RequestInfo request, Executor executor, MetadataApplier applier) {
    executor.execute(
        () -> {
          String token;
          try {
            token = supplier.get().strip();
          } catch (RuntimeException failure) {
            applier.fail(Status.UNAUTHENTICATED.withDescription("the supplier of tokens failed").withCause(failure));
            return;
          }
          if (!TOKEN.matcher(token).matches()) {
            applier.fail(
                Status.UNAUTHENTICATED.withDescription("the token is empty, too long, or has characters that no token has"));
            return;
          }
          Metadata headers = new Metadata();
          headers.put(AUTHORIZATION, "Bearer " + token);
          applier.apply(headers);
        });
  }
}
