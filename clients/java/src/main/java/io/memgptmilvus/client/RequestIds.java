package io.memgptmilvus.client;

import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.MethodDescriptor;
import io.memgptmilvus.agent.v1.AgentServiceGrpc;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.TimeUnit;

/** Gives mutations a request id where the caller set none, so that they can be repeated, and unary calls a deadline. */
final class RequestIds implements ClientInterceptor {
  private static final Set<String> NAME_AN_EARLIER_REQUEST =
      Set.of(
          AgentServiceGrpc.getCancelTurnMethod().getFullMethodName(),
          AgentServiceGrpc.getResumeTurnMethod().getFullMethodName());

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
    boolean limit = method.getType() == MethodDescriptor.MethodType.UNARY && options.getDeadline() == null;
    CallOptions limited = limit ? options.withDeadlineAfter(timeoutMillis, TimeUnit.MILLISECONDS) : options;
    if (NAME_AN_EARLIER_REQUEST.contains(method.getFullMethodName())) {
      return next.newCall(method, limited);
    }
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
