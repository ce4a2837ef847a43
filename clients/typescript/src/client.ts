import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { createClient, type Client, type Transport } from "@connectrpc/connect";

import {
  AgentService, ListAgentsRequestSchema, ListSourcesRequestSchema, type SendMessageRequestSchema,
} from "./gen/memgpt/agent/v1/agent_service_pb.js";
import { IdentityService } from "./gen/memgpt/common/v1/identity_service_pb.js";
import { LoaderService, type CreateLoadRequestSchema } from "./gen/memgpt/loader/v1/loader_service_pb.js";
import type { Load } from "./gen/memgpt/loader/v1/load_pb.js";
import type { Agent } from "./gen/memgpt/memory/v1/agent_pb.js";
import { ApiKeyService } from "./gen/memgpt/memory/v1/api_key_service_pb.js";
import { ArchivalMemoryService, SearchPassagesRequestSchema } from "./gen/memgpt/memory/v1/archival_memory_service_pb.js";
import type { Message } from "./gen/memgpt/memory/v1/message_pb.js";
import type { PassageHit } from "./gen/memgpt/memory/v1/passage_pb.js";
import { QuotaService } from "./gen/memgpt/memory/v1/quota_service_pb.js";
import { RecallMemoryService, SearchMessagesRequestSchema } from "./gen/memgpt/memory/v1/recall_memory_service_pb.js";
import type { Source } from "./gen/memgpt/memory/v1/source_pb.js";
import { TenantService } from "./gen/memgpt/memory/v1/tenant_service_pb.js";
import { load, type Document, type LoadOptions } from "./load.js";
import { Turn, type TurnOptions } from "./turn.js";

/** How to reach the services. A service without a transport cannot be called. */
export interface MemGPTOptions {
  /** The Agent. */
  agent?: Transport;
  /** The Loader. */
  loader?: Transport;
  /** Memory. */
  memory?: Transport;
  /** Milliseconds for which turns and loads are resumed without progress. Default: two minutes. */
  resumeTimeout?: number;
}

/** Client of the services: the generated clients, and what every caller needs on top of them. */
export class MemGPT {
  readonly #options: MemGPTOptions;
  readonly #resumeTimeout: number;

  constructor(options: MemGPTOptions) {
    this.#options = options;
    this.#resumeTimeout = options.resumeTimeout ?? 120_000;
  }

  /** Talks to agents and manages them. */
  get agents(): Client<typeof AgentService> {
    return createClient(AgentService, transport("agent", this.#options.agent));
  }

  /** Turns documents into passages. Node.js only: browsers cannot send client streams. */
  get loads(): Client<typeof LoaderService> {
    return createClient(LoaderService, transport("loader", this.#options.loader));
  }

  /** Searches archival memory. */
  get archive(): Client<typeof ArchivalMemoryService> {
    return createClient(ArchivalMemoryService, transport("memory", this.#options.memory));
  }

  /** Searches messages. */
  get recall(): Client<typeof RecallMemoryService> {
    return createClient(RecallMemoryService, transport("memory", this.#options.memory));
  }

  /** Says who the caller is. */
  get identity(): Client<typeof IdentityService> {
    return createClient(IdentityService, transport("agent", this.#options.agent));
  }

  /** Administers API keys. */
  get keys(): Client<typeof ApiKeyService> {
    return createClient(ApiKeyService, transport("memory", this.#options.memory));
  }

  /** Administers tenants. */
  get tenants(): Client<typeof TenantService> {
    return createClient(TenantService, transport("memory", this.#options.memory));
  }

  /** Limits and reports what tenants use. */
  get quotas(): Client<typeof QuotaService> {
    return createClient(QuotaService, transport("memory", this.#options.memory));
  }

  /**
   * Give an agent a message or an event. The turn begins when it is iterated.
   *
   * @param request - without a request id it gets a new one
   * @param options - how to stop reading
   */
  send(request: MessageInitShape<typeof SendMessageRequestSchema>, options: TurnOptions = {}): Turn {
    return new Turn(this.agents, request, this.#resumeTimeout, options);
  }

  /**
   * Load files into a source and wait for the end. The result holds the outcome of every file: a bad file fails on its own and is
   * no error here. Files that the source already has are not sent.
   *
   * @param request - names the source and may set options; its files and, if it is empty, its request id are filled in
   * @param documents - the files
   * @param options - how to follow the load, and to stop waiting
   * @throws ConnectError the services' answer to the request, or the last failure when the load could not be resumed in time
   */
  async load(
    request: MessageInitShape<typeof CreateLoadRequestSchema>, documents: readonly Document[], options: LoadOptions = {},
  ): Promise<Load> {
    return await load(this.loads, request, documents, this.#resumeTimeout, options);
  }

  /**
   * The whole ranking, best first, to the last passage. `pageSize` is the number of passages in one fetch.
   *
   * @throws ConnectError a page could not be fetched
   */
  searchPassages(request: MessageInitShape<typeof SearchPassagesRequestSchema>): AsyncGenerator<PassageHit, void, undefined> {
    const search = create(SearchPassagesRequestSchema, request);
    return pages((pageToken) => this.archive.searchPassages({ ...search, pageToken }), (page) => page.hits);
  }

  /**
   * Every message that matches. `pageSize` is the number of messages in one fetch.
   *
   * @throws ConnectError a page could not be fetched
   */
  searchMessages(request: MessageInitShape<typeof SearchMessagesRequestSchema>): AsyncGenerator<Message, void, undefined> {
    const search = create(SearchMessagesRequestSchema, request);
    return pages((pageToken) => this.recall.searchMessages({ ...search, pageToken }), (page) => page.messages);
  }

  /**
   * All agents in order of creation.
   *
   * @throws ConnectError a page could not be fetched
   */
  listAgents(): AsyncGenerator<Agent, void, undefined> {
    return pages(
      (pageToken) => this.agents.listAgents(create(ListAgentsRequestSchema, { pageToken })), (page) => page.agents,
    );
  }

  /**
   * All sources in order of creation.
   *
   * @throws ConnectError a page could not be fetched
   */
  listSources(): AsyncGenerator<Source, void, undefined> {
    return pages(
      (pageToken) => this.agents.listSources(create(ListSourcesRequestSchema, { pageToken })), (page) => page.sources,
    );
  }
}

async function* pages<Page extends { nextPageToken: string }, Item>(
  fetchPage: (pageToken: string) => Promise<Page>, itemsOf: (page: Page) => Item[],
): AsyncGenerator<Item, void, undefined> {
  let token = "";
  do {
    const page = await fetchPage(token);
    yield* itemsOf(page);
    token = page.nextPageToken;
  } while (token !== "");
}

function transport(service: string, given: Transport | undefined): Transport {
  if (given === undefined) throw new Error(`no transport for the ${service} service; pass one to the MemGPT constructor`);
  return given;
}
