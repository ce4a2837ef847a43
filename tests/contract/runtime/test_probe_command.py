"""`python -m memgpt_runtime.probe`, as a container's health check runs it."""

from __future__ import annotations

import asyncio

import pytest
from memgpt_runtime.probe import main, probe

from tests.contract.runtime.probe import Probe, Start
from tests.support.ports import free_port


async def _probe(address: str, service: str = "") -> tuple[int, str]:
    """Return the exit code and the status."""
    return (
        await asyncio.to_thread(main, [address, "--service", service]),
        await asyncio.to_thread(probe, address, service=service),
    )


async def test_follows_the_servers_readiness(start: Start) -> None:
    async with start(Probe(str).add_to) as running:
        assert await _probe(running.address) == (0, "SERVING")
        running.app.readiness.set("milvus", "no answer in time")
        assert await _probe(running.address) == (1, "NOT_SERVING")
        running.app.readiness.set("milvus", None)
        assert await _probe(running.address) == (0, "SERVING")


async def test_a_service_that_is_not_there(start: Start) -> None:
    async with start(Probe(str).add_to) as running:
        assert await _probe(running.address, "no.such.Service") == (1, "NOT_FOUND")


def test_a_port_without_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"127.0.0.1:{free_port()}"]) == 1
    assert capsys.readouterr().out.strip() == "UNAVAILABLE"


def test_a_proxy_of_the_environment_is_passed_by(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A proxy that does not answer would cost the whole time limit.
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:3128")
    assert main([f"127.0.0.1:{free_port()}", "--timeout", "20"]) == 1
    assert capsys.readouterr().out.strip() == "UNAVAILABLE"


def test_a_mistake_in_the_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["127.0.0.1:1", "--tls-ca", "/nowhere/ca.pem"])
    assert caught.value.code == 2
    assert "cannot read /nowhere/ca.pem" in capsys.readouterr().err
