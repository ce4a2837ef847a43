"""The Milvus server of the tests: what fault tests rely on."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest
from pymilvus import MilvusClient

from tests.support.milvus_server import MilvusServer

pytestmark = pytest.mark.milvus_server


def make_collection(client: MilvusClient) -> None:
    client.create_collection("c", dimension=2, consistency_level="Strong")


def test_each_test_has_an_empty_store(milvus_uri: str):
    with closing(MilvusClient(milvus_uri)) as client:
        assert client.list_collections() == []
        make_collection(client)


def test_what_was_acknowledged_outlives_kill9(own_milvus_server: MilvusServer, milvus_server: MilvusServer):
    assert own_milvus_server.uri != milvus_server.uri, "two run side by side"
    with closing(MilvusClient(own_milvus_server.uri, timeout=60)) as client:
        make_collection(client)
        client.upsert("c", [{"id": number, "vector": [number, 1.0]} for number in range(10)])
    own_milvus_server.kill9()
    own_milvus_server.restart()
    with closing(MilvusClient(own_milvus_server.uri, timeout=60)) as client:
        client.load_collection("c")
        rows = client.query("c", filter="", output_fields=["count(*)"], consistency_level="Strong")
    assert rows[0]["count(*)"] == 10


@pytest.mark.linux("waits for a process by pidfd")
def test_it_dies_with_the_process_that_started_it(tmp_path: Path, stopped_milvus_server: MilvusServer):
    program = (
        "import sys, pathlib\n"
        "from tests.support.milvus_server import MilvusServer\n"
        "server = MilvusServer(pathlib.Path(sys.argv[1]))\n"
        "server.start()\n"
        "print(server._process.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "milvus"],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    with parent.stdin, parent.stdout:
        server = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            parent.wait(60)
            # A descriptor of a process becomes readable when it ends.
            assert select.select([server], [], [], 30)[0], "it still runs"
        finally:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(server, signal.SIGKILL)
            os.close(server)
