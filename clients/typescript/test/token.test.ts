import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createRouterTransport, type Interceptor } from "@connectrpc/connect";
import assert from "node:assert/strict";
import { test } from "node:test";

import { ErrorReason, isCredentialError, isPermissionError, MemGPT, reasonOf, sendToken } from "../src/index.js";
import { ErrorInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { AgentService } from "../src/gen/memgpt/agent/v1/agent_service_pb.js";
import { TurnEventSchema, type TurnEvent } from "../src/gen/memgpt/agent/v1/event_pb.js";
import { nodeTransport } from "../src/node.js";
import { checkExposure } from "../src/token.js";

const expired = new ConnectError(
  "refused", Code.Unauthenticated, undefined,
  [{ desc: ErrorInfoSchema, value: { domain: "memgpt", reason: "CREDENTIAL_EXPIRED" } }],
);
const said = create(TurnEventSchema, { sequence: 1n, event: { case: "message", value: { text: "one" } } });
const done = create(TurnEventSchema, { sequence: 2n, event: { case: "done", value: {} } });

/** A client of an Agent that plays one script for each stream and records the tokens. */
function client(scripts: [TurnEvent[], ConnectError | undefined][], seen: string[], token: Interceptor): MemGPT {
  const agent = createRouterTransport(({ service }) => {
    service(AgentService, {
      async *sendMessage(_, context) {
        seen.push(context.requestHeader.get("authorization") ?? "");
        const [events, error] = scripts.shift() ?? [[], undefined];
        for (const event of events) yield { event };
        await Promise.resolve();
        if (error !== undefined) throw error;
      },
    });
  }, { transport: { interceptors: [token] } });
  return new MemGPT({ agent, resumeTimeout: 5000 });
}

void test("a turn goes on with the next token when one expires", async () => {
  const seen: string[] = [];
  const tokens = ["first\n", "second"];
  const token = sendToken(async () => await Promise.resolve(tokens.shift() ?? ""), { allowPlaintext: true });
  const memgpt = client([[[said], expired], [[done], undefined]], seen, token);
  assert.deepEqual(await memgpt.send({ agentId: "agent_1" }).messages(), ["one"]);
  assert.deepEqual(seen, ["Bearer first", "Bearer second"]);
});

void test("a token that is refused at once is not sent again", async () => {
  const seen: string[] = [];
  const memgpt = client([[[], expired]], seen, sendToken("fixed", { allowPlaintext: true }));
  await assert.rejects(memgpt.send({ agentId: "agent_1" }).messages(), (error) =>
    isCredentialError(error) && !isPermissionError(error) && reasonOf(error) === ErrorReason.CREDENTIAL_EXPIRED);
  assert.equal(seen.length, 1);
});

void test("a token that cannot be had fails the call", async () => {
  const cause = new Error("the caller's");
  const memgpt = client([], [], sendToken(() => {
    throw cause;
  }, { allowPlaintext: true }));
  await assert.rejects(memgpt.send({ agentId: "agent_1" }).messages(), (error) =>
    isCredentialError(error) && error instanceof Error && error.cause === cause);
});

void test("a token that others could read fails the call", async () => {
  let calls = 0;
  const count: Interceptor = (next) => async (request) => {
    calls += 1;
    return await next(request);
  };
  const agent = createRouterTransport(() => undefined, {
    transport: { baseUrl: "http://memgpt.example.org", interceptors: [count, sendToken("token")] },
  });
  await assert.rejects(new MemGPT({ agent, resumeTimeout: 5000 }).send({ agentId: "agent_1" }).messages(), /without TLS/);
  assert.equal(calls, 1);
});

for (const token of ["", " ", "two words", "größe", "new\nline", "x".repeat(20_000)]) {
  void test(`a token that cannot be sent fails the call: ${JSON.stringify(token.slice(0, 20))}`, async () => {
    const memgpt = client([], [], sendToken(token, { allowPlaintext: true }));
    await assert.rejects(memgpt.send({ agentId: "agent_1" }).messages(), (error) =>
      isCredentialError(error) && (token.trim() === "" || !String(error).includes(token)));
  });
}

void test("a token is not sent in plaintext to another machine", () => {
  for (const url of ["http://localhost:50051", "http://127.0.0.1:1", "http://[::1]:1", "https://agent.example.org"]) checkExposure(url);
  for (const host of ["agent.example.org", "127.example.org", "localhost.example.org", "10.0.0.1", "0.0.0.0", "[::]"]) {
    assert.throws(() => nodeTransport(`http://${host}:50051`, { token: "k" }), /without TLS/);
    nodeTransport(`http://${host}:50051`, { token: "k", allowPlaintext: true });
    nodeTransport(`https://${host}:50051`, { token: "k" });
  }
});
