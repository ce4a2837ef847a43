import type { Interceptor, Transport } from "@connectrpc/connect";
import { createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import type { SecureClientSessionOptions } from "node:http2";

import { retryUnary } from "./retry.js";

/** Options of a transport. */
export interface NodeTransportOptions {
  /** Sent as a bearer token with every call. */
  token?: string;
  /** Milliseconds for a unary call without a timeout of its own. Default: one minute. */
  timeout?: number;
  /** `grpc-web` for proxies that take no other. Default: `grpc`. */
  protocol?: "grpc" | "grpc-web";
  /** TLS options, such as `ca`, `cert`, and `key`. */
  tls?: SecureClientSessionOptions;
}

/**
 * A gRPC connection of Node.js to one service, with keepalive, message limits, and retries set.
 *
 * @param baseUrl - such as `http://localhost:50051`, or `https://…` for TLS
 */
export function nodeTransport(baseUrl: string, { token, timeout = 60_000, protocol = "grpc", tls }: NodeTransportOptions = {}): Transport {
  const prepare: Interceptor = (next) => async (request) => {
    if (token !== undefined) request.header.set("authorization", `Bearer ${token}`);
    return await next(request);
  };
  const limit: Interceptor = (next) => async (request) => {
    if (request.stream || request.header.has("grpc-timeout")) return await next(request);
    request.header.set("grpc-timeout", `${String(timeout)}m`);
    return await next(request);
  };
  const options = {
    baseUrl,
    interceptors: [prepare, limit, retryUnary],
    pingIntervalMs: 30_000,
    pingTimeoutMs: 10_000,
    readMaxBytes: 32 << 20,
    writeMaxBytes: 32 << 20,
    ...(tls === undefined ? {} : { nodeOptions: tls }),
  };
  return protocol === "grpc" ? createGrpcTransport(options) : createGrpcWebTransport({ ...options, httpVersion: "2" });
}
