"""`memgpt login` and what comes with it, against services with credentials and TLS."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.memory.v1 import api_key_service_pb2 as keys_pb

from tests.support.certificates import Authority
from tests.support.credentials import GuardedSuite, TlsSuite, bearer
from tests.support.issuer import AUDIENCE, ISSUER, Issuer
from tests.support.processes import service_environment
from tests.support.suite import Suite
from tests.support.terminal import ENTER, INTERRUPT, Terminal
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[GuardedSuite]:
    with TlsSuite(tmp_path_factory.mktemp("guarded"), authority) as suite:
        suite.create_tenant("acme")
        yield suite


class User:
    """A user with a home of its own and no settings."""

    def __init__(self, folder: Path, suite: Suite, authority: Authority) -> None:
        self.folder = folder
        self.home = folder / "user"
        self.environment = service_environment(self.home, {})
        self.server = [
            *("--agent-address", suite.agent_address),
            *("--loader-address", suite.loader_address),
            *("--memory-address", suite.memory_address),
            *("--tls-ca", str(authority.ca)),
        ]

    def run(self, *arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Suite.program, *arguments],
            env={**self.environment, **variables},
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def terminal(self, *arguments: str) -> Terminal:
        return Terminal(Suite.program, *arguments, env=self.environment, cwd=self.folder)

    def log_in(self, key: str, *more: str) -> None:
        done = self.run("login", *self.server, "--key-file", "-", *more, stdin=key)
        assert done.returncode == 0, done.stderr

    def output(self, *arguments: str, **variables: str) -> str:
        done = self.run(*arguments, **variables)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def refusal(self, *arguments: str, code: int = 1, **variables: str) -> str:
        done = self.run(*arguments, **variables)
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        (line,) = done.stderr.splitlines()
        return line.removeprefix("Error: ")


@pytest.fixture
def user(tmp_path: Path, suite: GuardedSuite, authority: Authority) -> User:
    return User(tmp_path, suite, authority)


def test_a_key_is_asked_for_without_echo_and_kept_in_a_private_file(user: User, suite: GuardedSuite) -> None:
    key_id, key = suite.create_key("typed", "user", "acme")
    with user.terminal("login", *user.server) as terminal:
        terminal.wait("API key:")
        terminal.send(key + ENTER)
        screen = terminal.wait_end()
    assert terminal.code == 0, screen
    assert f'Logged in to {suite.agent_address} as "typed": role user, tenant acme; profile "default"' in screen
    assert key not in screen
    assert key[-20:] not in screen
    holding = [file for file in user.home.rglob("*") if file.is_file() and key in file.read_text(errors="replace")]
    assert holding == [user.home / "profiles.json"]
    assert stat.S_IMODE(holding[0].stat().st_mode) == 0o600
    told = user.output("whoami")
    assert f"Agent:      {suite.agent_address}\nTenant:     acme\nRole:       user\n" in told
    assert f"Credential: api key typed, {key_id}\n" in told
    me = json.loads(user.output("whoami", "--json"))
    assert (me["tenant"], me["role"], me["credential_name"]) == ("acme", "ROLE_USER", "typed")
    assert key not in user.output("config") + user.output("profiles", "list", "--json") + told
    assert "profile default" in user.output("config")
    assert json.loads(user.output("profiles", "list", "--json"))["in_use"] is True


def test_an_interrupted_login_changes_nothing(user: User) -> None:
    with user.terminal("login", *user.server) as terminal:
        terminal.wait("API key:")
        terminal.send(INTERRUPT)
        assert "Nothing was changed." in terminal.wait_end()
    assert terminal.code == 130
    assert not (user.home / "profiles.json").exists()


def test_profiles_keep_servers_apart(user: User, suite: GuardedSuite, tmp_path: Path) -> None:
    _, acme = suite.create_key("in acme", "user", "acme")
    _, own = suite.create_key("in default", "reader")
    (tmp_path / "key").write_text(f"{acme}\n")
    user.output("login", *user.server, "--profile", "work", "--key-file", str(tmp_path / "key"))
    user.log_in(own, "--profile=home")
    assert "Tenant:     default" in user.output("whoami"), "the latest login is the default"
    assert "Tenant:     acme" in user.output("whoami", "--profile", "work")
    assert "Tenant:     acme" in user.output("--profile", "work", "whoami")
    assert "Tenant:     acme" in user.output("whoami", MEMGPT_PROFILE="work")
    assert "Tenant:     default" in user.output("whoami", "--profile", "home", MEMGPT_PROFILE="work")
    user.output("profiles", "use", "work")
    assert "Tenant:     acme" in user.output("whoami")
    assert [line.split("\t")[:2] for line in user.output("profiles", "list").splitlines()[1:]] == [
        ["home", "no"],
        ["work", "yes"],
    ]
    own_settings = {
        "MEMGPT_CLIENT_AGENT_ADDRESS": suite.agent_address,
        "MEMGPT_CLIENT_LOADER_ADDRESS": suite.loader_address,
        "MEMGPT_CLIENT_TLS": "true",
        "MEMGPT_CLIENT_TLS_CA": user.server[-1],
    }
    assert "Tenant:     default" in user.output("whoami", MEMGPT_API_KEY=own, **own_settings)
    script = user.output("whoami", MEMGPT_API_KEY=own)
    assert "Tenant:     default" in script
    assert "from MEMGPT_API_KEY" in script
    assert "its key stays valid" in user.output("logout")
    assert user.refusal("whoami", "--profile", "work", code=2).startswith('unknown profile "work"')
    user.output("logout", "--all")
    assert user.output("profiles", "list").splitlines()[1:] == []
    assert acme not in "".join(file.read_text() for file in user.home.glob("*"))


@pytest.mark.parametrize(
    ("options", "stdin", "message"),
    [
        (["--key-file", "-"], "", "standard input has no key; without a key, give --no-key"),
        (["--key-file", "missing"], "", "missing cannot be read: No such file or directory"),
        (["--key-file", "-", "--no-key"], "", "give either --key-file or --no-key"),
        (["--key-file", "-"], "two words", "the credential has characters that no API key or token has"),
        (["--tls-cert", "x.pem"], "", "--tls-cert and --tls-key belong together"),
        (["--plaintext"], "k", "need TLS; leave --plaintext out"),
        (["--profile", "../x"], "k", "is not a name of a profile"),
        (["--profile", "local"], "k", '"local" means the services of this machine'),
    ],
)
def test_a_wrong_login_is_misuse(user: User, options: list[str], stdin: str, message: str) -> None:
    done = user.run("login", *user.server, *options, stdin=stdin)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert not (user.home / "profiles.json").exists()


def test_a_refused_key_is_not_saved(user: User, suite: GuardedSuite) -> None:
    _, key = suite.create_key("to be changed", "reader")
    wrong = key[:-4] + ("aaaa" if not key.endswith("aaaa") else "bbbb")
    for credential, message in (
        ("nonsense", "this credential is neither an API key nor a JSON Web Token"),
        (wrong, "this credential"),
    ):
        done = user.run("login", *user.server, "--key-file", "-", stdin=credential)
        assert done.returncode == 1
        assert message in done.stderr
        assert credential not in done.stderr + done.stdout
    done = user.run("login", *user.server, "--no-key")
    assert "the services require a credential; run `memgpt login`, or set MEMGPT_API_KEY" in done.stderr
    unreachable = user.run("login", *user.server[:-2], "--key-file", "-", stdin=key)
    assert "cannot be reached without TLS; check the address, and --tls-ca" in unreachable.stderr
    assert not (user.home / "profiles.json").exists()


def test_refusals_say_what_to_do(user: User, suite: GuardedSuite) -> None:
    _, reader = suite.create_key("reading", "reader", "acme")
    revoked_id, revoked = suite.create_key("revoked", "user", "acme")
    soon = Timestamp()
    soon.FromDatetime(datetime.now(UTC) + timedelta(seconds=30))
    _, short = suite.create_key("short", "user", "acme", expire_time=soon)
    for name, key in (("short", short), ("reading", reader), ("revoked", revoked)):
        user.log_in(key, "--profile", name)
    request = keys_pb.RevokeApiKeyRequest(api_key_id=revoked_id, tenant="acme")
    suite.keys.RevokeApiKey(request, metadata=bearer(suite.operator))

    missing_role = user.refusal("add", "persona", "--name", "p", "--text", "t", "--profile", "reading")
    assert missing_role == (
        "PutProfile needs the role user; the credential has the role reader; ask an administrator for a"
        " key with that role, or choose another server by --profile"
    )
    assert "needs the role admin" in user.refusal("keys", "list", "--profile", "reading")
    assert "needs the role operator" in user.refusal("tenants", "list", "--profile", "reading")
    other = user.refusal("show", "agent", "Ada", "--profile", "reading")
    assert other.endswith('; profile "reading" sees only the tenant "acme"')
    _, narrow = suite.create_key("one agent", "user", "acme", agent_ids=["agent_1"])
    restricted = user.refusal("add", "persona", "--name", "p", "--text", "t", MEMGPT_API_KEY=narrow)
    assert restricted == (
        "the API key is restricted to some agents, and this affects others too; use a key without restrictions"
    )
    ended = _until(user, "revoked", "was revoked")
    assert ended == (
        'the API key of profile "revoked" was revoked; ask an administrator for a new one (`memgpt keys create`), and'
        " run `memgpt login`"
    )
    assert 'the API key of profile "short" has expired; ask an administrator' in _until(user, "short", "has expired")
    for name in ("nonsense", "mgpt_nonsense"):
        assert user.refusal("whoami", MEMGPT_API_KEY=name) == (
            "the credential in MEMGPT_API_KEY is neither an API key nor a JSON Web Token; copy it again, and run"
            " `memgpt login`"
        )
    unknown = reader[:-4] + ("aaaa" if not reader.endswith("aaaa") else "bbbb")
    told = user.refusal("whoami", MEMGPT_API_KEY=unknown)
    assert told.startswith("the services do not know the credential in MEMGPT_API_KEY: unknown API key; check it, or")
    assert "no API key or token has" in user.refusal("whoami", MEMGPT_API_KEY="größe", code=2)


def _until(user: User, profile: str, message: str) -> str:
    def refused() -> str:
        error = user.run("whoami", "--profile", profile).stderr
        return error.removeprefix("Error: ").rstrip("\n") if message in error else ""

    return wait_until(refused)


def test_keys_are_created_rotated_revoked_and_deleted(user: User, suite: GuardedSuite) -> None:
    user.log_in(suite.operator)
    admin = user.output("keys", "create", "--name", "boss", "--role", "admin", "--tenant", "acme").strip()
    assert admin.startswith("mgpt_")
    user.log_in(admin)
    created = user.run("keys", "create", "--name", "web", "--role", "user", "--expires", "30d")
    key = created.stdout.strip()
    assert created.stdout == f"{key}\n", "standard output has the token alone"
    assert "not shown again" in created.stderr
    assert "Role:       user" in user.output("whoami", MEMGPT_API_KEY=key)
    shown = user.output("keys", "show", "web")
    assert "State:      valid" in shown
    assert f"Token …{key[-4:]}" in shown
    assert key not in shown + user.output("keys", "list") + user.output("keys", "list", "--json")
    made = json.loads(
        user.output("keys", "create", "--name", "narrow", "--role", "reader", "--agent", "agent_1", "--json")
    )
    assert made["token"].startswith("mgpt_")
    assert made["api_key"]["agent_ids"] == ["agent_1"]
    rotated = user.output("keys", "rotate", "web", "--overlap", "1h").strip()
    assert rotated != key
    for token in (key, rotated):
        assert "Role:       user" in user.output("whoami", MEMGPT_API_KEY=token)
    assert "State:      rotated" in user.output("keys", "show", "web")
    assert "Revoked key web" in user.output("keys", "revoke", "web")
    states = {line.split("\t")[0]: line.split("\t")[3] for line in user.output("keys", "list").splitlines()[1:]}
    assert (states["web"], states["boss"]) == ("revoked", "valid")
    assert "Deleted key web" in user.output("keys", "delete", "web", "--yes")
    assert "unknown API key" in user.refusal("keys", "show", "web")
    assert "is taken by another" in user.refusal("keys", "create", "--name", "boss", "--role", "user")
    assert "unknown role" in user.refusal("keys", "create", "--name", "x", "--role", "root", code=2)
    assert "is not a time" in user.refusal(
        "keys", "create", "--name", "x", "--role", "user", "--expires", "soon", code=2
    )
    assert "needs that role" in user.refusal("keys", "create", "--name", "x", "--role", "operator")
    assert "the role operator" in user.refusal("keys", "list", "--tenant", "default")


def test_tenants_and_quotas_are_administered(user: User, suite: GuardedSuite) -> None:
    user.log_in(suite.operator)
    assert "Created tenant doomed" in user.output("tenants", "create", "doomed")
    assert "doomed\tactive" in user.output("tenants", "list")
    assert user.output("tenants", "show", "doomed").startswith("doomed: active\n")
    assert "agents\t7\tset" in user.output("quotas", "set", "doomed", "agents=7", "bytes=none")
    limits = user.output("quotas", "set", "doomed", "searches_per_minute=1,000")
    assert "agents\t7\tset" in limits
    assert "searches_per_minute\t1,000\tset" in limits
    assert "bytes\tnone\tset" in limits
    assert "agents\t7\tset" not in user.output("quotas", "set", "doomed", "agents=default")
    assert json.loads(user.output("quotas", "show", "doomed", "--json"))["quota"]["searches_per_minute"] == "1000"
    for wrong in ("agents", "agents=-1", "agents=", "cats=1", "agents=0", "agents=1e3"):
        user.refusal("quotas", "set", "doomed", "--", wrong, code=2)
    key = user.output("keys", "create", "--name", "u", "--role", "user", "--tenant", "doomed").strip()
    used = dict(line.split("\t", 1) for line in user.output("usage", MEMGPT_API_KEY=key).splitlines())
    assert used["agents"].startswith("0\t")
    assert used["searches per minute"] == "0\t1,000"
    assert user.output("usage", "--agents", MEMGPT_API_KEY=key).startswith("Agent\tId\tMessages")
    assert json.loads(user.output("usage", "--json", MEMGPT_API_KEY=key))["quota"]["searches_per_minute"] == "1000"
    with user.terminal("tenants", "delete", "doomed") as terminal:
        terminal.wait("Type its name to go on:")
        terminal.send("default" + ENTER)
        assert "nothing was deleted" in terminal.wait_end()
    receipt = json.loads(user.output("tenants", "delete", "doomed", "--json"))
    assert receipt["state"] == "TENANT_STATE_DELETED"
    assert receipt["receipt"]["api_key_count"] == "1"
    assert "doomed: deleted" in user.output("tenants", "show", "doomed")
    assert "unknown tenant" in user.refusal("tenants", "show", "nobody")


def test_a_key_is_not_sent_in_plaintext_to_another_machine(user: User) -> None:
    settings = {
        "MEMGPT_CLIENT_AGENT_ADDRESS": "agent.example.org:50051",
        "MEMGPT_CLIENT_LOADER_ADDRESS": "loader.example.org:50053",
        "MEMGPT_API_KEY": "mgpt_secret",
    }
    told = user.refusal("list", "agents", code=2, **settings)
    assert told.startswith("a credential is not sent to agent.example.org:50051 without TLS")
    assert "mgpt_secret" not in told


@pytest.mark.parametrize("content", ["", "{", "[]", '{"default": "gone", "profiles": {}}', '{"profiles": {"x": 1}}'])
def test_a_damaged_file_says_what_to_do(user: User, content: str) -> None:
    user.home.mkdir()
    file = user.home / "profiles.json"
    file.write_text(content)
    file.chmod(0o600)
    assert user.refusal("whoami", code=2) == f"{file} is damaged; delete it and run `memgpt login` again"


def test_a_file_that_others_can_read_is_refused(user: User, suite: GuardedSuite) -> None:
    user.log_in(suite.operator)
    file = user.home / "profiles.json"
    file.chmod(0o644)
    assert user.refusal("whoami", code=2).endswith(f"run `chmod 600 {file}`")


def test_certificates_and_tokens_log_in_too(tmp_path: Path, authority: Authority) -> None:
    app = authority.issue("app")
    with Issuer() as issuer:
        issuer.add("first")
        settings = {
            "MEMGPT_SERVER_TLS_CLIENT_CA": str(authority.ca),
            "MEMGPT_SERVER_CERTIFICATES": "app acme reader,server default service",
            "MEMGPT_SERVER_JWT_ISSUER": ISSUER,
            "MEMGPT_SERVER_JWT_AUDIENCE": AUDIENCE,
            "MEMGPT_SERVER_JWT_JWKS": issuer.address,
        }
        server = authority.issue("server")
        for name in ("AGENT", "LOADER"):
            settings |= {
                f"MEMGPT_{name}_MEMORY_TLS_CERT": str(server.cert),
                f"MEMGPT_{name}_MEMORY_TLS_KEY": str(server.key),
            }
        with TlsSuite(tmp_path / "services", authority, **settings) as suite:
            user = User(tmp_path, suite, authority)
            certificate = ["--tls-cert", str(app.cert), "--tls-key", str(app.key)]
            user.output("login", *user.server, *certificate)
            assert "Credential: certificate app\n" in user.output("whoami")
            user.log_in(issuer.token("first", tenant="globex", role="admin"), *certificate, "--profile", "token")
            told = user.output("whoami")
            assert "Tenant:     globex\nRole:       admin\nCredential: jwt alice\n" in told
            assert "Expires:" in told
