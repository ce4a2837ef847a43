package io.memgptmilvus.client;

import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/** Which calls gRPC repeats, how often, and how it chooses a replica. */
final class Retries {
  /**
   * The unary calls, by service, that only read, that are inherently idempotent, or that carry a request id. A stream is not among
   * them: its call fails fast, and the resume timeout of the turn or the load decides.
   */
  private static final Map<String, List<String>> REPEATABLE =
      Map.ofEntries(
          Map.entry(
              "memgpt.agent.v1.AgentService",
              List.of(
                  "CreateAgent", "GetAgent", "ListAgents", "DeleteAgent", "CancelTurn", "ListTurns", "AttachSource",
                  "DetachSource", "ListSources", "DeleteSource", "GetContext", "DeleteBlock", "Summarize", "Undo", "Rethink",
                  "Rewrite", "SetHeartbeat", "ListHeartbeats", "CancelHeartbeat", "SetHeartbeatLimits", "PutProfile",
                  "GetProfile", "ListProfiles", "GetModel", "ListTools", "UnregisterTools")),
          Map.entry(
              "memgpt.loader.v1.LoaderService",
              List.of("CreateLoad", "GetLoad", "ListLoads", "CancelLoad", "ListFormats")),
          Map.entry(
              "memgpt.common.v1.IdentityService",
              List.of("WhoAmI")),
          Map.entry(
              "memgpt.memory.v1.ApiKeyService",
              List.of("GetApiKey", "ListApiKeys", "RevokeApiKey")),
          Map.entry(
              "memgpt.memory.v1.QuotaService",
              List.of("GetQuota", "SetQuota", "GetUsage")),
          Map.entry(
              "memgpt.memory.v1.ArchivalMemoryService",
              List.of(
                  "SearchPassages", "InsertPassages", "ListPassages", "GetPassages", "DeletePassages", "ForgetPassages")),
          Map.entry(
              "memgpt.memory.v1.RecallMemoryService",
              List.of("SearchMessages", "ListMessages", "ForgetMessages")),
          Map.entry(
              "memgpt.memory.v1.SharedBlockService",
              List.of(
                  "CreateSharedBlock", "GetSharedBlock", "ListSharedBlocks", "DeleteSharedBlock",
                  "AttachBlock", "DetachBlock", "ListBlockAgents")),
          Map.entry(
              "memgpt.memory.v1.SourceService",
              List.of("GetSource", "ListSources", "ListFiles", "DeleteFile")),
          Map.entry(
              "memgpt.memory.v1.StoreService",
              List.of("GetStore", "CancelReembed")),
          Map.entry(
              "memgpt.memory.v1.TenantService",
              List.of("GetTenant", "ListTenants", "DeleteTenant")),
          Map.entry(
              "memgpt.memory.v1.UserDataService",
              List.of("EraseUser")));

  /** Attempts within about 30 s, the time in which an Agent is replaced. */
  static final int MAX_ATTEMPTS = 14;

  private static final Map<String, ?> POLICY =
      Map.of(
          "maxAttempts", (double) MAX_ATTEMPTS,
          "initialBackoff", "0.2s",
          "maxBackoff", "3s",
          "backoffMultiplier", 2.0,
          "retryableStatusCodes", List.of("UNAVAILABLE"));

  private Retries() {}

  /** Returns the service config of every connection. */
  static Map<String, ?> serviceConfig() {
    List<Map<String, String>> names = REPEATABLE.entrySet().stream().flatMap(Retries::names).toList();
    return Map.of(
        "loadBalancingConfig",
        List.of(Map.of("round_robin", Map.of())),
        "methodConfig",
        List.of(Map.of("name", names, "waitForReady", true, "retryPolicy", POLICY)));
  }

  private static Stream<Map<String, String>> names(Map.Entry<String, List<String>> service) {
    return service.getValue().stream().map(method -> Map.of("service", service.getKey(), "method", method));
  }
}
