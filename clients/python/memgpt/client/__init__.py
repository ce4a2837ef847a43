"""A typed client for Python, synchronous and asynchronous.

    from memgpt.client import MemGPT

    with MemGPT() as memgpt:
        agent = memgpt.agents.create("Ada")
        for event in agent.send("Hello!"):
            print(event)
        print(agent.ask("What is my name?"))
        for hit in memgpt.sources.find("papers").search("virtual context"):
            print(hit.passage.text)

Services on other machines need TLS and a credential::

    MemGPT("agent.example.org:50051", "loader.example.org:50053", Tls(), token=os.environ["MEMGPT_API_KEY"])

`AsyncMemGPT` has the same methods as coroutines. Every failed call raises a `ServiceError`. Threads may share the
synchronous client.
"""

from memgpt.client._async.agents import AsyncAgent, AsyncAgents
from memgpt.client._async.blocks import AsyncBlocks
from memgpt.client._async.calls import AsyncPage, AsyncPages
from memgpt.client._async.client import AsyncMemGPT
from memgpt.client._async.keys import AsyncKeys
from memgpt.client._async.loads import CHUNK_BYTES, RESUME_SECONDS, AsyncLoads
from memgpt.client._async.memory import AsyncMemory
from memgpt.client._async.profiles import AsyncProfiles
from memgpt.client._async.quotas import AsyncQuotas
from memgpt.client._async.sources import AsyncSource, AsyncSources
from memgpt.client._async.store import AsyncStore
from memgpt.client._async.tenants import AsyncTenants
from memgpt.client._async.turns import AsyncTurn
from memgpt.client._ids import new_request_id
from memgpt.client._retry import RetryPolicy
from memgpt.client._sync.agents import Agent, Agents
from memgpt.client._sync.blocks import Blocks
from memgpt.client._sync.calls import Page, Pages
from memgpt.client._sync.client import MemGPT
from memgpt.client._sync.keys import Keys
from memgpt.client._sync.loads import Loads
from memgpt.client._sync.memory import Memory
from memgpt.client._sync.profiles import Profiles
from memgpt.client._sync.quotas import Quotas
from memgpt.client._sync.sources import Source, Sources
from memgpt.client._sync.store import Store
from memgpt.client._sync.tenants import Tenants
from memgpt.client._sync.turns import Turn
from memgpt.client._turns import TURN_SECONDS, is_resumable
from memgpt.client.channel import CALL_TIMEOUT, MODEL_TIMEOUT, STORE_TIMEOUT, open_async_channel, open_channel
from memgpt.client.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    CredentialsError,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServiceError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    from_rpc_error,
)
from memgpt.client.tls import Tls
from memgpt.client.token import AsyncToken, Token, is_local
from memgpt.common.v1.reasons import Reason

__all__ = [
    "CALL_TIMEOUT",
    "CHUNK_BYTES",
    "MODEL_TIMEOUT",
    "RESUME_SECONDS",
    "STORE_TIMEOUT",
    "TURN_SECONDS",
    "Aborted",
    "Agent",
    "Agents",
    "AlreadyExists",
    "AsyncAgent",
    "AsyncAgents",
    "AsyncBlocks",
    "AsyncKeys",
    "AsyncLoads",
    "AsyncMemGPT",
    "AsyncMemory",
    "AsyncPage",
    "AsyncPages",
    "AsyncProfiles",
    "AsyncQuotas",
    "AsyncSource",
    "AsyncSources",
    "AsyncStore",
    "AsyncTenants",
    "AsyncToken",
    "AsyncTurn",
    "Blocks",
    "Cancelled",
    "CredentialsError",
    "DeadlineExceeded",
    "FailedPrecondition",
    "FieldViolation",
    "Internal",
    "InvalidArgument",
    "Keys",
    "Loads",
    "MemGPT",
    "Memory",
    "NotFound",
    "Page",
    "Pages",
    "PermissionDenied",
    "Profiles",
    "Quotas",
    "Reason",
    "ResourceExhausted",
    "RetryPolicy",
    "ServiceError",
    "Source",
    "Sources",
    "Store",
    "Tenants",
    "Tls",
    "Token",
    "Turn",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "from_rpc_error",
    "is_local",
    "is_resumable",
    "new_request_id",
    "open_async_channel",
    "open_channel",
]
