import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createRouterTransport, type Interceptor, type Transport } from "@connectrpc/connect";
import assert from "node:assert/strict";
import { test } from "node:test";

import { MemGPT, metadataOf, reasonOf, ErrorReason, retryUnary } from "../src/index.js";
import { ErrorInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { AgentService, type CreateAgentRequest, type SendMessageRequest } from "../src/gen/memgpt/agent/v1/agent_service_pb.js";
import { TurnEventSchema, type TurnEvent } from "../src/gen/memgpt/agent/v1/event_pb.js";
import { FileState } from "../src/gen/memgpt/loader/v1/load_pb.js";
import { CreateLoadRequestSchema, LoaderService } from "../src/gen/memgpt/loader/v1/loader_service_pb.js";
import { TurnState } from "../src/gen/memgpt/memory/v1/turn_pb.js";

const RESUME_TIMEOUT = 5000;

function refusal(code: Code, reason: string): ConnectError {
  const info = { domain: "memgpt", reason, metadata: { agent_id: "agent_x" } };
  return new ConnectError("refused", code, undefined, [{ desc: ErrorInfoSchema, value: info }]);
}

function message(sequence: bigint, text: string): TurnEvent {
  return create(TurnEventSchema, { sequence, event: { case: "message", value: { text } } });
}

const started = create(TurnEventSchema, { event: { case: "started", value: { requestId: "r", turnId: "turn_1" } } });
const done = create(TurnEventSchema, { sequence: 3n, event: { case: "done", value: { state: TurnState.COMPLETED } } });

/** An Agent that plays one script for each stream: its events, then its error. */
function agent(
  scripts: [TurnEvent[], ConnectError | undefined][], seen: SendMessageRequest[], interceptors: Interceptor[] = [],
): Transport {
  return createRouterTransport(({ service }) => {
    service(AgentService, {
      async *sendMessage(request) {
        seen.push(request);
        const [events, error] = scripts.shift() ?? [[], undefined];
        for (const event of events) yield { event };
        await Promise.resolve();
        if (error !== undefined) throw error;
      },
    });
  }, { transport: { interceptors } });
}

const interruptions: Record<string, ConnectError | undefined> = {
  drain: refusal(Code.Unavailable, "SHUTTING_DOWN"),
  store: refusal(Code.Unavailable, "STORE_UNAVAILABLE"),
  shed: refusal(Code.ResourceExhausted, "OVERLOADED"),
  "killed behind a proxy": new ConnectError("RST_STREAM", Code.Internal),
  "cancelled by a proxy": new ConnectError("cancelled", Code.Canceled),
  "deadline of a proxy": new ConnectError("timeout", Code.DeadlineExceeded),
  cut: undefined,
};

for (const [name, interruption] of Object.entries(interruptions)) {
  void test(`a turn resumes after an interruption: ${name}`, async () => {
    const seen: SendMessageRequest[] = [];
    const transport = agent([[[started, message(1n, "one")], interruption], [[message(2n, "two"), done], undefined]], seen);
    const turn = new MemGPT({ agent: transport, resumeTimeout: RESUME_TIMEOUT }).send({ agentId: "agent_1" });
    assert.deepEqual(await turn.messages(), ["one", "two"]);
    assert.equal(turn.id, "turn_1");
    assert.equal(turn.done?.state, TurnState.COMPLETED);
    assert.deepEqual(seen.map((request) => request.requestId), [turn.requestId, turn.requestId]);
    assert.deepEqual(seen.map((request) => request.afterSequence), [0n, 1n]);
  });
}

for (const reason of ["AGENT_NOT_FOUND", "MODEL_UNAVAILABLE"] as const) {
  void test(`a turn reports the services' answer: ${reason}`, async () => {
    const seen: SendMessageRequest[] = [];
    const transport = agent([[[started], refusal(Code.Unavailable, reason)]], seen);
    const turn = new MemGPT({ agent: transport, resumeTimeout: RESUME_TIMEOUT }).send({ agentId: "agent_1" });
    await assert.rejects(turn.messages(), (error) => reasonOf(error) === ErrorReason[reason]);
    assert.equal(seen.length, 1);
  });
}

void test("a turn gives up when its attempts only start", async () => {
  const restarted = create(TurnEventSchema, { event: { case: "stepRestarted", value: {} } });
  const called = create(TurnEventSchema, { event: { case: "modelCall", value: { promptTokens: 9 } } });
  const attempts = Array.from({ length: 8 }, (): [TurnEvent[], ConnectError | undefined] => [
    [started, called, restarted], refusal(Code.Unavailable, "SERVICE_UNAVAILABLE"),
  ]);
  const turn = new MemGPT({ agent: agent([...attempts, [[done], undefined]], []), resumeTimeout: 1000 }).send({ agentId: "agent_1" });
  await assert.rejects(turn.messages(), (error) => reasonOf(error) === ErrorReason.SERVICE_UNAVAILABLE);
});

void test("leaving the iteration ends the stream", async () => {
  let ended: (() => void) | undefined;
  const end = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const transport = createRouterTransport(({ service }) => {
    service(AgentService, {
      async *sendMessage(_, { signal }) {
        signal.addEventListener("abort", () => ended?.());
        yield { event: message(1n, "one") };
        await end;
      },
    });
  });
  for await (const { sequence } of new MemGPT({ agent: transport }).send({ agentId: "agent_1" })) {
    assert.equal(sequence, 1n);
    break;
  }
  await end;
});

void test("a turn ends with its signal", async () => {
  const stop = new AbortController();
  const turn = new MemGPT({ agent: agent([[[started, message(1n, "one")], refusal(Code.Unavailable, "SHUTTING_DOWN")]], []) })
    .send({ agentId: "agent_1" }, { signal: stop.signal });
  await assert.rejects(async () => {
    for await (const { event } of turn) {
      if (event.case === "message") stop.abort();
    }
  });
});

void test("a mutation is repeated under one request id", async () => {
  const seen: CreateAgentRequest[] = [];
  const transport = createRouterTransport(
    ({ service }) => {
      service(AgentService, {
        createAgent(request) {
          seen.push(request);
          if (seen.length === 1) throw refusal(Code.Unavailable, "SHUTTING_DOWN");
          return { agent: { agentId: "agent_1" } };
        },
      });
    },
    { transport: { interceptors: [retryUnary] } },
  );
  const created = await new MemGPT({ agent: transport }).agents.createAgent({ name: "Ada" });
  assert.equal(created.agent?.agentId, "agent_1");
  assert.equal(new Set(seen.map((request) => request.requestId)).size, 1);
  assert.notEqual(seen[0]?.requestId, "");
});

void test("a stream gets a request id", async () => {
  const seen: SendMessageRequest[] = [];
  const transport = agent([[[done], undefined]], seen, [retryUnary]);
  for await (const { event } of new MemGPT({ agent: transport }).agents.sendMessage({ agentId: "agent_1" })) {
    assert.equal(event?.event.case, "done");
  }
  assert.notEqual(seen[0]?.requestId ?? "", "");
});

void test("a request that cannot be encoded is reported at once", async () => {
  const { agents } = new MemGPT({ agent: agent([], [], [retryUnary]) });
  await assert.rejects(agents.listAgents({ pageSize: 1.5 }), (error) => ConnectError.from(error).code === Code.InvalidArgument);
});

void test("a call is not repeated after the Agent called the model repeatedly", async () => {
  let calls = 0;
  const transport = createRouterTransport(
    ({ service }) => {
      service(AgentService, {
        summarize() {
          calls += 1;
          throw refusal(Code.Unavailable, "MODEL_UNAVAILABLE");
        },
      });
    },
    { transport: { interceptors: [retryUnary] } },
  );
  await assert.rejects(new MemGPT({ agent: transport }).agents.summarize({}));
  assert.equal(calls, 1);
});

void test("a unary call without a timeout gets one", async () => {
  const timeouts: (string | null)[] = [];
  const capture: Interceptor = (next) => async (request) => {
    timeouts.push(request.header.get("grpc-timeout"));
    return await next(request);
  };
  const transport = createRouterTransport(
    ({ service }) => {
      service(AgentService, { getAgent: () => ({}), updateAgent: () => ({}) });
    },
    { transport: { interceptors: [retryUnary, capture] } },
  );
  const { agents } = new MemGPT({ agent: transport });
  await agents.getAgent({});
  await agents.updateAgent({});
  assert.deepEqual(timeouts, ["60000m", "60000m"]);
});

void test("other calls are not repeated", async () => {
  let updates = 0;
  const transport = createRouterTransport(
    ({ service }) => {
      service(AgentService, {
        updateAgent() {
          updates += 1;
          throw refusal(Code.Unavailable, updates === 1 ? "SHUTTING_DOWN" : "AGENT_NOT_FOUND");
        },
      });
    },
    { transport: { interceptors: [retryUnary] } },
  );
  const update = new MemGPT({ agent: transport }).agents.updateAgent({});
  await assert.rejects(update, (error) => reasonOf(error) === ErrorReason.SHUTTING_DOWN);
  assert.equal(updates, 1);
});

void test("an exception of onFile ends the load", async () => {
  let created = 0;
  const transport = createRouterTransport(({ service }) => {
    service(LoaderService, {
      createLoad() {
        created += 1;
        if (created > 1) throw refusal(Code.NotFound, "LOAD_NOT_FOUND");
        return { load: { loadId: "load_1" } };
      },
      async *watchLoad() {
        yield await Promise.resolve({ sequence: 1n, event: { case: "file" as const, value: { state: FileState.LOADED } } });
      },
    });
  });
  const failure = new Error("the caller's");
  const onFile = (): void => {
    throw failure;
  };
  const loading = new MemGPT({ loader: transport, resumeTimeout: 1000 }).load({}, [], { onFile });
  await assert.rejects(loading, (error) => error === failure);
  assert.equal(created, 1);
});

void test("a file that cannot be read any more is withdrawn", async () => {
  class Vanishing extends Blob {
    override slice(): Blob {
      const part = new Blob();
      part.arrayBuffer = () => Promise.reject(new Error("gone ".repeat(1000)));
      return part;
    }
  }
  const reasons: string[] = [];
  const load = { loadId: "load_1", files: [{ manifest: { name: "a.txt" }, state: FileState.AWAITING_UPLOAD }] };
  const transport = createRouterTransport(({ service }) => {
    service(LoaderService, {
      createLoad: () => ({ load }),
      async uploadFile(requests) {
        for await (const { piece } of requests) {
          if (piece.case === "header") reasons.push(piece.value.withdrawalReason);
        }
        return {};
      },
      async *watchLoad() {
        yield await Promise.resolve({ sequence: 1n, event: { case: "ended" as const, value: load } });
      },
    });
  });
  const documents = [{ name: "a.txt", content: new Vanishing(["text"]) }];
  await new MemGPT({ loader: transport, resumeTimeout: 1000 }).load({}, documents);
  const reason = reasons.find((each) => each !== "") ?? "";
  assert.match(reason, /^cannot be read: Error: gone /);
  assert.ok(reason.length <= 1000);
});

void test("a file that can be read again is sent after an interrupted withdrawal", async () => {
  let reads = 0;
  class Unsteady extends Blob {
    override slice(): Blob {
      const part = new Blob(["text"]);
      reads += 1;
      if (reads === 1) part.arrayBuffer = () => Promise.reject(new Error("busy"));
      return part;
    }
  }
  const uploads: string[] = [];
  const load = { loadId: "load_1", files: [{ manifest: { name: "a.txt" }, state: FileState.AWAITING_UPLOAD }] };
  const transport = createRouterTransport(({ service }) => {
    service(LoaderService, {
      createLoad: () => ({ load }),
      async uploadFile(requests) {
        for await (const { piece } of requests) {
          if (piece.case === "header") uploads.push(piece.value.withdrawalReason === "" ? "file" : "withdrawal");
        }
        // The withdrawal and the second upload are interrupted.
        if (uploads.length < 4) throw refusal(Code.Unavailable, "SHUTTING_DOWN");
        return {};
      },
      async *watchLoad() {
        yield await Promise.resolve({ sequence: 1n, event: { case: "ended" as const, value: load } });
      },
    });
  });
  const documents = [{ name: "a.txt", content: new Unsteady(["text"]) }];
  await new MemGPT({ loader: transport, resumeTimeout: RESUME_TIMEOUT }).load({}, documents);
  assert.deepEqual(uploads, ["file", "withdrawal", "file", "file"]);
});

void test("a load leaves the caller's request as it is", async () => {
  const ids: string[] = [];
  const transport = createRouterTransport(({ service }) => {
    service(LoaderService, {
      createLoad({ requestId }) {
        ids.push(requestId);
        return {};
      },
      async *watchLoad() {
        yield await Promise.resolve({ sequence: 1n, event: { case: "ended" as const, value: {} } });
      },
    });
  });
  const memgpt = new MemGPT({ loader: transport });
  const request = create(CreateLoadRequestSchema, { source: { case: "sourceName", value: "papers" } });
  await memgpt.load(request, []);
  await memgpt.load(request, []);
  assert.equal(request.requestId, "");
  assert.equal(new Set(ids).size, 2);
});

void test("an upload that breaks is sent again in full", async () => {
  const content = new Uint8Array(1_000_000).map((_, place) => place % 251);
  const requestIds: string[] = [];
  const uploads: Uint8Array[][] = [];
  const load = (state: FileState) => ({ loadId: "load_1", files: [{ manifest: { name: "a.txt" }, state }] });
  const transport = createRouterTransport(({ service }) => {
    service(LoaderService, {
      createLoad({ requestId }) {
        requestIds.push(requestId);
        return { load: load(FileState.AWAITING_UPLOAD) };
      },
      async uploadFile(requests) {
        const chunks: Uint8Array[] = [];
        uploads.push(chunks);
        for await (const { piece } of requests) {
          if (piece.case !== "chunk") continue;
          chunks.push(piece.value);
          if (uploads.length === 1) throw refusal(Code.Unavailable, "SHUTTING_DOWN");
        }
        return {};
      },
      async *watchLoad() {
        yield await Promise.resolve({ sequence: 1n, event: { case: "ended" as const, value: load(FileState.LOADED) } });
      },
    });
  });
  const ended = await new MemGPT({ loader: transport, resumeTimeout: RESUME_TIMEOUT }).load({}, [{ name: "a.txt", content }]);
  assert.equal(ended.files[0]?.state, FileState.LOADED);
  assert.equal(uploads.length, 2);
  assert.deepEqual(Buffer.concat(uploads[1] ?? []), Buffer.from(content));
  assert.equal(new Set(requestIds).size, 1);
});

void test("pages are one sequence", async () => {
  const transport = createRouterTransport(({ service }) => {
    service(AgentService, {
      listAgents: ({ pageToken }) =>
        pageToken === "" ? { agents: [{ agentId: "a" }, { agentId: "b" }], nextPageToken: "2" } : { agents: [{ agentId: "c" }] },
    });
  });
  const ids: string[] = [];
  for await (const { agentId } of new MemGPT({ agent: transport }).listAgents()) ids.push(agentId);
  assert.deepEqual(ids, ["a", "b", "c"]);
});

void test("errors tell their reason and metadata", () => {
  const error = refusal(Code.NotFound, "AGENT_NOT_FOUND");
  assert.equal(reasonOf(error), ErrorReason.AGENT_NOT_FOUND);
  assert.equal(metadataOf(error)["agent_id"], "agent_x");
  assert.equal(reasonOf(new Error("other")), ErrorReason.UNSPECIFIED);
  assert.equal(reasonOf(refusal(Code.Aborted, "FROM_THE_FUTURE")), ErrorReason.UNSPECIFIED);
});
