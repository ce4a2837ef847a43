"""The tutorial by the command line through Envoy, with a client certificate and a token, while Memory, Agents and
Loaders are restarted in turn: no command notices.
"""

from __future__ import annotations

import itertools
import re
import secrets
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from memgpt.memory.v1 import tenant_service_pb2 as tenants_pb
from memgpt.memory.v1.tenant_service_pb2_grpc import TenantServiceStub

from tests.support.certificates import Authority
from tests.support.credentials import bearer
from tests.support.edge import Edge
from tests.support.issuer import AUDIENCE, ISSUER, Issuer
from tests.support.ports import free_port
from tests.support.processes import ServiceProcess, service_environment
from tests.support.suite import PAPER, PAPER_PAGES, QUESTION, Suite

COMMAND_SECONDS = 180.0


def variables(section: str, **settings: object) -> dict[str, str]:
    return {f"MEMGPT_{section}_{key}".upper(): str(value) for key, value in settings.items()}


class Replica:
    """A service that can be restarted at its address."""

    def __init__(self, service: str, home: Path, settings: dict[str, str]) -> None:
        self.service = service
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self._home, self._settings = home, settings | variables(service, port=port)
        self._process = self._start()
        self.restarts = 0

    def _start(self) -> ServiceProcess:
        return ServiceProcess(f"memgpt_{self.service}", self._home, **self._settings)

    def wait_ready(self) -> None:
        self._process.wait_ready(120)

    def restart(self) -> None:
        self._process.terminate(60)
        self._process.close()
        self._process = self._start()
        self.wait_ready()
        self.restarts += 1

    def close(self) -> None:
        self._process.close()


class Cluster:
    """Two Agents and two Loaders behind Envoy, and Memory, all with certificates of one authority.

    Attributes:
        replicas: The Agents and Loaders, and Memory, in the order of their restarts.
        settings: What the command line is told at its login, but for the token.
        issuer: Issues the tokens.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        authority, self.issuer = Authority(folder / "certificates"), Issuer()
        self.issuer.add("one")
        jwks = folder / "jwks.json"
        jwks.write_bytes(self.issuer.jwks())
        home, first_key = folder / "home", folder / "first_key"
        common = variables(
            "server",
            service_key=secrets.token_hex(32),
            jwt_issuer=ISSUER,
            jwt_audience=AUDIENCE,
            jwt_jwks=jwks,
            jwt_tenant_claim="tenant",
            jwt_role_claim="role",
            tls_client_ca=authority.ca,
            drain_pause=0.5,
            drain_grace=2,
        )

        def start(service: str, **settings: object) -> Replica:
            # Envoy expects the name of the service; Memory is called by its address.
            own = authority.issue(service, dns="" if service == "memory" else service)
            tls = variables("server", tls_cert=own.cert, tls_key=own.key)
            caller = {"memory_tls": "true", "memory_tls_ca": authority.ca}
            caller |= {"memory_tls_cert": own.cert, "memory_tls_key": own.key}
            mine = variables(service, **settings, **(caller if service != "memory" else {}))
            replica = Replica(service, home, common | tls | mine)
            stack.callback(replica.close)
            return replica

        memory = start("memory", first_key_file=first_key, lease_seconds=4)
        agents, loaders = (
            [start(service, memory_address=memory.address) for _ in range(2)] for service in ("agent", "loader")
        )
        self.replicas = [memory, agents[0], loaders[0], agents[1], loaders[1]]
        for replica in self.replicas:
            replica.wait_ready()
        self._edge = stack.enter_context(
            Edge(
                folder,
                agents=[each.address for each in agents],
                loaders=[each.address for each in loaders],
                authority=authority,
                jwks=self.issuer.jwks(),
                issuer=ISSUER,
            )
        )
        self._wait_healthy()
        client = authority.issue("client")
        certificate = client.cert.read_bytes(), client.key.read_bytes()
        credentials = grpc.ssl_channel_credentials(authority.ca.read_bytes(), *reversed(certificate))
        with grpc.secure_channel(memory.address, credentials) as channel:
            acme = tenants_pb.CreateTenantRequest(name="acme")
            TenantServiceStub(channel).CreateTenant(acme, metadata=bearer(first_key.read_text().strip()))
        self.settings = [
            *("--agent-address", self._edge.address),
            *("--loader-address", self._edge.address),
            *("--memory-address", memory.address),
            *("--tls", "--tls-ca", str(authority.ca)),
            *("--tls-cert", str(client.cert), "--tls-key", str(client.key)),
        ]

    def _wait_healthy(self) -> None:
        self._edge.wait_until("agent", 2)
        self._edge.wait_until("loader", 2)

    def restart_replicas(self, stop: threading.Event) -> None:
        """Restart one service after the other until told to stop, each once the others take calls again."""
        for replica in itertools.cycle(self.replicas):
            if stop.is_set():
                return
            replica.restart()
            self._wait_healthy()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(tmp_path, stack)


def test_a_rolling_restart_goes_unnoticed(cluster: Cluster, tmp_path: Path) -> None:
    environment = service_environment(tmp_path / "user", {"MEMGPT_PROFILE": "edge"})

    def memgpt(*arguments: str, text: str = "") -> str:
        done = subprocess.run(
            [Suite.program, *arguments],
            input=text,
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), (arguments, done.stdout, done.stderr)
        return done.stdout

    memgpt("login", *cluster.settings, "--key-file", "-", text=cluster.issuer.token("one"))
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        restarts = pool.submit(cluster.restart_replicas, stop)
        try:
            for number in itertools.count():
                paper, agent = f"paper {number}", f"Ada {number}"
                loaded = memgpt("load", "directory", "--name", paper, f"--input-files={PAPER}")
                assert re.search(rf"Loaded \d+ passages and {PAPER_PAGES} documents from {paper}", loaded), loaded
                assert f"Created new agent '{agent}'" in memgpt("run", "--persona", "memgpt_doc", "--agent", agent)
                memgpt("attach", "--agent", agent, "--data-source", paper)
                assert "(memgpt_research_paper.pdf, page " in memgpt("ask", "--agent", agent, QUESTION)
                assert "MemGPT" in memgpt("search", "--agent", agent, "virtual context management")
                searched = memgpt("search", "--agent", agent, "--messages", "--full", "Can you tell me more about it?")
                assert QUESTION in searched
                if restarts.done() or all(replica.restarts for replica in cluster.replicas):
                    break
        finally:
            stop.set()
        restarts.result()
