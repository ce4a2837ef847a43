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
  agent?: Transport;
  loader?: Transport;
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

  /** Give an agent a message. The turn begins when it is iterated. */
  send(request: MessageInitShape<typeof SendMessageRequestSchema>, options: TurnOptions = {}): Turn {
    return new Turn(this.agents, request, this.#resumeTimeout, options);
  }

  /**
   * Load files into a source and wait for the end. The result holds the outcome of every file: a bad file fails on its own and is
   * no error here. Files that the source already has are not sent.
   */
  async load(
    request: MessageInitShape<typeof CreateLoadRequestSchema>, documents: readonly Document[], options: LoadOptions = {},
  ): Promise<Load> {
    return await load(this.loads, request, documents, this.#resumeTimeout, options);
  }

  /** The whole ranking, best first, to the last passage. `pageSize` is the size of one fetch. */
  searchPassages(request: MessageInitShape<typeof SearchPassagesRequestSchema>): AsyncGenerator<PassageHit, void, undefined> {
    const search = create(SearchPassagesRequestSchema, request);
    return pages((pageToken) => this.archive.searchPassages({ ...search, pageToken }), (page) => page.hits);
  }

  /** Every message that matches. */
  searchMessages(request: MessageInitShape<typeof SearchMessagesRequestSchema>): AsyncGenerator<Message, void, undefined> {
    const search = create(SearchMessagesRequestSchema, request);
    return pages((pageToken) => this.recall.searchMessages({ ...search, pageToken }), (page) => page.messages);
  }

  /** All agents in order of creation. */
  listAgents(): AsyncGenerator<Agent, void, undefined> {
    return pages(
      (pageToken) => this.agents.listAgents(create(ListAgentsRequestSchema, { pageToken })), (page) => page.agents,
    );
  }

  /** All sources in order of creation. */
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
