import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";

const HEADER = "grpc-timeout";
const MAX_VALUE = 99_999_999;

/** A timer that is longer fires at once. */
const MAX_TIMER = 2 ** 31 - 1;

/** Limit unary calls without a timeout of their own, with their repetitions. That of a transport would limit streams as well. @internal */
export function limitUnary(timeout: number): Interceptor {
  return (next) => async (request) => {
    if (request.stream || request.header.has(HEADER)) return await next(request);
    setTimeoutHeader(request.header, timeout);
    const deadline = new AbortController();
    const timer = setTimeout(() => {
      deadline.abort(new ConnectError("the operation timed out", Code.DeadlineExceeded));
    }, Math.min(timeout, MAX_TIMER));
    try {
      return await next({ ...request, signal: AbortSignal.any([request.signal, deadline.signal]) });
    } finally {
      clearTimeout(timer);
    }
  };
}

/** Set the timeout of a call, in milliseconds. gRPC has whole numbers of at most eight digits. @internal */
export function setTimeoutHeader(header: Headers, milliseconds: number): void {
  const whole = Math.ceil(milliseconds);
  if (whole <= MAX_VALUE) {
    header.set(HEADER, `${String(whole)}m`);
  } else if (whole <= MAX_VALUE * 1000) {
    header.set(HEADER, `${String(Math.ceil(whole / 1000))}S`);
  } else {
    header.delete(HEADER);
  }
}

/** Round the timeout of a call up: Connect writes milliseconds as the caller gave them, such as `0.5m`. @internal */
export function roundTimeout(header: Headers): void {
  const given = header.get(HEADER);
  if (given?.endsWith("m") === true) setTimeoutHeader(header, Number(given.slice(0, -1)));
}
