"""The settings of Memory: the section ``[memory]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from memgpt.config import ServiceSection
from memgpt.endpoints.address import parse_address
from pydantic import Field, SecretStr, field_validator, model_validator


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The settings of one embedding model.

    Attributes:
        keys: Prefix of their names, such as ``memory.embedding``.
    """

    keys: str
    kind: Literal["wordllama", "onnx", "openai"]
    model: str
    dimension: int
    base_url: str
    api_key: SecretStr
    send_dimension: bool
    timeout: float
    batch: int
    headers: Mapping[str, SecretStr]
    query: Mapping[str, SecretStr]
    folder: Path | None
    threads: int
    query_prefix: str | None
    passage_prefix: str | None


class MemorySettings(ServiceSection):
    """``[memory]``."""

    port: int = Field(50052, ge=0, le=65535, description="Port to listen on; 0 for any free one.")
    uri: str = Field(
        "~/.memgpt/milvus.db",
        description="Location of the store: a file ending in .db for Milvus Lite, or the URI of a server, such as "
        "http://localhost:19530.",
    )
    token: SecretStr = Field(SecretStr(""), description="Credential for a Milvus server: user:password, or an API key.")
    first_key_file: Path | None = Field(
        None,
        description="File that gets an API key with the role operator when a store that has no keys is opened and "
        "credentials are required; none to create no key.",
    )
    timeout: float = Field(10.0, gt=0, le=600, description="Time limit in seconds for a call to Milvus.")
    sync: Literal["always", "interval", "never"] = Field(
        "always",
        description="When writes to a Milvus Lite file are synced to disk: before each is acknowledged (always), every "
        "sync_seconds (interval), or when the operating system does it (never). A power cut loses writes that are not "
        "synced; a killed process loses nothing.",
    )
    sync_seconds: float = Field(1.0, gt=0, le=600, description='Seconds between syncs if sync = "interval".')
    lease_seconds: float = Field(
        10.0,
        gt=0,
        le=600,
        description="Seconds without renewal after which the lease of a turn expires and another worker may take "
        "it over.",
    )
    embedding: Literal["wordllama", "onnx", "openai"] = Field(
        "wordllama",
        description="Where embeddings come from: the bundled model, a local transformer (onnx), or an "
        "OpenAI-compatible endpoint.",
    )
    embedding_model: str = Field("text-embedding-3-small", description="Name of the embedding model at the endpoint.")
    embedding_dimension: int = Field(
        1536, ge=2, le=32768, description="Number of dimensions of the endpoint's vectors; the bundled model has 256."
    )
    embedding_base_url: str = Field(
        "", description="Base URL of the endpoint, such as http://localhost:11434/v1; empty for OpenAI."
    )
    embedding_api_key: SecretStr = Field(SecretStr(""), description="API key of the endpoint, sent as a bearer token.")
    embedding_send_dimension: bool = Field(
        False, description="Whether requests contain embedding_dimension; not every endpoint supports it."
    )
    embedding_timeout: float = Field(
        30.0, gt=0, le=600, description="Time limit in seconds for a request to the endpoint."
    )
    embedding_batch: int = Field(
        128,
        ge=1,
        le=4096,
        description="Maximum number of texts in a request; reduced automatically if the endpoint refuses it.",
    )
    embedding_headers: dict[str, SecretStr] = Field(
        {}, description="Additional headers of every request to the endpoint."
    )
    embedding_query: dict[str, SecretStr] = Field({}, description="Additional query parameters of every request.")
    embedding_folder: Path | None = Field(
        None, description="Folder of the local transformer: a file ending in .onnx and its tokenizer.json."
    )
    embedding_threads: int = Field(2, ge=1, le=64, description="Most processor threads that a local transformer uses.")
    embedding_query_prefix: str | None = Field(
        None, max_length=1000, description="Text before each query for a local transformer; by default the model's own."
    )
    embedding_passage_prefix: str | None = Field(
        None,
        max_length=1000,
        description="Text before each passage for a local transformer; by default the model's own.",
    )

    max_concurrent_searches: int = Field(
        16, ge=1, description="Searches under way; the next ones wait, and tenants take turns."
    )
    quota_agents: int = Field(10_000, ge=0, description="Agents of a tenant; 0 for no limit, as for each quota.")
    quota_sources: int = Field(10_000, ge=0, description="Sources of a tenant.")
    quota_passages: int = Field(10_000_000, ge=0, description="Passages of a tenant, of agents and of sources.")
    quota_bytes: int = Field(64 << 30, ge=0, description="Bytes of a tenant's messages and passages.")
    quota_concurrent_turns: int = Field(256, ge=0, description="Turns of a tenant that run or wait.")
    quota_turns_per_minute: int = Field(60_000, ge=0, description="Turns of a tenant that begin within a minute.")
    quota_searches_per_minute: int = Field(600_000, ge=0, description="Searches of a tenant within a minute.")
    quota_loaded_bytes_per_minute: int = Field(
        10 << 30, ge=0, description="Bytes of passages that a tenant loads within a minute."
    )
    quota_model_tokens_per_day: int = Field(
        1_000_000_000, ge=0, description="Tokens of the chat model that a tenant uses in a day of UTC."
    )

    reembed: Literal["", "wordllama", "onnx", "openai"] = Field(
        "", description="Embedding model that `memgpt reembed` moves the store to; empty for none."
    )
    reembed_model: str = Field("text-embedding-3-small", description="embedding_model of the target model.")
    reembed_dimension: int = Field(1536, ge=2, le=32768, description="embedding_dimension of the target model.")
    reembed_base_url: str = Field("", description="embedding_base_url of the target model.")
    reembed_api_key: SecretStr = Field(SecretStr(""), description="embedding_api_key of the target model.")
    reembed_send_dimension: bool = Field(False, description="embedding_send_dimension of the target model.")
    reembed_headers: dict[str, SecretStr] = Field({}, description="embedding_headers of the target model.")
    reembed_query: dict[str, SecretStr] = Field({}, description="embedding_query of the target model.")
    reembed_folder: Path | None = Field(None, description="embedding_folder of the target model.")
    reembed_query_prefix: str | None = Field(
        None, max_length=1000, description="embedding_query_prefix of the target model."
    )
    reembed_passage_prefix: str | None = Field(
        None, max_length=1000, description="embedding_passage_prefix of the target model."
    )

    def lite_file(self, home: Path) -> Path | None:
        """Return the path of the Milvus Lite file, or None for a server; `home` is the suite's folder."""
        if "://" in self.uri:
            return None
        if self.uri == MemorySettings.model_fields["uri"].default:
            return home / "milvus.db"
        return Path(self.uri).expanduser()

    @property
    def limits(self) -> Mapping[str, int]:
        """The limits of tenants that have none of their own, by the names that the contract gives them."""
        prefix = "quota_"
        return {name.removeprefix(prefix): value for name, value in self if name.startswith(prefix)}

    @property
    def embedding_settings(self) -> ModelSettings:
        """The embedding model to use."""
        return ModelSettings(
            "memory.embedding",
            self.embedding,
            self.embedding_model,
            self.embedding_dimension,
            self.embedding_base_url,
            self.embedding_api_key,
            self.embedding_send_dimension,
            self.embedding_timeout,
            self.embedding_batch,
            self.embedding_headers,
            self.embedding_query,
            self.embedding_folder,
            self.embedding_threads,
            self.embedding_query_prefix,
            self.embedding_passage_prefix,
        )

    @property
    def reembed_settings(self) -> ModelSettings | None:
        """The embedding model to move the store to, if any."""
        if not self.reembed:
            return None
        return ModelSettings(
            "memory.reembed",
            self.reembed,
            self.reembed_model,
            self.reembed_dimension,
            self.reembed_base_url,
            self.reembed_api_key,
            self.reembed_send_dimension,
            self.embedding_timeout,
            self.embedding_batch,
            self.reembed_headers,
            self.reembed_query,
            self.reembed_folder,
            self.embedding_threads,
            self.reembed_query_prefix,
            self.reembed_passage_prefix,
        )

    @field_validator("uri")
    @classmethod
    def _uri_is_usable(cls, uri: str) -> str:
        if "://" not in uri and not uri.endswith(".db"):
            raise ValueError("must be a file whose name ends in .db, or a URI such as http://localhost:19530")
        return uri

    @model_validator(mode="after")
    def _folder_is_given(self) -> MemorySettings:
        for key in ("embedding", "reembed"):
            if getattr(self, key) == "onnx" and getattr(self, f"{key}_folder") is None:
                raise ValueError(f'{key} = "onnx" needs {key}_folder: the folder of the model')
        return self

    @model_validator(mode="after")
    def _base_url_is_one(self) -> MemorySettings:
        for key in ("embedding_base_url", "reembed_base_url"):
            try:
                parse_address(getattr(self, key))
            except ValueError as error:
                raise ValueError(f"{key} {error}") from None
        return self
