import { Code, ConnectError } from "@connectrpc/connect";
import assert from "node:assert/strict";
import { createServer, type Http2Server, type ServerHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";
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
  await assert.rejects(client({ timeout: 200.5 }).agents.updateAgent({}), isLate);
  assert.equal(timeouts.pop(), "201m");
});

void test("a timeout is sent as gRPC writes it", async () => {
  const { agents } = client({});
  await assert.rejects(agents.updateAgent({}, { timeoutMs: 300.001 }), isLate);
  assert.equal(timeouts.pop(), "301m");
  for (const [timeout, expected] of [[100_000_000, "100000S"], [1e12, undefined]] as const) {
    const stop = new AbortController();
    const call = client({ timeout }).agents.updateAgent({}, { signal: stop.signal });
    while (timeouts.length === 0) await new Promise(setImmediate);
    assert.equal(timeouts.pop(), expected);
    stop.abort();
    await assert.rejects(call);
  }
});
