import { Code, ConnectError } from "@connectrpc/connect";

import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema, type ErrorInfo } from "./gen/google/rpc/error_details_pb.js";
import { ErrorReason } from "./gen/memgpt/common/v1/errors_pb.js";

const DOMAIN = "memgpt";

/**
 * Why a call failed, for programs to act on. `ErrorReason.UNSPECIFIED` for an error that the services did not send, such as a
 * broken connection, and for a reason that is newer than this client.
 */
export function reasonOf(error: unknown): ErrorReason {
  const reason = errorInfo(error)?.reason ?? "";
  return (ErrorReason as Record<string, unknown>)[reason] as ErrorReason | undefined ?? ErrorReason.UNSPECIFIED;
}

/** The values that describe an error, by the keys that the contract lists for its reason; empty if the services did not send it. */
export function metadataOf(error: unknown): Readonly<Record<string, string>> {
  return errorInfo(error)?.metadata ?? {};
}

/**
 * Whether the services refused the credential of a call: there is none, or it is malformed, unknown, expired, revoked, or invalid.
 * {@link reasonOf} says which.
 */
export function isCredentialError(error: unknown): boolean {
  return ConnectError.from(error).code === Code.Unauthenticated;
}

/** Whether the credential is valid, but does not permit the call. */
export function isPermissionError(error: unknown): boolean {
  return ConnectError.from(error).code === Code.PermissionDenied;
}

/** Milliseconds to wait before a call is repeated; 0 if the server did not say. */
export function retryAfter(error: unknown): number {
  const delay = ConnectError.from(error).findDetails(RetryInfoSchema)[0]?.retryDelay;
  return delay === undefined ? 0 : Number(delay.seconds) * 1000 + delay.nanos / 1e6;
}

/** A field of a request that is invalid. */
export interface FieldViolation {
  /** Its path, such as `files[0].name`. */
  field: string;
  /** What is wrong with it. */
  description: string;
}

/** The fields of the request that are invalid; empty if the services did not name any. */
export function fieldViolations(error: unknown): FieldViolation[] {
  const violations = ConnectError.from(error).findDetails(BadRequestSchema)[0]?.fieldViolations ?? [];
  return violations.map(({ field, description }) => ({ field, description }));
}

/**
 * Whether a stream ended by its transport or by a server that is stopping, and not by an answer to the request. A status without
 * ErrorInfo comes from a proxy or the transport, whatever its code.
 *
 * @internal
 */
export function isInterruption(error: unknown): boolean {
  if (errorInfo(error) !== undefined) {
    return INTERRUPTIONS.has(reasonOf(error));
  }
  return BROKEN_TRANSPORT.has(ConnectError.from(error).code);
}

/**
 * Whether a unary call failed because a service is unavailable. A connection that broke before the answer counts, to which Connect
 * gives other codes than gRPC's libraries. With `MODEL_UNAVAILABLE`, the Agent has called the model several times itself.
 *
 * @internal
 */
export function isUnavailable(error: unknown): boolean {
  const { code, metadata } = ConnectError.from(error);
  if (code === Code.Unavailable) return reasonOf(error) !== ErrorReason.MODEL_UNAVAILABLE;
  const answered = metadata.keys().next().done !== true;
  return !answered && BROKEN_TRANSPORT.has(code);
}

const INTERRUPTIONS = new Set([
  ErrorReason.SHUTTING_DOWN,
  ErrorReason.STORE_UNAVAILABLE,
  ErrorReason.SERVICE_UNAVAILABLE,
  ErrorReason.LOAD_HELD_ELSEWHERE,
  ErrorReason.OVERLOADED,
]);

const BROKEN_TRANSPORT = new Set([Code.Unavailable, Code.Internal, Code.Unknown, Code.Canceled, Code.DeadlineExceeded, Code.Aborted]);

function errorInfo(error: unknown): ErrorInfo | undefined {
  return ConnectError.from(error).findDetails(ErrorInfoSchema).find((info) => info.domain === DOMAIN);
}
