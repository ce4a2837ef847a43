import { Code, ConnectError } from "@connectrpc/connect";
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { constants, createServer, type Http2Server, type ServerHttp2Session } from "node:http2";
import type { AddressInfo, ListenOptions } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { MemGPT } from "../src/index.js";
import { nodeTransport, type NodeTransportOptions } from "../src/node.js";

const timeouts: (string | undefined)[] = [];
const sessions: ServerHttp2Session[] = [];
let server: Http2Server;

/** A client of a server that never answers. */
function client(options: NodeTransportOptions): MemGPT {
  const { port } = server.address() as AddressInfo;
  return new MemGPT({ agent: nodeTransport(`http://localhost:${String(port)}`, options) });
}

function isLate(error: unknown): boolean {
  return ConnectError.from(error).code === Code.DeadlineExceeded;
}

before(async () => {
  server = createServer();
  server.on("session", (session) => sessions.push(session));
  server.on("stream", (stream, headers) => {
    stream.on("error", () => undefined);
    timeouts.push(headers["grpc-timeout"] as string | undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, "localhost", resolve));
});

after(() => {
  for (const session of sessions) session.destroy();
  server.close();
});

void test("a unary call that is never answered ends after the transport's timeout", async () => {
  await assert.rejects(client({ timeout: 3000.5 }).agents.updateAgent({}), isLate);
  assert.equal(timeouts.pop(), "3001m");
});

void test("the repetitions of a unary call end after the transport's timeout, too", { timeout: 60_000 }, async () => {
  server.once("stream", (stream) => {
    stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  });
  await assert.rejects(client({ timeout: 5000 }).agents.getAgent({}), isLate);
  assert.deepEqual(timeouts.splice(0), ["5000m", "5000m"]);
});

void test("a unary call that was answered with another status than UNAVAILABLE is not repeated", async () => {
  for (const code of [Code.Internal, Code.Unknown, Code.Canceled, Code.Aborted, Code.ResourceExhausted]) {
    server.once("stream", (stream) => {
      stream.respond({ ":status": 200, "content-type": "application/grpc+proto", "grpc-status": String(code) }, { endStream: true });
    });
    await assert.rejects(client({}).agents.getAgent({}), (error) => ConnectError.from(error).code === code);
    assert.equal(timeouts.splice(0).length, 1);
  }
});

void test("a timeout is sent as gRPC writes it", async () => {
  const { agents } = client({});
  await assert.rejects(agents.updateAgent({}, { timeoutMs: 3000.001 }), isLate);
  assert.equal(timeouts.pop(), "3001m");
  for (const [timeout, expected] of [[100_000_000, "100000S"], [1e12, undefined]] as const) {
    const stop = new AbortController();
    const call = client({ timeout }).agents.updateAgent({}, { signal: stop.signal });
    while (timeouts.length === 0) await new Promise(setImmediate);
    assert.equal(timeouts.pop(), expected);
    stop.abort();
    await assert.rejects(call);
  }
});

void test("every form of an address reaches the server", async () => {
  const folder = mkdtempSync(join(tmpdir(), "memgpt-"));
  const path = join(folder, "agent.sock");
  const open: ServerHttp2Session[] = [];
  const listen = async (options: ListenOptions): Promise<Http2Server> => {
    const agents = createServer();
    agents.on("stream", (stream) => {
      stream.respond({ ":status": 200, "content-type": "application/grpc+proto", "grpc-status": String(Code.NotFound) }, { endStream: true });
    });
    agents.on("session", (session) => open.push(session));
    await new Promise<void>((resolve) => agents.listen(options, resolve));
    return agents;
  };
  const servers = [await listen({ host: "127.0.0.1", port: 0 }), await listen({ host: "::1", port: 0 }), await listen({ path })];
  const [ipv4, ipv6] = servers.map((each) => String((each.address() as AddressInfo).port));
  try {
    for (const [url, options] of [
      [`http://127.0.0.1:${String(ipv4)}`, {}],
      [`http://localhost:${String(ipv4)}`, {}],
      [`http://[::1]:${String(ipv6)}`, {}],
      ["http://localhost", { tls: { path } }],
    ] as const) {
      const { agents } = new MemGPT({ agent: nodeTransport(url, { token: "k", ...options }) });
      await assert.rejects(agents.getAgent({}), (error) => ConnectError.from(error).code === Code.NotFound);
    }
  } finally {
    for (const session of open) session.destroy();
    for (const each of servers) each.close();
    rmSync(folder, { recursive: true });
  }
});

void test("an address that is not a URL is named", () => {
  for (const address of ["localhost:50051", "127.0.0.1:50051", "dns:///localhost:50051", "unix:/run/agent.sock", ""]) {
    for (const options of [{}, { token: "k" }]) assert.throws(() => nodeTransport(address, options), /begins with http/);
  }
});
