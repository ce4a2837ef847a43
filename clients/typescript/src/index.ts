/**
 * Client of the MemGPT on Milvus services.
 *
 * @packageDocumentation
 */
export { MemGPT, type MemGPTOptions } from "./client.js";
export {
  fieldViolations, isCredentialError, isPermissionError, metadataOf, reasonOf, retryAfter, type FieldViolation,
} from "./errors.js";
export { ErrorReason } from "./gen/memgpt/common/v1/errors_pb.js";
export type { Document, LoadOptions } from "./load.js";
export { retryUnary } from "./retry.js";
export { sendToken, type Token, type TokenOptions } from "./token.js";
export { Turn, type TurnOptions } from "./turn.js";
