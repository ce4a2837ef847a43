import assert from "node:assert/strict";
import { test } from "node:test";

import { create, fromBinary, toBinary, toJson } from "@bufbuild/protobuf";

import { FileManifestSchema } from "../src/gen/memgpt/loader/v1/load_pb.js";

void test("64-bit integers are exact beyond Number.MAX_SAFE_INTEGER, and text in JSON", () => {
  const size = BigInt(Number.MAX_SAFE_INTEGER) + 2n;
  const manifest = create(FileManifestSchema, { name: "large.txt", size });
  assert.equal(fromBinary(FileManifestSchema, toBinary(FileManifestSchema, manifest)).size, size);
  assert.deepEqual(toJson(FileManifestSchema, manifest), { name: "large.txt", size: "9007199254740993" });
  assert.throws(() => JSON.stringify(manifest), /BigInt/);
});
