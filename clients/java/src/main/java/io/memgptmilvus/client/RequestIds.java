package io.memgptmilvus.client;

import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.MethodDescriptor;
import java.util.UUID;
import java.util.concurrent.TimeUnit;

/** Gives unary calls what makes repeating them safe: a request id where the caller set none, and a deadline. */
final class RequestIds implements ClientInterceptor {
  private final long timeoutMillis;

  RequestIds(long timeoutMillis) {
    this.timeoutMillis = timeoutMillis;
  }

  /** Returns a new random request id. */
  static String create() {
    return UUID.randomUUID().toString();
  }

  @Override
  public <Q, R> ClientCall<Q, R> interceptCall(MethodDescriptor<Q, R> method, CallOptions options, Channel next) {
    if (method.getType() != MethodDescriptor.MethodType.UNARY) {
      return next.newCall(method, options);
    }
    CallOptions limited =
        options.getDeadline() == null ? options.withDeadlineAfter(timeoutMillis, TimeUnit.MILLISECONDS) : options;
    return new SimpleForwardingClientCall<>(next.newCall(method, limited)) {
      @Override
      public void sendMessage(Q message) {
        super.sendMessage(identified(message));
      }
    };
  }

  @SuppressWarnings("unchecked")
  private static <Q> Q identified(Q request) {
    if (!(request instanceof Message message)) {
      return request;
    }
    FieldDescriptor field = message.getDescriptorForType().findFieldByName("request_id");
    if (field == null || !message.getField(field).equals("")) {
      return request;
    }
    return (Q) message.toBuilder().setField(field, create()).build();
  }
}
