"""Server profiles: the servers that a user has logged in to, with credentials, in a file only the user can read."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from memgpt.cli.access.choice import PROFILE_VARIABLE
from memgpt.config import ConfigError

DEFAULT = "default"
"""Name of the profile that `memgpt login` writes unless another one is named."""

LOCAL = "local"
"""Reserved name for no profile: the services in ``[client]`` of the configuration, or those of this machine."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Profile:
    """A suite of services, and the credential for it.

    Attributes:
        agent_address: ``host:port`` of the Agent.
        loader_address: Address of the Loader.
        memory_address: Address of Memory.
        tls: Whether to connect over TLS.
        tls_ca: PEM file with the CA of the services; empty for the default CAs of gRPC.
        tls_cert: PEM file with the client's certificate chain; empty for none.
        tls_key: PEM file with its private key.
        allow_plaintext: Whether the key may be sent to other machines without TLS.
        api_key: API key or other token; empty for none.
        tenant: The tenant of the credential at the time of the login.
        credential: Name of the credential at that time.
    """

    agent_address: str
    loader_address: str
    memory_address: str
    tls: bool = False
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    allow_plaintext: bool = False
    api_key: str = field(default="", repr=False)
    tenant: str = ""
    credential: str = ""

    def settings(self) -> dict[str, Any]:
        """Return the profile as settings of ``[client]``."""
        found = asdict(self)
        del found["tenant"], found["credential"]
        return {name: value for name, value in found.items() if value != ""}


@dataclass(frozen=True, slots=True)
class Profiles:
    """All profiles of a user.

    Attributes:
        default: Name of the one that is used if no other is named; `LOCAL` for none.
        by_name: The profiles.
    """

    default: str
    by_name: Mapping[str, Profile]


def check_name(name: str) -> str:
    """Return a valid name of a profile.

    Raises:
        ConfigError: It is not valid.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name[:80]!a} is not a name of a profile; use up to 63 of A-Z a-z 0-9 . _ -, and a letter or digit first"
        )
    return name


def chosen_name() -> str:
    """Return the name of the profile that the command or the environment chooses; empty if neither does."""
    name = os.environ.get(PROFILE_VARIABLE, "")
    return check_name(name) if name else ""


def current(home: Path) -> tuple[str, Profile] | None:
    """Return the profile to use, with its name; None for the configuration.

    A named profile comes first, then addresses in the environment, then the default profile.

    Raises:
        ConfigError: The named profile does not exist, or the file cannot be used.
    """
    name = chosen_name()
    if name == LOCAL or (not name and _addresses_set()):
        return None
    known = load(home)
    name = name_in_use(known)
    if name == LOCAL:
        return None
    if name not in known.by_name:
        raise ConfigError(f'unknown profile "{name}"; `memgpt profiles list` lists them, `memgpt login` adds one')
    return name, known.by_name[name]


def name_in_use(known: Profiles) -> str:
    """Return the name of the profile to use, whether it exists or not; `LOCAL` for the configuration."""
    return chosen_name() or (LOCAL if _addresses_set() else known.default)


def _addresses_set() -> bool:
    return bool(os.environ.get("MEMGPT_CLIENT_AGENT_ADDRESS"))


def load(home: Path) -> Profiles:
    """Read all profiles.

    Raises:
        ConfigError: The file is damaged, or others can read it.
    """
    file = _file(home)
    try:
        with file.open(encoding="utf-8") as opened:
            shared = _is_shared(opened.fileno())
            text = opened.read()
    except FileNotFoundError:
        return Profiles(LOCAL, {})
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from error
    if shared:
        raise ConfigError(f"{file} has credentials, and other users may read it; run `chmod 600 {file}`")
    return _parse(file, text)


def _parse(file: Path, text: str) -> Profiles:
    known = {each.name for each in fields(Profile)}
    try:
        content = json.loads(text)
        by_name = {
            check_name(name): Profile(**{key: value for key, value in values.items() if key in known})
            for name, values in content["profiles"].items()
        }
        default = content["default"]
        if default != LOCAL and default not in by_name:
            raise KeyError(default)
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise ConfigError(f"{file} is damaged; delete it and run `memgpt login` again") from error
    return Profiles(default, by_name)


def save(home: Path, name: str, profile: Profile) -> None:
    """Write a profile, and make it the default."""
    with _locked(home):
        known = load(home)
        _write(home, Profiles(name, {**known.by_name, name: profile}))


def remove(home: Path, name: str) -> bool:
    """Remove a profile, and return whether it existed. If it was the default one, none is."""
    with _locked(home):
        known = load(home)
        left = {each: profile for each, profile in known.by_name.items() if each != name}
        if len(left) == len(known.by_name):
            return False
        _write(home, Profiles(LOCAL if known.default == name else known.default, left))
    return True


def use(home: Path, name: str) -> None:
    """Make a profile the default; `LOCAL` for none.

    Raises:
        ConfigError: It does not exist.
    """
    with _locked(home):
        known = load(home)
        if name != LOCAL and name not in known.by_name:
            raise ConfigError(f'unknown profile "{name}"; `memgpt profiles list` lists them, `memgpt login` adds one')
        _write(home, Profiles(name, known.by_name))


def _write(home: Path, profiles: Profiles) -> None:
    file = _file(home)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    content = {
        "default": profiles.default,
        "profiles": {name: asdict(profile) for name, profile in profiles.by_name.items()},
    }
    try:
        draft.unlink(missing_ok=True)  # of a process that was killed, and had the same id
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            json.dump(content, opened, indent=2)
            opened.flush()
            os.fsync(opened.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Let one command at a time change the file."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(home / "profiles.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Wait for the lock on an open file. Closing the file releases it."""
    if sys.platform == "win32":
        import msvcrt

        while True:
            try:
                msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
            except OSError as error:
                if error.errno != errno.EDEADLOCK:  # that one comes after ten seconds
                    raise
            else:
                break
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _is_shared(descriptor: int) -> bool:
    """Whether other users may read an open file. Windows has no modes; a user's folder there is private."""
    return sys.platform != "win32" and bool(stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077)


def _file(home: Path) -> Path:
    return home / "profiles.json"
