"""The settings of a service: one frozen, typed object, read once at start.

A value comes from the environment (``MEMGPT_<SECTION>_<KEY>``), else from the file, else from its default. The file is
``$MEMGPT_CONFIG``, or ``config.toml`` in ``$MEMGPT_HOME``, or ``~/.memgpt/config.toml``; it may be missing unless
``$MEMGPT_CONFIG`` names it. One file serves the whole suite: a section per service, and ``[server]`` for the settings
of every server. A service checks ``[server]`` and its own section, and ignores the other known sections.

A service's section is a subclass of `ServiceSection` in its own package::

    class MemorySettings(ServiceSection):
        port: int = Field(default=50052, ge=0, le=65535, description="Port to listen on; 0 for any free one.")
        milvus_uri: str = Field(default="~/.memgpt/milvus.db", description="A file for Milvus Lite, or a server's URI.")

    config = load_config("memory", MemorySettings)
    config.service.milvus_uri, config.server.log_level
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar, get_origin

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

SECTIONS = ("server", "memory", "loader", "agent", "client")
"""Every section that a file may have; ``client`` belongs to the command line."""

ENV_PREFIX = "MEMGPT"

JwtAlgorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]  # asymmetric ones only: a shared secret would let the server issue tokens

SERVICE_KEY_RULE = "32 to 512 visible ASCII characters, without spaces; it is not an API key"

# Kubernetes (and Docker links before it) describe every Service of the namespace in variables. Those of a Service named
# memgpt-agent-metrics or memgpt-server-headless look like ours: MEMGPT_AGENT_METRICS_PORT=tcp://10.96.0.9:9464.
_LINK_KEY = re.compile(r"(?:.*_)?service_(?:host|port(?:_.*)?)|(?:.*_)?port_\d+_(?:tcp|udp|sctp)(?:_.*)?")
_LINK_VALUE = re.compile(r"(?:tcp|udp|sctp)://")


class ConfigError(Exception):
    """The configuration cannot be used. The message names the key and the fix, on one line."""


class Section(BaseModel):
    """Base of a section, which is frozen and rejects unknown keys and values of the wrong type."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)


def _with_brackets(address: str) -> str:
    if re.fullmatch(r"[0-9a-f:.]*:[0-9a-f:.]*:\d+", address, re.IGNORECASE):
        host, _, port = address.rpartition(":")
        if not _is_ipv6(host):  # there is no port
            host, port = address, "50051"
        raise ValueError(f'an IPv6 address needs brackets and a port, such as "[{host}]:{port}"')
    return address


def _is_ipv6(host: str) -> bool:
    try:
        IPv6Address(host)
    except ValueError:
        return False
    return True


GrpcAddress = Annotated[str, AfterValidator(_with_brackets)]
"""``host:port``, or another target that gRPC resolves."""


class ServiceSection(Section):
    """The settings that every service's own section has; subclasses set the default of `port`."""

    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 or [::] for every interface.")
    port: int = Field(default=0, ge=0, le=65535, description="Port to listen on; 0 for any free one.")
    metrics_port: int = Field(
        default=0, ge=0, le=65535, description="Port of the Prometheus metrics; 0 to disable them."
    )


class MemoryClientSection(ServiceSection):
    """The settings in the section of a service that calls Memory."""

    memory_address: GrpcAddress = Field(
        default="127.0.0.1:50052", min_length=1, description="Address of the Memory service, as host:port."
    )
    memory_tls: bool = Field(default=False, description="Whether to connect to Memory over TLS.")
    memory_tls_ca: Path | None = Field(
        default=None, description="PEM file with the CA of Memory's certificate; none for the default CAs of gRPC."
    )
    memory_tls_cert: Path | None = Field(
        default=None, description="PEM file with the client certificate chain, if Memory requires one."
    )
    memory_tls_key: Path | None = Field(default=None, description="PEM file with the private key of memory_tls_cert.")
    memory_tls_server_name: str = Field(
        default="", description="Host name in Memory's certificate, if it differs from the host of memory_address."
    )

    @model_validator(mode="after")
    def _memory_tls_is_complete(self) -> MemoryClientSection:
        if (self.memory_tls_cert is None) != (self.memory_tls_key is None):
            raise ValueError("memory_tls_cert and memory_tls_key belong together; set both, or neither")
        if not self.memory_tls and (self.memory_tls_ca or self.memory_tls_cert or self.memory_tls_server_name):
            raise ValueError(
                "memory_tls_ca, memory_tls_cert, memory_tls_key and memory_tls_server_name need memory_tls = true"
            )
        return self


class ServerSettings(Section):
    """``[server]``: the settings of every server of the suite."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Minimum level of logged events."
    )
    log_format: Literal["json", "console"] = Field(
        default="console", description="Format of the log: one JSON object per line, or text for people."
    )
    traces: Literal["off", "otlp"] = Field(
        default="off",
        description="Whether traces are sent to an OpenTelemetry collector (OTLP over gRPC). The standard OTEL_* "
        "variables set the rest, such as sampling; OpenTelemetry is in the extra otel.",
    )
    traces_endpoint: str = Field(
        default="",
        description="Address of the collector; OTEL_EXPORTER_OTLP_ENDPOINT, else http://localhost:4317, by default.",
    )
    traces_contents: bool = Field(
        default=False,
        description="Whether traces contain prompts, answers, and the arguments and results of functions.",
    )
    reflection: bool = Field(
        default=True, description="Whether to serve gRPC reflection, which clients such as grpcurl use."
    )
    metrics_host: str = Field(default="127.0.0.1", description="Address on which the Prometheus metrics are served.")
    default_deadline: float = Field(
        default=60.0, gt=0, description="Time limit in seconds for a unary call without a deadline."
    )
    stream_deadline: float = Field(
        default=3600.0, gt=0, description="Time limit in seconds for a streaming call without a deadline."
    )
    max_concurrent_calls: int = Field(
        default=256, ge=1, description="Maximum number of concurrent unary calls; further ones are rejected."
    )
    max_concurrent_streams: int = Field(
        default=512, ge=1, description="Maximum number of concurrent streaming calls; further ones are rejected."
    )
    max_message_bytes: int = Field(
        default=32 * 1024 * 1024,
        ge=65536,
        le=256 * 1024 * 1024,
        description="Maximum size of a message in bytes, received or sent.",
    )
    max_receiving_bytes: int = Field(
        default=128 * 1024 * 1024,
        ge=65536,
        description="Most bytes of single requests being received at a time, if all were of max_message_bytes; others "
        "wait. Streams of requests have eight times as much.",
    )
    keep_alive_seconds: float = Field(
        default=15.0, gt=0, description="Seconds of silence after which a stream sends a keep-alive message."
    )
    max_connection_age: float = Field(
        default=0.0,
        ge=0,
        description="Maximum age of a connection in seconds, so that load spreads over replicas; 0 for no limit.",
    )
    drain_pause: float = Field(
        default=1.0, ge=0, description="Seconds between reporting NOT_SERVING and rejecting calls, after SIGTERM."
    )
    drain_grace: float = Field(
        default=10.0, ge=0, description="Seconds that calls in progress have to finish after SIGTERM."
    )
    tls_cert: Path | None = Field(
        default=None, description="PEM file with the server's certificate chain; none for plaintext connections."
    )
    tls_key: Path | None = Field(default=None, description="PEM file with the certificate's private key.")
    tls_client_ca: Path | None = Field(
        default=None, description="PEM file with the CA that must have signed the certificates of clients."
    )
    tls_client_names: tuple[str, ...] = Field(
        default=(),
        description="Names of the clients that may call, as in their certificates: DNS names, SPIFFE ids or "
        "common names; a "
        "name that ends with * allows all that begin so; none allows every certificate of the CA.",
    )
    service_key: SecretStr = Field(
        default=SecretStr(""),
        description="Key with which the services of the suite authenticate to one another: at least 32 characters, "
        "such as the output of openssl rand -hex 32. With it, every call needs a credential.",
    )
    service_key_file: Path | None = Field(
        default=None,
        description="File with service_key. Of several lines, all are accepted and the first one is sent, so that a "
        "key can be replaced; a changed file is read again.",
    )
    create_service_key: bool = Field(
        default=False,
        description="Whether to create service_key_file with a random key if it is missing: for the service that "
        "starts first.",
    )
    certificates: tuple[str, ...] = Field(
        default=(),
        description='What client certificates permit: "NAME TENANT ROLE", with a DNS name, URI or common name as in '
        "tls_client_names; the role is reader, user, admin, operator or service.",
    )
    jwt_issuer: str = Field(default="", description="Issuer of JSON Web Tokens that are accepted; none for no tokens.")
    jwt_audience: tuple[str, ...] = Field(default=(), description="Audiences, one of which a token must have.")
    jwt_jwks: str = Field(
        default="", description="The issuer's keys (JWKS): an https:// address, or the path of a file."
    )
    jwt_algorithms: tuple[JwtAlgorithm, ...] = Field(
        default=("RS256", "ES256", "EdDSA"), min_length=1, description="Algorithms of signatures that are accepted."
    )
    jwt_tenant_claim: str = Field(
        default="tenant", min_length=1, description="Claim with the tenant; dots lead into nested claims."
    )
    jwt_role_claim: str = Field(
        default="role",
        min_length=1,
        description="Claim with the role, or with a list of which the highest counts; dots lead into nested claims.",
    )
    jwt_roles: tuple[str, ...] = Field(
        default=(),
        description='Roles by other values of the claim, such as "memgpt-admins=admin"; none if the claim has the '
        "names of roles.",
    )
    jwt_leeway: float = Field(
        default=30.0, ge=0, le=300, description="Seconds by which the issuer's clock may differ from this one."
    )
    allow_anonymous: bool = Field(
        default=False,
        description="Whether to listen beyond loopback without credentials: anyone who reaches the port can read and "
        "delete everything. For use behind a mesh or a proxy that authenticates callers.",
    )
    allow_plaintext: bool = Field(
        default=False,
        description="Whether to accept credentials beyond loopback without TLS. For use behind a mesh or a proxy that "
        "encrypts connections.",
    )

    testing: bool = Field(
        default=False,
        description="Whether to accept any bearer token, and give each a tenant of its own: for tests of clients, by "
        "`memgpt server --testing`.",
    )
    testing_clock: AwareDatetime | None = Field(
        default=None,
        description="Time at which the clock stands still if testing is set; ids are then numbered, not random.",
    )

    @property
    def credentials_required(self) -> bool:
        """Whether calls need a credential: if any kind of credential is configured."""
        return self._has_service_key or bool(self.certificates) or bool(self.jwt_issuer)

    @property
    def _has_service_key(self) -> bool:
        return bool(self.service_key.get_secret_value()) or self.service_key_file is not None

    @model_validator(mode="after")
    def _testing_is_complete(self) -> ServerSettings:
        if self.testing and not self._has_service_key:
            raise ValueError("testing needs service_key or service_key_file, by which the services know one another")
        if self.testing_clock is not None and not self.testing:
            raise ValueError("testing_clock needs testing = true as well")
        if self.testing_clock is not None and self.testing_clock.timestamp() < 0:
            raise ValueError("testing_clock must not be before 1970")
        return self

    @model_validator(mode="after")
    def _credentials_are_complete(self) -> ServerSettings:
        key = self.service_key.get_secret_value()
        if key and self.service_key_file is not None:
            raise ValueError("service_key and service_key_file exclude each other; set one of them")
        if key and not is_service_key(key):
            raise ValueError(f"service_key must have {SERVICE_KEY_RULE}")
        if self.create_service_key and self.service_key_file is None:
            raise ValueError("create_service_key needs service_key_file as well")
        if self.certificates and self.tls_client_ca is None:
            raise ValueError("certificates needs tls_client_ca as well")
        if bool(self.jwt_issuer) != bool(self.jwt_jwks) or bool(self.jwt_issuer) != bool(self.jwt_audience):
            raise ValueError("jwt_issuer, jwt_audience and jwt_jwks belong together; set all, or none")
        return self

    audit: Literal["off", "file", "stdout"] = Field(
        default="off", description="Where the audit log goes: a file of each service, standard output, or nowhere."
    )
    audit_folder: Path | None = Field(
        default=None, description="Folder of the files of the audit log; audit in the suite's folder by default."
    )
    audit_max_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=65536,
        description="Size at which a file of the audit log is replaced by a new one.",
    )
    audit_keep: int = Field(default=16, ge=0, le=10000, description="Full files of the audit log that are kept.")

    @model_validator(mode="after")
    def _tls_is_complete(self) -> ServerSettings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together; set both, or neither for plaintext")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("tls_client_ca needs tls_cert and tls_key as well")
        if self.tls_client_names and self.tls_client_ca is None:
            raise ValueError("tls_client_names needs tls_client_ca as well")
        return self


def is_service_key(text: str) -> bool:
    """Whether a text can be the key of a service, see `SERVICE_KEY_RULE`."""
    return 32 <= len(text) <= 512 and text.isascii() and text.isprintable() and " " not in text and "mgpt_" not in text


S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class Config(Generic[S]):
    """A service's settings.

    Attributes:
        name: The service's section.
        service: Its own section.
        server: The settings of every server.
        home: The suite's folder, with ``~`` resolved; it may not exist yet.
        path: The file that was read; None when there was none.
    """

    name: str
    service: S
    server: ServerSettings
    home: Path
    path: Path | None


def home_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Return the suite's folder: ``$MEMGPT_HOME``, or ``~/.memgpt``.

    Raises:
        ConfigError: Neither is known.
    """
    env = os.environ if environ is None else environ
    try:
        return Path(env.get("MEMGPT_HOME") or "~/.memgpt").expanduser()
    except RuntimeError as error:  # a process in a container may have no user
        raise ConfigError("the user's home folder is not known; set MEMGPT_HOME to a folder") from error


def config_path(environ: Mapping[str, str] | None = None) -> Path:
    """Return the path of the configuration file, which may not exist."""
    env = os.environ if environ is None else environ
    named = env.get("MEMGPT_CONFIG")
    return Path(named).expanduser() if named else home_dir(env) / "config.toml"


def load_config(
    name: str, model: type[S], *, path: Path | None = None, environ: Mapping[str, str] | None = None
) -> Config[S]:
    """Read and check a service's settings.

    Args:
        name: The service's section, one of `SECTIONS`.
        model: The class of its section.
        path: The file; by default `config_path`. A file that was named, here or by ``MEMGPT_CONFIG``, must exist.
        environ: Environment variables; by default the process's own.

    Raises:
        ConfigError: The file is unreadable, or has an unknown section or key, or a bad value.
    """
    env = os.environ if environ is None else environ
    file = path or config_path(env)
    document = _read(file, must_exist=path is not None or bool(env.get("MEMGPT_CONFIG")))
    sections = document or {}
    for key, value in sections.items():
        if key not in SECTIONS:
            raise ConfigError(f"{file}: unknown section [{key}]{_nearest(key, SECTIONS)}")
        if not isinstance(value, dict):
            raise ConfigError(f"{file}: {key} must be a section, [{key}], not a value")
    return Config(
        name=name,
        service=_section(name, model, sections.get(name, {}), file, env),
        server=_section("server", ServerSettings, sections.get("server", {}), file, env),
        home=home_dir(env),
        path=file if document is not None else None,
    )


def _read(file: Path, *, must_exist: bool) -> dict[str, Any] | None:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if must_exist:
            raise ConfigError(f"{file}: file not found; create it, or unset MEMGPT_CONFIG") from None
        return None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text (byte {error.start})") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from error


def _section(name: str, model: type[S], values: Mapping[str, Any], file: Path, env: Mapping[str, str]) -> S:
    fields = model.model_fields
    origins: dict[str, str] = {}
    for key in values:
        origins[key] = f"{file}: {name}.{key}"
        if key not in fields:
            raise ConfigError(f'{file}: unknown key "{key}" in [{name}]{_nearest(key, fields)}')
    merged = dict(values)
    prefix = f"{ENV_PREFIX}_{name.upper()}_"
    for variable, text in env.items():
        if not variable.startswith(prefix):
            continue
        key = variable.removeprefix(prefix).lower()
        if _is_service_link(key, text):
            continue
        if key not in fields:
            known = [prefix + known.upper() for known in fields]
            raise ConfigError(f"environment: unknown variable {variable}{_nearest(variable, known)}")
        origins[key] = f"environment: {variable}"
        sequence = get_origin(fields[key].annotation) in (list, tuple, set, frozenset)
        merged[key] = [part.strip() for part in text.split(",") if part.strip()] if sequence else text
    try:
        return model.model_validate(merged)
    except ValidationError as error:
        problems = [
            f"{_origin(origins, name, file, problem['loc'])}: {_wording(problem['msg'])}{_hint(model, problem['loc'])}"
            for problem in error.errors(include_url=False, include_input=False)
        ]
        # Not chained, since pydantic's error contains the values, some of which are secret.
        raise ConfigError("; ".join(problems)) from None


def _is_service_link(key: str, text: str) -> bool:
    """Whether a variable describes a Kubernetes Service and not a setting."""
    return _LINK_KEY.fullmatch(key) is not None or (key.endswith("port") and _LINK_VALUE.match(text) is not None)


def _origin(origins: Mapping[str, str], name: str, file: Path, loc: tuple[int | str, ...]) -> str:
    key = str(loc[0]) if loc else ""
    rest = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc[1:])
    if key in origins:
        return origins[key] + rest
    return f"{file}: {name}.{key}{rest}" if key else f"{file}: [{name}]"


def _wording(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return (message[:1].lower() + message[1:]).replace("\n", " ")


def _hint(model: type[Section], loc: tuple[int | str, ...]) -> str:
    info = model.model_fields.get(str(loc[0])) if loc else None
    return f" ({info.description.rstrip('.')})" if info is not None and info.description else ""


def _nearest(word: str, known: Iterable[str]) -> str:
    names = list(known)
    matches = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f'; did you mean "{matches[0]}"?' if matches else f"; known are: {', '.join(names)}"
