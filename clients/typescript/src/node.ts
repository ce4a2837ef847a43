import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import type { SecureClientSessionOptions } from "node:http2";

import { repeatUnary } from "./retry.js";
import { limitUnary } from "./timeout.js";
import { checkExposure, sendToken, type Token } from "./token.js";

/** Options of a transport. */
export interface NodeTransportOptions {
  /** API key or other bearer token to send with every call, or a function that returns one. */
  token?: Token;
  /** Whether the token may be sent to other machines without TLS, if a mesh or a tunnel encrypts the connection. */
  allowPlaintext?: boolean;
  /** Milliseconds for a unary call without a timeout of its own. Default: one minute. */
  timeout?: number;
  /** `grpc-web` for proxies that take no other. Default: `grpc`. */
  protocol?: "grpc" | "grpc-web";
  /**
   * Options of the connection: `ca`, and `cert` and `key` of a client certificate, which is a credential, too; or the `path` of a
   * Unix socket, in place of the URL's host and port.
   */
  tls?: SecureClientSessionOptions;
}

/**
 * A gRPC connection of Node.js to one service, with keepalive, message limits, and retries set.
 *
 * @param baseUrl - such as `http://localhost:50051`, or `https://…` for TLS
 * @throws ConnectError the URL cannot be used, or a token would be sent to another machine without TLS
 */
export function nodeTransport(
  baseUrl: string, { token, allowPlaintext = false, timeout = 60_000, protocol = "grpc", tls }: NodeTransportOptions = {},
): Transport {
  if (!/^https?:\/\//.test(baseUrl)) {
    throw new ConnectError(`the address "${baseUrl}" is not a URL; one begins with http://, or https:// for TLS`, Code.InvalidArgument);
  }
  if (token !== undefined && !allowPlaintext) checkExposure(baseUrl);
  const credential = token === undefined ? [] : [sendToken(token, { allowPlaintext })];
  const options = {
    baseUrl,
    interceptors: [limitUnary(timeout), repeatUnary, ...credential],
    pingIntervalMs: 30_000,
    pingTimeoutMs: 10_000,
    readMaxBytes: 32 << 20,
    writeMaxBytes: 32 << 20,
    ...(tls === undefined ? {} : { nodeOptions: tls }),
  };
  return protocol === "grpc" ? createGrpcTransport(options) : createGrpcWebTransport({ ...options, httpVersion: "2" });
}
