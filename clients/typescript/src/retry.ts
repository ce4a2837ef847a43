import { clone, type DescMessage, type Message, type MessageShape } from "@bufbuild/protobuf";
import type { Interceptor } from "@connectrpc/connect";

import { Backoff } from "./backoff.js";
import { isInterruption } from "./errors.js";

const UNARY_PATIENCE = 15_000;

/**
 * Repeats unary calls that were interrupted. A mutation without a request id is sent with a new one, so that repeating it is safe.
 */
export const retryUnary: Interceptor = (next) => async (request) => {
  if (request.stream) return await next(request);
  const backoff = new Backoff(UNARY_PATIENCE);
  const message = withRequestId(request.method.input, request.message);
  for (;;) {
    try {
      return await next({ ...request, message });
    } catch (error) {
      if (request.signal.aborted || !isInterruption(error) || !(await backoff.wait(error, request.signal))) throw error;
    }
  }
};

function withRequestId<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): MessageShape<Desc> {
  const fields = message as Message & { requestId?: unknown };
  if (schema.field["requestId"] === undefined || fields.requestId !== "") return message;
  return Object.assign(clone(schema, message), { requestId: crypto.randomUUID() });
}
