import { clone, create, type MessageInitShape } from "@bufbuild/protobuf";
import type { CallOptions, Client } from "@connectrpc/connect";

import { Backoff } from "./backoff.js";
import { isInterruption } from "./errors.js";
import { FileManifestSchema, FileState, type Load, type LoadFile } from "./gen/memgpt/loader/v1/load_pb.js";
import {
  CreateLoadRequestSchema, UploadFileRequestSchema, type CreateLoadRequest, type LoaderService, type UploadFileRequest,
} from "./gen/memgpt/loader/v1/loader_service_pb.js";

const CHUNK_BYTES = 64 << 10;

/** A document to load. */
export interface Document {
  /** Its label within the source: 1 to 1,024 bytes of UTF-8, unique in a load. */
  name: string;
  /** Its bytes. A `Blob`, such as a file of `fs.openAsBlob`, is read when it is sent. */
  content: Uint8Array<ArrayBuffer> | Blob;
}

/** Options of a load. */
export interface LoadOptions {
  /** Stops waiting; the load itself goes on with what it has. */
  signal?: AbortSignal;
  /** Called for each change of a file. */
  onFile?: (file: LoadFile) => void;
}

/** Load files and wait for the end, resuming when the Loader stops or the connection breaks. @internal */
export async function load(
  loads: Client<typeof LoaderService>,
  options: MessageInitShape<typeof CreateLoadRequestSchema>,
  documents: readonly Document[],
  resumeTimeout: number,
  { signal, onFile }: LoadOptions,
): Promise<Load> {
  const request = clone(CreateLoadRequestSchema, create(CreateLoadRequestSchema, options));
  request.requestId ||= crypto.randomUUID();
  request.files = [];
  const contents = new Map<string, Blob>();
  for (const { name, content } of documents) {
    const blob = content instanceof Blob ? content : new Blob([content]);
    const digest = await crypto.subtle.digest("SHA-256", await blob.arrayBuffer());
    request.files.push(create(FileManifestSchema, { name, size: BigInt(blob.size), sha256: hex(digest) }));
    contents.set(name, blob);
  }
  const run = new LoadRun(loads, request, contents, new Backoff(resumeTimeout), signal, onFile);
  return await run.toEnd();
}

/** An exception of the caller's `onFile`, which must not count as an interruption. */
class CallerError extends Error {}

class LoadRun {
  #sequence = 0n;
  /** Why files could not be read while they were sent, by name. */
  readonly #unreadable = new Map<string, string>();

  constructor(
    private readonly loads: Client<typeof LoaderService>,
    private readonly request: CreateLoadRequest,
    private readonly contents: ReadonlyMap<string, Blob>,
    private readonly backoff: Backoff,
    private readonly signal: AbortSignal | undefined,
    private readonly onFile: ((file: LoadFile) => void) | undefined,
  ) {}

  async toEnd(): Promise<Load> {
    for (;;) {
      try {
        return await this.#attempt();
      } catch (error) {
        if (error instanceof CallerError) throw error.cause;
        if (this.signal?.aborted === true || !isInterruption(error)) throw error;
        if (!(await this.backoff.wait(error, this.signal))) throw error;
      }
    }
  }

  /** Create the load, or find it as it is now, send what is wanted, and follow it to its end. */
  async #attempt(): Promise<Load> {
    const call = this.signal === undefined ? {} : { signal: this.signal };
    const created = (await this.loads.createLoad(this.request, call)).load;
    for (const file of created?.files ?? []) {
      if (file.state !== FileState.AWAITING_UPLOAD || file.manifest === undefined) continue;
      await this.#upload(created?.loadId ?? "", file.manifest.name, call);
      this.backoff.reset();
    }
    return await this.#watch(created?.loadId ?? "");
  }

  async #watch(loadId: string): Promise<Load> {
    // Connect keeps a stream open that is not read to its end.
    const reading = new AbortController();
    const signal = this.signal === undefined ? reading.signal : AbortSignal.any([this.signal, reading.signal]);
    try {
      for await (const { sequence, event } of this.loads.watchLoad({ loadId, afterSequence: this.#sequence }, { signal })) {
        this.backoff.reset();
        if (sequence > this.#sequence) this.#sequence = sequence;
        if (event.case === "file") this.#report(event.value);
        if (event.case === "ended") return event.value;
      }
    } finally {
      reading.abort();
    }
    throw new Error("the load's stream ended before its last event");
  }

  #report(file: LoadFile): void {
    try {
      this.onFile?.(file);
    } catch (error) {
      throw new CallerError("onFile failed", { cause: error });
    }
  }

  /** Send one file, or withdraw it when it cannot be read any more, so that the load goes on without it. */
  async #upload(loadId: string, name: string, call: CallOptions): Promise<void> {
    this.#unreadable.delete(name); // it may be readable again after an interruption
    try {
      await this.loads.uploadFile(this.#pieces(loadId, name), call);
    } catch (error) {
      const withdrawalReason = this.#unreadable.get(name);
      if (withdrawalReason === undefined) throw error;
      await this.loads.uploadFile(only(header(loadId, name, withdrawalReason)), call);
    }
  }

  async *#pieces(loadId: string, name: string): AsyncGenerator<UploadFileRequest> {
    yield header(loadId, name);
    const blob = this.contents.get(name) ?? new Blob();
    for (let start = 0; start < blob.size; start += CHUNK_BYTES) {
      const value = await this.#read(name, blob.slice(start, start + CHUNK_BYTES));
      yield create(UploadFileRequestSchema, { piece: { case: "chunk", value } });
    }
  }

  async #read(name: string, chunk: Blob): Promise<Uint8Array<ArrayBuffer>> {
    try {
      return new Uint8Array(await chunk.arrayBuffer());
    } catch (error) {
      this.#unreadable.set(name, `cannot be read: ${String(error)}`.slice(0, 1000));
      throw error;
    }
  }
}

function header(loadId: string, name: string, withdrawalReason = ""): UploadFileRequest {
  return create(UploadFileRequestSchema, { piece: { case: "header", value: { loadId, name, withdrawalReason } } });
}

async function* only(request: UploadFileRequest): AsyncGenerator<UploadFileRequest> {
  yield await Promise.resolve(request);
}

function hex(digest: ArrayBuffer): string {
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
