import { clone, toBinary, type DescMethod, type Message } from "@bufbuild/protobuf";
import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";

import { Backoff } from "./backoff.js";
import { isUnavailable } from "./errors.js";
import { limitUnary, roundTimeout } from "./timeout.js";

const CALL_TIMEOUT = 60_000;
const UNARY_RETRY_TIMEOUT = 30_000;

/**
 * Milliseconds after which an attempt that breaks shows that the service was at work: proxies end calls after 15 s or more, and
 * the next attempt joins the work or waits for its end.
 */
const LONG_ATTEMPT = 10_000;

/** Unary calls, by service, that only read, that are inherently idempotent, or that carry a request id. */
const REPEATABLE: Readonly<Record<string, readonly string[]>> = {
  "memgpt.agent.v1.AgentService": [
    "CreateAgent", "GetAgent", "ListAgents", "DeleteAgent", "CancelTurn", "ListTurns", "AttachSource", "DetachSource",
    "ListSources", "DeleteSource", "GetContext", "DeleteBlock", "Summarize", "Undo", "Rethink", "Rewrite",
    "SetHeartbeat", "ListHeartbeats", "CancelHeartbeat", "SetHeartbeatLimits", "PutProfile", "GetProfile", "ListProfiles", "GetModel", "ListTools", "UnregisterTools",
  ],
  "memgpt.loader.v1.LoaderService": [
    "CreateLoad", "GetLoad", "ListLoads", "CancelLoad", "ListFormats",
  ],
  "memgpt.common.v1.IdentityService": [
    "WhoAmI",
  ],
  "memgpt.memory.v1.ApiKeyService": [
    "GetApiKey", "ListApiKeys", "RevokeApiKey",
  ],
  "memgpt.memory.v1.TenantService": [
    "GetTenant", "ListTenants", "DeleteTenant",
  ],
  "memgpt.memory.v1.UserDataService": [
    "EraseUser",
  ],
  "memgpt.memory.v1.QuotaService": [
    "GetQuota", "SetQuota", "GetUsage",
  ],
  "memgpt.memory.v1.ArchivalMemoryService": [
    "SearchPassages", "InsertPassages", "ListPassages", "GetPassages", "DeletePassages", "ForgetPassages",
  ],
  "memgpt.memory.v1.RecallMemoryService": [
    "SearchMessages", "ListMessages", "ForgetMessages",
  ],
  "memgpt.memory.v1.SharedBlockService": [
    "CreateSharedBlock", "GetSharedBlock", "ListSharedBlocks", "DeleteSharedBlock", "AttachBlock", "DetachBlock",
    "ListBlockAgents",
  ],
  "memgpt.memory.v1.SourceService": [
    "GetSource", "ListSources", "ListFiles", "DeleteFile",
  ],
  "memgpt.memory.v1.StoreService": [
    "GetStore", "CancelReembed",
  ],
};

/** Calls in which the request id is that of an earlier request. */
const NAME_AN_EARLIER_REQUEST: readonly string[] = ["CancelTurn", "ResumeTurn"];

/**
 * Repeats unary calls while a service is unavailable, if running them twice is safe. A mutation without a request id, of a stream
 * as well, is sent with a new one. A unary call without a timeout gets one of a minute, with its repetitions.
 */
export const retryUnary: Interceptor = (next) => limitUnary(CALL_TIMEOUT)(repeatUnary(next));

/** {@link retryUnary} without a timeout of its own. A timeout that gRPC cannot express is rounded up. @internal */
export const repeatUnary: Interceptor = (next) => async (request) => {
  roundTimeout(request.header);
  if (request.stream) return await next({ ...request, message: withRequestIds(request.method, request.message) });
  const message = withRequestId(request.method, request.message);
  if (REPEATABLE[request.service.typeName]?.includes(request.method.name) !== true) return await next({ ...request, message });
  checkEncodable(request.method, message);
  const backoff = new Backoff(UNARY_RETRY_TIMEOUT);
  for (;;) {
    const began = performance.now();
    try {
      return await next({ ...request, message });
    } catch (error) {
      if (performance.now() - began > LONG_ATTEMPT) backoff.reset();
      if (request.signal.aborted || !isUnavailable(error) || !(await backoff.wait(error, request.signal))) throw error;
    }
  }
};

/** Check that a request can be encoded. Connect reports one that cannot as `Internal`, as it does a broken connection. */
function checkEncodable({ input }: DescMethod, message: Message): void {
  try {
    toBinary(input, message);
  } catch (error) {
    throw ConnectError.from(error, Code.InvalidArgument);
  }
}

function withRequestId(method: DescMethod, message: Message): Message {
  const fields = message as Message & { requestId?: unknown };
  if (method.input.field["requestId"] === undefined || fields.requestId !== "") return message;
  if (NAME_AN_EARLIER_REQUEST.includes(method.name)) return message;
  return Object.assign(clone(method.input, message), { requestId: crypto.randomUUID() });
}

async function* withRequestIds(method: DescMethod, messages: AsyncIterable<Message>): AsyncGenerator<Message> {
  for await (const message of messages) yield withRequestId(method, message);
}
