package memgpt

import "encoding/json"

// maxAttempts are made within about 30 s, the time in which an Agent is replaced.
const maxAttempts = 14

// repeatable lists, by service, the unary calls that only read, that are inherently idempotent, or that carry a request id. gRPC
// may repeat them. A stream is not among them: its call fails fast, and the resume timeout of the turn or the load decides.
var repeatable = map[string][]string{
	"memgpt.agent.v1.AgentService": {
		"CreateAgent", "GetAgent", "ListAgents", "DeleteAgent", "CancelTurn", "ListTurns", "AttachSource", "DetachSource",
		"ListSources", "DeleteSource", "GetContext", "DeleteBlock", "Summarize", "Undo", "Rethink", "Rewrite",
		"SetHeartbeat", "ListHeartbeats", "CancelHeartbeat", "SetHeartbeatLimits", "PutProfile", "GetProfile", "ListProfiles", "GetModel", "ListTools", "UnregisterTools",
	},
	"memgpt.loader.v1.LoaderService": {
		"CreateLoad", "GetLoad", "ListLoads", "CancelLoad", "ListFormats",
	},
	"memgpt.common.v1.IdentityService": {
		"WhoAmI",
	},
	"memgpt.memory.v1.ApiKeyService": {
		"GetApiKey", "ListApiKeys", "RevokeApiKey",
	},
	"memgpt.memory.v1.TenantService": {
		"GetTenant", "ListTenants", "DeleteTenant",
	},
	"memgpt.memory.v1.UserDataService": {
		"EraseUser",
	},
	"memgpt.memory.v1.QuotaService": {
		"GetQuota", "SetQuota", "GetUsage",
	},
	"memgpt.memory.v1.ArchivalMemoryService": {
		"SearchPassages", "InsertPassages", "ListPassages", "GetPassages", "DeletePassages", "ForgetPassages",
	},
	"memgpt.memory.v1.RecallMemoryService": {
		"SearchMessages", "ListMessages", "ForgetMessages",
	},
	"memgpt.memory.v1.SharedBlockService": {
		"CreateSharedBlock", "GetSharedBlock", "ListSharedBlocks", "DeleteSharedBlock", "AttachBlock", "DetachBlock",
		"ListBlockAgents",
	},
	"memgpt.memory.v1.SourceService": {
		"GetSource", "ListSources", "ListFiles", "DeleteFile",
	},
	"memgpt.memory.v1.StoreService": {
		"GetStore", "CancelReembed",
	},
}

// serviceConfig returns the service config of every connection: calls in repeatable wait for a server and are repeated when it is
// stopping; every call goes to the next replica.
func serviceConfig() string {
	var names []map[string]string
	for service, methods := range repeatable {
		for _, method := range methods {
			names = append(names, map[string]string{"service": service, "method": method})
		}
	}
	config, err := json.Marshal(map[string]any{
		"loadBalancingConfig": []any{map[string]any{"round_robin": map[string]any{}}},
		"methodConfig": []any{map[string]any{
			"name":         names,
			"waitForReady": true,
			"retryPolicy": map[string]any{
				"maxAttempts":          maxAttempts,
				"initialBackoff":       "0.2s",
				"maxBackoff":           "3s",
				"backoffMultiplier":    2,
				"retryableStatusCodes": []string{"UNAVAILABLE"},
			},
		}},
	})
	if err != nil {
		panic(err) // unreachable: only strings and numbers
	}
	return string(config)
}
