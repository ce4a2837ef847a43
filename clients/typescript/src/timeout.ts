const HEADER = "grpc-timeout";
const MAX_VALUE = 99_999_999;

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
