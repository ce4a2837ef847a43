"""`memgpt login`, `logout`, `whoami` and `profiles`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
from memgpt.cli.access import profiles
from memgpt.cli.access.credential import explain_refusal
from memgpt.cli.access.profiles import LOCAL, Profile
from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.resources import DEFAULT, Columns, OutputFormat
from memgpt.cli.settings import KEY_VARIABLE, ClientSettings, load_settings
from memgpt.cli.terminal.table import Column
from memgpt.cli.terminal.ui import Ui
from memgpt.client import MemGPT, ServiceError, is_local, open_channel
from memgpt.client.errors import from_rpc_error
from memgpt.common.v1.identity_service_pb2 import CredentialKind, WhoAmIRequest, WhoAmIResponse
from memgpt.common.v1.identity_service_pb2_grpc import IdentityServiceStub
from memgpt.common.v1.permission_pb2 import Role
from memgpt.config import home_dir

_PORTS = {"agent": 50051, "loader": 50053, "memory": 50052}
_SECONDS = 15.0
_MAX_KEY_BYTES = 64 * 1024
STANDARD = "-"
"""Name of a file that means standard input."""


@dataclass(frozen=True, slots=True)
class LoginOptions:
    """What `memgpt login` is told.

    Attributes:
        server: Host of all services; empty if each has an address.
        agent: Address of the Agent; empty for the usual port of `server`.
        loader: Address of the Loader.
        memory: Address of Memory.
        tls: Whether to use TLS; None for TLS except on loopback.
        ca: PEM file with the CA of the services.
        cert: PEM file with the client's certificate chain.
        key: PEM file with its private key.
        key_file: File with the API key; ``-`` for standard input.
        no_key: Whether to log in without a key.
    """

    server: str = ""
    agent: str = ""
    loader: str = ""
    memory: str = ""
    tls: bool | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    key_file: str = ""
    no_key: bool = False


def login(ui: Ui, options: LoginOptions) -> None:
    """Check a credential with the services, and save it in the chosen profile, which becomes the default.

    Raises:
        CliError: The options do not fit together, or the services refuse the credential.
    """
    name = profiles.chosen_name() or profiles.DEFAULT
    if name == LOCAL:
        raise CliError(f'"{LOCAL}" means the services of this machine; choose another name for the profile', MISUSE)
    profiles.load(home_dir())  # a damaged file is reported before the key is asked for
    options = _complete(ui, options)
    profile = _profile(options)
    profile = replace(profile, api_key=_read_key(ui, options))
    with ui.busy("Logging in..."):
        me = _verify(ui, profile)
    profile = replace(profile, tenant=me.tenant, credential=me.credential_name)
    profiles.save(home_dir(), name, profile)
    ui.line(f'Logged in to {profile.agent_address} as {_described(me)}; profile "{name}"', "green")


def logout(ui: Ui, *, everything: bool) -> None:
    """Remove the profile in use with its credential, or all profiles.

    Raises:
        CliError: The profile does not exist.
    """
    home = home_dir()
    known = profiles.load(home)
    names = list(known.by_name) if everything else [profiles.chosen_name() or known.default]
    for each in names:
        if each == LOCAL:
            raise CliError("not logged in: no profile is the default; name one with --profile")
        if not profiles.remove(home, each):
            raise CliError(f'unknown profile "{each}"; `memgpt profiles list` lists them')
        ui.line(f'Removed profile "{each}"; its key stays valid until it is revoked (`memgpt keys revoke`)', "green")
    if everything and not names:
        ui.note("There are no profiles.")


def show_profiles(ui: Ui, shape: OutputFormat = DEFAULT) -> None:
    """List the profiles, without their credentials."""
    known = profiles.load(home_dir())
    used = profiles.name_in_use(known)
    if shape.json:
        for name, profile in known.by_name.items():
            ui.json({"name": name, "in_use": name == used, **_without_key(profile)})
        return
    if not known.by_name and ui.terminal:
        ui.note("There are no profiles; `memgpt login` adds one.")
        return
    rows = [
        [
            name,
            "yes" if name == used else "no",
            profile.agent_address,
            "yes" if profile.tls else "no",
            profile.tenant,
            profile.credential,
        ]
        for name, profile in sorted(known.by_name.items())
    ]
    columns: Columns = [
        "Profile",
        "In use",
        Column("Agent", priority=3),
        Column("TLS", priority=1),
        Column("Tenant", priority=2),
        Column("Credential", whole=False, priority=2),
    ]
    ui.table(columns, rows, wide=shape.wide)


def use_profile(ui: Ui, name: str) -> None:
    """Make a profile the default one."""
    profiles.use(home_dir(), name)
    place = "the services of this machine or the configuration" if name == LOCAL else f'profile "{name}"'
    ui.line(f"Commands now use {place}", "green")


def whoami(ui: Ui, memgpt: MemGPT, shape: OutputFormat = DEFAULT) -> None:
    """Show the caller's tenant, role and credential."""
    me = memgpt.whoami()
    if shape.json:
        ui.json(me)
        return
    settings = load_settings().service
    found = profiles.current(home_dir())
    facts = {
        "Profile": found[0] if found else LOCAL,
        "Agent": settings.agent_address or "on this machine",
        "Tenant": me.tenant,
        "Role": _role(me),
        "Credential": _credential(me),
        **({"Expires": f"{me.expire_time.ToDatetime():%Y-%m-%d %H:%M} UTC"} if me.HasField("expire_time") else {}),
        **({"Agents": ", ".join(me.agent_ids)} if me.agent_ids else {}),
        **({"Sources": ", ".join(me.source_ids)} if me.source_ids else {}),
    }
    for title, text in facts.items():
        ui.line(f"{title + ':':<12}{text}", indent=12)


def _complete(ui: Ui, options: LoginOptions) -> LoginOptions:
    """Ask for what is missing, and check that the options fit together."""
    if (options.cert is None) != (options.key is None):
        raise CliError("--tls-cert and --tls-key belong together; give both, or neither", MISUSE)
    if options.no_key and options.key_file:
        raise CliError("give either --key-file or --no-key", MISUSE)
    if options.tls is False and (options.ca or options.cert):
        raise CliError("--tls-ca, --tls-cert and --tls-key need TLS; leave --plaintext out", MISUSE)
    if not options.server and not (options.agent and options.loader):
        if not ui.interactive:
            raise CliError("name the host of the services, or give --agent-address and --loader-address", MISUSE)
        options = replace(options, server=ui.ask("Host of the services:"))
        if not options.server:
            raise CliError("no host was named", MISUSE)
    return options


def _profile(options: LoginOptions) -> Profile:
    """Return the profile without its key."""
    agent = options.agent or _address(options.server, "agent")
    loader = options.loader or _address(options.server, "loader")
    memory = options.memory or (_address(options.server, "memory") if options.server else "")
    addresses = [each for each in (agent, loader, memory) if each]
    tls = options.tls
    if tls is None:
        tls = bool(options.ca or options.cert) or not all(map(is_local, addresses))
    return Profile(
        agent,
        loader,
        memory,
        tls=tls,
        tls_ca=_path(options.ca),
        tls_cert=_path(options.cert),
        tls_key=_path(options.key),
        allow_plaintext=options.tls is False,
    )


def _address(server: str, service: str) -> str:
    """Return the address of a service at its usual port."""
    if "://" in server or "/" in server:
        raise CliError(f"{server}: name a host, such as memgpt.example.org, without https:// or a path", MISUSE)
    host = server.strip("[]")
    if host.count(":") == 1:
        raise CliError(
            f"{server}: name a host without a port, or give --agent-address, --loader-address and --memory-address",
            MISUSE,
        )
    return f"[{host}]:{_PORTS[service]}" if ":" in host else f"{host}:{_PORTS[service]}"


def _path(file: Path | None) -> str:
    return "" if file is None else str(file.expanduser().absolute())


def _read_key(ui: Ui, options: LoginOptions) -> str:
    """Return the API key from a file, standard input or the terminal; never from an argument, which others can see."""
    if options.no_key or (options.cert and not options.key_file):
        return ""
    if ui.interactive and not options.key_file:
        source, text = "the answer", ui.secret("API key:")
    else:
        source, text = _read_file(options.key_file or STANDARD)
    key = text.strip()
    if not key:
        raise CliError(f"{source} has no key; without a key, give --no-key", MISUSE)
    return key


def _read_file(name: str) -> tuple[str, str]:
    """Return what to call a file, and its text."""
    source = "standard input" if name == STANDARD else name
    try:
        if name == STANDARD:
            data = sys.stdin.buffer.read(_MAX_KEY_BYTES)
        else:
            with Path(name).expanduser().open("rb") as opened:
                data = opened.read(_MAX_KEY_BYTES)
        return source, data.decode()
    except UnicodeDecodeError as error:
        raise CliError(f"{source} is not UTF-8 text", MISUSE) from error
    except OSError as error:
        raise CliError(f"{source} cannot be read: {error.strerror}", MISUSE) from error


def _verify(ui: Ui, profile: Profile) -> WhoAmIResponse:
    """Return who the services say the caller is.

    Raises:
        CliError: The Agent cannot be reached, or a service refuses the credential.
    """
    settings = ClientSettings(**profile.settings())
    me = _ask(settings, profile.agent_address)
    for address in (profile.loader_address, profile.memory_address):
        if not address:
            continue
        try:
            _ask(settings, address)
        except CliError as error:
            if not isinstance(error.__cause__, ServiceError) or error.__cause__.request_id is not None:
                raise
            ui.warning(f"{error.message}; the profile is saved all the same")
    return me


def _ask(settings: ClientSettings, address: str) -> WhoAmIResponse:
    channel = open_channel(
        address,
        settings.credentials(),
        settings.token(),
        allow_plaintext=settings.allow_plaintext,
        retry_seconds=0,
    )
    with channel:
        try:
            return IdentityServiceStub(channel).WhoAmI(WhoAmIRequest(), timeout=_SECONDS)
        except grpc.RpcError as rpc_error:
            error = from_rpc_error(rpc_error)
    if error.request_id is None:
        how = "over TLS" if settings.tls else "without TLS"
        raise CliError(
            f"{address} cannot be reached {how}; check the address, and --tls-ca, --tls-cert or --plaintext"
        ) from error
    raise CliError(f"{address}: {explain_refusal(error, error.message, settings)}") from error


def _described(me: WhoAmIResponse) -> str:
    name = f'"{me.credential_name}"' if me.credential_name else "anonymous"
    return f"{name}: role {_role(me)}, tenant {me.tenant}"


def _role(me: WhoAmIResponse) -> str:
    return Role.Name(me.role).removeprefix("ROLE_").lower()


def _credential(me: WhoAmIResponse) -> str:
    kind = CredentialKind.Name(me.credential_kind).removeprefix("CREDENTIAL_KIND_").lower().replace("_", " ")
    parts = [f"{kind} {me.credential_name}".strip()]
    if me.credential_id != me.credential_name:
        parts.append(me.credential_id)
    if os.environ.get(KEY_VARIABLE):
        parts.append(f"from {KEY_VARIABLE}")
    return ", ".join(parts)


def _without_key(profile: Profile) -> dict[str, object]:
    return {
        "agent_address": profile.agent_address,
        "loader_address": profile.loader_address,
        "memory_address": profile.memory_address,
        "tls": profile.tls,
        "tenant": profile.tenant,
        "credential": profile.credential,
    }
