import { clone, create, type MessageInitShape } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";

import { Backoff } from "./backoff.js";
import { isInterruption, reasonOf } from "./errors.js";
import { SendMessageRequestSchema, type AgentService, type SendMessageRequest } from "./gen/memgpt/agent/v1/agent_service_pb.js";
import type { Done, TurnEvent } from "./gen/memgpt/agent/v1/event_pb.js";
import { ErrorReason } from "./gen/memgpt/common/v1/errors_pb.js";
import type { Turn as TurnRecord } from "./gen/memgpt/memory/v1/turn_pb.js";

/** Options of a turn. */
export interface TurnOptions {
  /** Stops reading; the turn itself goes on. See {@link Turn.cancel}. */
  signal?: AbortSignal;
}

/**
 * One request to an agent and all that the agent does about it. It outlives its connection: when the stream breaks, or the Agent
 * stops, iteration continues on another replica after the last event it returned.
 */
export class Turn implements AsyncIterable<TurnEvent> {
  readonly #request: SendMessageRequest;
  #id = "";
  #done: Done | undefined;

  /** @internal */
  constructor(
    private readonly agents: Client<typeof AgentService>,
    request: MessageInitShape<typeof SendMessageRequestSchema>,
    private readonly resumeTimeout: number,
    private readonly options: TurnOptions,
  ) {
    this.#request = clone(SendMessageRequestSchema, create(SendMessageRequestSchema, request));
    this.#request.requestId ||= crypto.randomUUID();
  }

  /** Names the turn: sending the same request with it again, from any process, continues the same turn. */
  get requestId(): string {
    return this.#request.requestId;
  }

  /** The turn's id; empty before the server has said it. */
  get id(): string {
    return this.#id;
  }

  /** How the turn ended; undefined while it has not. */
  get done(): Done | undefined {
    return this.#done;
  }

  /**
   * The events of the turn, up to and with `done`. Each durable event comes once and in order; iterating again continues after
   * the last one.
   *
   * @throws ConnectError the services' answer to the request, or the last failure when the turn could not be resumed in time
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<TurnEvent, void, undefined> {
    const { signal } = this.options;
    const backoff = new Backoff(this.resumeTimeout);
    for (;;) {
      let accepted = false;
      // Connect keeps a stream open that is not read to its end.
      const reading = new AbortController();
      const stop = signal === undefined ? reading.signal : AbortSignal.any([signal, reading.signal]);
      try {
        for await (const { event } of this.agents.sendMessage(this.#request, { signal: stop })) {
          accepted = true;
          if (event === undefined) continue;
          if (isProgress(event)) backoff.reset();
          this.#note(event);
          yield event;
          if (event.event.case === "done") return;
        }
      } catch (error) {
        // A token that expired during the stream may have a successor; one that is refused at once has none.
        const resumable = isInterruption(error) || (accepted && reasonOf(error) === ErrorReason.CREDENTIAL_EXPIRED);
        if (signal?.aborted === true || !resumable || !(await backoff.wait(error, signal))) throw error;
        continue;
      } finally {
        reading.abort();
      }
      const cut = new Error("the stream ended before its last event");
      if (!(await backoff.wait(cut, signal))) throw cut;
    }
  }

  /**
   * Ask the agent to stop this turn. What was committed stays.
   *
   * @returns the turn as it is now
   * @throws ConnectError `NotFound` if the turn has not begun
   */
  async cancel(): Promise<TurnRecord | undefined> {
    const { agentId, requestId } = this.#request;
    return (await this.agents.cancelTurn({ agentId, requestId })).turn;
  }

  /**
   * Read the turn to its end and return the texts of the agent's messages.
   *
   * @throws ConnectError as in iteration
   */
  async messages(): Promise<string[]> {
    const texts: string[] = [];
    for await (const { event } of this) {
      if (event.case === "message") texts.push(event.value.text);
    }
    return texts;
  }

  #note(event: TurnEvent): void {
    if (event.sequence > this.#request.afterSequence) this.#request.afterSequence = event.sequence;
    if (event.event.case === "started" && event.event.value.turnId !== "") this.#id = event.event.value.turnId;
    if (event.event.case === "done") this.#done = event.event.value;
  }
}

/**
 * Whether an event shows that the turn goes on. An Agent sends `started`, `modelCall`, and `stepRestarted` before it does any
 * work: with Memory or the model down, every attempt gets that far.
 */
function isProgress({ event }: TurnEvent): boolean {
  return event.case !== "started" && event.case !== "modelCall" && event.case !== "stepRestarted";
}
