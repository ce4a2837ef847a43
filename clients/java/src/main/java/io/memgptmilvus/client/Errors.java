package io.memgptmilvus.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import io.memgptmilvus.common.v1.ErrorReason;
import java.time.Duration;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/** Reads what the services say about a failed call. */
public final class Errors {
  private static final String DOMAIN = "memgpt";
  private static final String PREFIX = "ERROR_REASON_";

  /** Reasons for which the same request may succeed later or on another replica. */
  private static final Set<ErrorReason> INTERRUPTIONS =
      EnumSet.of(
          ErrorReason.ERROR_REASON_SHUTTING_DOWN,
          ErrorReason.ERROR_REASON_STORE_UNAVAILABLE,
          ErrorReason.ERROR_REASON_SERVICE_UNAVAILABLE,
          ErrorReason.ERROR_REASON_LOAD_HELD_ELSEWHERE,
          ErrorReason.ERROR_REASON_OVERLOADED);

  /** What a broken transport or a proxy ends a stream with. */
  private static final Set<Status.Code> BROKEN_TRANSPORT =
      EnumSet.of(
          Status.Code.UNAVAILABLE,
          Status.Code.INTERNAL,
          Status.Code.UNKNOWN,
          Status.Code.CANCELLED,
          Status.Code.DEADLINE_EXCEEDED);

  private Errors() {}

  /**
   * Returns why a call failed, for programs to act on.
   *
   * @param error what the call threw
   * @return the reason, or {@code ERROR_REASON_UNSPECIFIED} for an error that the services did not send, such as a broken
   *     connection, and for a reason that is newer than this client
   */
  public static ErrorReason reasonOf(Throwable error) {
    return errorInfo(error).map(info -> reason(info.getReason())).orElse(ErrorReason.ERROR_REASON_UNSPECIFIED);
  }

  /**
   * Returns the values that describe an error.
   *
   * @param error what the call threw
   * @return the values by the keys that the contract lists for the reason; empty if the services did not send the error
   */
  public static Map<String, String> metadataOf(Throwable error) {
    return errorInfo(error).map(ErrorInfo::getMetadataMap).orElse(Map.of());
  }

  /**
   * Returns the time to wait before a call is repeated.
   *
   * @param error what the call threw
   * @return the time, or zero if the server did not say
   */
  public static Duration retryAfter(Throwable error) {
    return detail(error, RetryInfo.class)
        .map(info -> Duration.ofSeconds(info.getRetryDelay().getSeconds(), info.getRetryDelay().getNanos()))
        .orElse(Duration.ZERO);
  }

  /**
   * Returns the fields of the request that are invalid.
   *
   * @param error what the call threw
   * @return each field with what is wrong with it
   */
  public static List<BadRequest.FieldViolation> fieldViolations(Throwable error) {
    return detail(error, BadRequest.class).map(BadRequest::getFieldViolationsList).orElse(List.of());
  }

  /**
   * Returns whether the services refused the credential of a call: there is none, or it is malformed, unknown, expired, revoked, or
   * invalid. {@link #reasonOf} says which.
   *
   * @param error what the call threw
   * @return whether it is {@code UNAUTHENTICATED}
   */
  public static boolean isCredentialError(Throwable error) {
    return Status.fromThrowable(error).getCode() == Status.Code.UNAUTHENTICATED;
  }

  /**
   * Returns whether the credential is valid, but does not permit the call.
   *
   * @param error what the call threw
   * @return whether it is {@code PERMISSION_DENIED}
   */
  public static boolean isPermissionError(Throwable error) {
    return Status.fromThrowable(error).getCode() == Status.Code.PERMISSION_DENIED;
  }

  /** Whether a stream ended by its transport or by a server that is stopping, and not by an answer to the request. */
  static boolean isInterruption(Throwable error) {
    return errorInfo(error).isPresent()
        ? INTERRUPTIONS.contains(reasonOf(error))
        : BROKEN_TRANSPORT.contains(Status.fromThrowable(error).getCode());
  }

  private static ErrorReason reason(String name) {
    try {
      return ErrorReason.valueOf(PREFIX + name);
    } catch (IllegalArgumentException newer) {
      return ErrorReason.ERROR_REASON_UNSPECIFIED;
    }
  }

  private static Optional<ErrorInfo> errorInfo(Throwable error) {
    return detail(error, ErrorInfo.class).filter(info -> info.getDomain().equals(DOMAIN));
  }

  private static <T extends Message> Optional<T> detail(Throwable error, Class<T> type) {
    com.google.rpc.Status status = StatusProto.fromThrowable(error);
    if (status == null) {
      return Optional.empty();
    }
    for (Any detail : status.getDetailsList()) {
      if (detail.is(type)) {
        try {
          return Optional.of(detail.unpack(type));
        } catch (InvalidProtocolBufferException malformed) {
          return Optional.empty();
        }
      }
    }
    return Optional.empty();
  }
}
