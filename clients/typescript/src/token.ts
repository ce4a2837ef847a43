import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";

/**
 * An API key or another bearer token, or a function that returns one. The function is called for each call and should keep a token
 * until shortly before it expires.
 */
export type Token = string | (() => string | Promise<string>);

const MAX_TOKEN_LENGTH = 16 * 1024;

/** Options of {@link sendToken}. */
export interface TokenOptions {
  /** Whether the token may be sent to other machines without TLS, if a mesh or a tunnel encrypts the connection. */
  allowPlaintext?: boolean;
}

/**
 * Sends a token with every call. It is not sent to another machine without TLS: the call fails, unless `allowPlaintext` is set.
 */
export function sendToken(token: Token, { allowPlaintext = false }: TokenOptions = {}): Interceptor {
  return (next) => async (request) => {
    if (!allowPlaintext) checkExposure(request.url);
    const value = (await read(token)).trim();
    if (value.length > MAX_TOKEN_LENGTH || !/^[!-~]+$/.test(value)) {
      throw new ConnectError("the token is empty, too long, or has characters that no token has", Code.Unauthenticated);
    }
    request.header.set("authorization", `Bearer ${value}`);
    return await next(request);
  };
}

async function read(token: Token): Promise<string> {
  if (typeof token === "string") return token;
  try {
    return await token();
  } catch (error) {
    throw new ConnectError("the function that returns tokens failed", Code.Unauthenticated, undefined, undefined, error);
  }
}

/**
 * Check that a token sent to a URL cannot be read on the network.
 *
 * @internal
 */
export function checkExposure(url: string): void {
  const { protocol, host, hostname } = new URL(url);
  if (protocol === "https:" || isLoopback(hostname)) return;
  throw new ConnectError(
    `a credential is not sent to ${host} without TLS, since others on the network could read it; use https://, or set `
    + "allowPlaintext if a mesh or a tunnel encrypts the connection",
    Code.Unauthenticated,
  );
}

// A URL has its IPv4 addresses in the form of four decimal numbers, however they were written.
function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127(\.[0-9]+){3}$/.test(hostname);
}
