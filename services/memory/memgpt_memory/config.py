"""The settings of Memory: the section ``[memory]``."""

from __future__ import annotations

from typing import Literal

from memgpt_runtime.config import ServiceSection
from pydantic import Field, SecretStr, field_validator, model_validator


class MemorySettings(ServiceSection):
    """``[memory]``."""

    port: int = Field(50052, ge=0, le=65535, description="Port to listen on; 0 for any free one.")
    uri: str = Field(
        "~/.memgpt/milvus.db",
        description="Where Milvus is: a file ending in .db for Milvus Lite, or a server's URI such as "
        "http://localhost:19530.",
    )
    token: SecretStr = Field(SecretStr(""), description="Credential of a Milvus server: user:password, or an API key.")
    timeout: float = Field(10.0, gt=0, le=600, description="Seconds that one call of Milvus may take.")
    lease_seconds: float = Field(
        10.0, gt=0, le=600, description="Seconds that an agent's turn waits for a holder that fell silent."
    )
    embedding: Literal["wordllama", "openai"] = Field(
        "wordllama", description="Embedding model: the bundled one, or an OpenAI-compatible endpoint."
    )
    embedding_model: str = Field("text-embedding-3-small", description="Name of the model sent to the endpoint.")
    embedding_dimension: int = Field(
        1536, ge=2, le=32768, description="Dimensions of the endpoint's vectors; the bundled model's are 256."
    )
    embedding_base_url: str = Field(
        "", description="The endpoint, such as http://localhost:11434/v1; empty for OpenAI's own."
    )
    embedding_api_key: SecretStr = Field(SecretStr(""), description="Sent to the endpoint as a bearer token.")
    embedding_send_dimension: bool = Field(
        False, description="Whether to ask the endpoint for embedding_dimension; not every endpoint knows the field."
    )
    embedding_timeout: float = Field(30.0, gt=0, le=600, description="Seconds that one call of the endpoint may take.")

    @field_validator("uri")
    @classmethod
    def _uri_is_usable(cls, uri: str) -> str:
        if "://" not in uri and not uri.endswith(".db"):
            raise ValueError("must be a file whose name ends in .db, or a URI such as http://localhost:19530")
        return uri

    @model_validator(mode="after")
    def _base_url_is_one(self) -> MemorySettings:
        if self.embedding_base_url and "://" not in self.embedding_base_url:
            raise ValueError("embedding_base_url must begin with http:// or https://")
        return self
