/** Runs the conformance scenario; see clients/conformance/README.md. */
import { createRegistry, fromJson, toJson, type JsonValue, type DescMethodUnary, type Registry } from "@bufbuild/protobuf";
import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { appendFile, readFile, writeFile } from "node:fs/promises";

import { MemGPT, fieldViolations, metadataOf, reasonOf, ErrorReason } from "../src/index.js";
import { SendMessageRequestSchema, file_memgpt_agent_v1_agent_service } from "../src/gen/memgpt/agent/v1/agent_service_pb.js";
import { DeltaKind } from "../src/gen/memgpt/agent/v1/event_pb.js";
import { LoadSchema } from "../src/gen/memgpt/loader/v1/load_pb.js";
import { file_memgpt_common_v1_identity_service } from "../src/gen/memgpt/common/v1/identity_service_pb.js";
import { file_memgpt_loader_v1_loader_service } from "../src/gen/memgpt/loader/v1/loader_service_pb.js";
import { file_memgpt_memory_v1_api_key_service } from "../src/gen/memgpt/memory/v1/api_key_service_pb.js";
import { file_memgpt_memory_v1_archival_memory_service } from "../src/gen/memgpt/memory/v1/archival_memory_service_pb.js";
import { file_memgpt_memory_v1_recall_memory_service } from "../src/gen/memgpt/memory/v1/recall_memory_service_pb.js";
import { file_memgpt_memory_v1_shared_block_service } from "../src/gen/memgpt/memory/v1/shared_block_service_pb.js";
import { file_memgpt_memory_v1_tenant_service } from "../src/gen/memgpt/memory/v1/tenant_service_pb.js";
import { TurnStateSchema } from "../src/gen/memgpt/memory/v1/turn_pb.js";
import { nodeTransport } from "../src/node.js";

type Fields = Record<string, JsonValue>;

interface Step {
  name: string;
  call?: string;
  request?: Fields;
  turn?: Fields;
  load?: { sourceName: string; files: { name: string; text: string }[] };
  pages?: { call: string; request: Fields; items: string; id: string };
  during?: string;
  credential?: string;
  timeoutSeconds?: number;
  expect?: Fields;
  save?: Record<string, string>;
  error?: { code: string; reason?: keyof typeof ErrorReason; metadata?: Record<string, string>; violations?: string[] };
}

interface Config {
  agent: string;
  loader: string;
  memory: string;
  control: string;
  run: string;
  key: string;
  scenario: string;
  results: string;
}

class Runner {
  /** The connections by credential, then by service. */
  readonly #transports: Record<string, Record<string, Transport>> = {};
  readonly #registry: Registry = createRegistry(
    file_memgpt_agent_v1_agent_service, file_memgpt_loader_v1_loader_service,
    file_memgpt_memory_v1_archival_memory_service, file_memgpt_memory_v1_recall_memory_service,
    file_memgpt_common_v1_identity_service, file_memgpt_memory_v1_api_key_service, file_memgpt_memory_v1_tenant_service,
    file_memgpt_memory_v1_shared_block_service,
  );
  readonly #saved: Record<string, string>;

  constructor(private readonly config: Config) {
    this.#saved = { run: config.run, key: config.key };
  }

  /** Execute a step and return what is wrong, or "". */
  async run(step: Step): Promise<string> {
    let result: JsonValue;
    try {
      result = await this.#execute(step);
    } catch (error) {
      return step.error === undefined ? String(error) : this.#compareError(step.error, error);
    }
    if (step.error !== undefined) return `expected ${step.error.code}`;
    for (const [path, expected] of Object.entries(step.expect ?? {})) {
      const problem = compare(result, path, this.#fill(expected));
      if (problem !== "") return problem;
    }
    for (const [name, path] of Object.entries(step.save ?? {})) this.#saved[name] = textAt(result, path);
    return "";
  }

  async #execute(step: Step): Promise<JsonValue> {
    const transports = this.#connect(this.#fill(step.credential ?? "${key}") as string);
    const memgpt = new MemGPT(transports);
    if (step.turn !== undefined) return await this.#turn(memgpt, step.turn, step.during);
    if (step.load !== undefined) return await this.#load(memgpt, step.load);
    if (step.pages !== undefined) return await this.#pages(transports, step.pages);
    return await this.#call(transports, step.call ?? "", step.request ?? {}, step.timeoutSeconds);
  }

  /** The connections with a credential; "" for none. */
  #connect(credential: string): Record<string, Transport> {
    const { agent, loader, memory } = this.config;
    const atEdge = process.env["MEMGPT_CONFORMANCE_PROTOCOL"] === "grpc-web" ? "grpc-web" : "grpc";
    const connect = (address: string, protocol: "grpc" | "grpc-web"): Transport =>
      nodeTransport(`http://${address}`, credential === "" ? { protocol } : { protocol, token: credential });
    const toAgent = connect(agent, atEdge);
    return this.#transports[credential] ??= {
      agent: toAgent, common: toAgent, loader: connect(loader, atEdge), memory: connect(memory, "grpc"),
    };
  }

  /** Make a unary call by the descriptors of the generated code. */
  async #call(transports: Record<string, Transport>, name: string, request: Fields, timeoutSeconds?: number): Promise<JsonValue> {
    const [service, method] = name.split("/") as [string, string];
    const descriptor = this.#registry.getService(service);
    const found = descriptor?.methods.find((each) => each.name === method);
    if (descriptor === undefined || found?.methodKind !== "unary") throw new Error(`unknown method ${name}`);
    const transport = transports[name.split(".")[1] ?? ""];
    if (transport === undefined) throw new Error(`no transport for ${name}`);
    const timeout = timeoutSeconds === undefined ? undefined : timeoutSeconds * 1000;
    const input = fromJson(found.input, this.#fill(request));
    const response = await transport.unary(found as DescMethodUnary, undefined, timeout, undefined, input);
    return toJson(found.output, response.message);
  }

  async #turn(memgpt: MemGPT, fields: Fields, during: string | undefined): Promise<JsonValue> {
    const request = fromJson(SendMessageRequestSchema, this.#fill(fields));
    const turn = memgpt.send(request);
    const result = { messages: [] as string[], functions: [] as string[], deltas: "", sequencesAscend: true };
    let first: string | undefined;
    let last = request.afterSequence;
    for await (const { sequence, step, event } of turn) {
      if (sequence > 0n) {
        first ??= sequence.toString();
        result.sequencesAscend &&= sequence === last + 1n;
        last = sequence;
      }
      if (event.case === "message") result.messages.push(event.value.text);
      if (event.case === "functionCall") result.functions.push(event.value.name);
      if (event.case === "delta" && event.value.kind === DeltaKind.MESSAGE) result.deltas += event.value.text;
      if (during !== undefined && sequence > 0n && step > 0) {
        if (during === "cancel") await turn.cancel();
        else await this.#control(during);
        during = undefined;
      }
    }
    const state = turn.done === undefined ? "" : (TurnStateSchema.value[turn.done.state].name);
    return { ...result, state, firstSequence: first ?? null };
  }

  async #control(action: string): Promise<void> {
    const response = await fetch(`${this.config.control}/${action}`, { method: "POST" });
    if (response.status !== 204) throw new Error(`${action}: ${String(response.status)}`);
  }

  async #load(memgpt: MemGPT, { sourceName, files }: NonNullable<Step["load"]>): Promise<JsonValue> {
    const documents = files.map(({ name, text }) => ({ name, content: new TextEncoder().encode(text) }));
    const value = this.#fill(sourceName) as string;
    const load = await memgpt.load({ source: { case: "sourceName", value } }, documents);
    return toJson(LoadSchema, load);
  }

  async #pages(
    transports: Record<string, Transport>, { call, request, items, id }: NonNullable<Step["pages"]>,
  ): Promise<JsonValue> {
    const ids: string[] = [];
    let pages = 0;
    for (let token: JsonValue | undefined = ""; token !== undefined; pages++) {
      const response = await this.#call(transports, call, { ...request, pageToken: token });
      for (const item of (lookUp(response, items) as JsonValue[] | undefined) ?? []) ids.push(textAt(item, id));
      token = lookUp(response, "nextPageToken");
    }
    return { total: ids.length, distinct: new Set(ids).size, pages, ids };
  }

  #compareError(expected: NonNullable<Step["error"]>, error: unknown): string {
    const code = Code[ConnectError.from(error).code].replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase().replace("CANCELED", "CANCELLED");
    if (code !== expected.code) return `expected ${expected.code}, got ${String(error)}`;
    if (expected.reason !== undefined && reasonOf(error) !== ErrorReason[expected.reason]) {
      return `expected reason ${expected.reason}, got ${ErrorReason[reasonOf(error)]}`;
    }
    const violations = JSON.stringify(fieldViolations(error).map(({ field }) => field).sort());
    if (expected.violations !== undefined && violations !== JSON.stringify(expected.violations)) {
      return `expected violations of ${JSON.stringify(expected.violations)}, got ${violations}`;
    }
    for (const [key, value] of Object.entries(expected.metadata ?? {})) {
      if (metadataOf(error)[key] !== this.#fill(value)) return `metadata ${key} is ${String(metadataOf(error)[key])}`;
    }
    return "";
  }

  /** Replace the saved values in a tree of JSON. */
  #fill(value: JsonValue): JsonValue {
    if (typeof value === "string") return value.replace(/\$\{(\w+)\}/g, (_, name: string) => this.#saved[name] ?? "");
    if (Array.isArray(value)) return value.map((each) => this.#fill(each));
    if (typeof value === "object" && value !== null) {
      return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, this.#fill(each)]));
    }
    return value;
  }
}

function compare(result: JsonValue, path: string, expected: JsonValue): string {
  if (path === "contains") {
    return (lookUp(result, "ids") as JsonValue[]).includes(expected) ? "" : `${JSON.stringify(expected)} is not among the ids`;
  }
  const got = lookUp(result, path) ?? null;
  return JSON.stringify(got) === JSON.stringify(expected) ? "" : `${path}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(got)}`;
}

/** Follow a path such as "hits.0.rank" in a tree of JSON. */
function lookUp(value: JsonValue, path: string): JsonValue | undefined {
  let found: JsonValue | undefined = value;
  for (const key of path.split(".")) {
    if (typeof found !== "object" || found === null) return undefined;
    found = (found as Record<string, JsonValue | undefined>)[key];
  }
  return found;
}

function textAt(value: JsonValue, path: string): string {
  const found = lookUp(value, path);
  if (typeof found !== "string") throw new Error(`${path} is not a text: ${JSON.stringify(found)}`);
  return found;
}

const config = JSON.parse(await readFile(process.env["MEMGPT_CONFORMANCE"] ?? "", "utf8")) as Config;
const scenario = JSON.parse(await readFile(config.scenario, "utf8")) as { steps: Step[] };
const runner = new Runner(config);
await writeFile(config.results, "");
for (const step of scenario.steps) {
  const problem = await runner.run(step);
  await appendFile(config.results, `${JSON.stringify({ name: step.name, problem })}\n`);
  if (problem !== "") process.exitCode = 1;
}
process.exit();
