"""`memgpt export`, `import`, `compact`, `backup` and `restore`, against a whole suite."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from memgpt.agent.v1.agent_service_pb2 import CreateAgentRequest

from tests.support.processes import service_environment
from tests.support.suite import Suite

MEMGPT = str(Path(sys.executable).with_name("memgpt"))


def memgpt(home: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MEMGPT, *arguments],
        env=service_environment(home, settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_agent_and_a_store_go_into_files_and_come_back(tmp_path: Path) -> None:
    home, file, backup = tmp_path / "home", tmp_path / "agent.jsonl", tmp_path / "backup.tar"
    with Suite(home) as suite:
        with suite.client() as client:
            client.agents.create(CreateAgentRequest(name="Ada", persona="memgpt_doc"))
        assert "Exported agent Ada:" in suite.cli("export", "agent", "Ada", "-o", str(file))
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        assert [next(iter(line)) for line in lines[:2]] == ["header", "agent"]
        assert suite.run("export", "agent", "Ada", "-o", str(file)).returncode == 2  # it is there already
        assert "Imported agent Eve:" in suite.cli("import", "agent", str(file), "--name", "Eve")
        lines[1]["agent"]["nonsense"] = 1
        file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        broken = suite.run("import", "agent", str(file), "--name", "Mallory")
        assert (broken.returncode, "line 2 is not a piece of an exported agent" in broken.stderr) == (1, True)
        addresses = {
            "MEMGPT_CLIENT_AGENT_ADDRESS": suite.agent_address,
            "MEMGPT_CLIENT_LOADER_ADDRESS": suite.loader_address,
            "MEMGPT_CLIENT_MEMORY_ADDRESS": suite.memory_address,
        }
        told = memgpt(home, "backup", str(backup), **addresses)
        assert (told.returncode, "Backed up the store" in told.stdout) == (0, True), told.stderr
        told = memgpt(home, "compact", **addresses)
        assert (told.returncode, "Compacted the store" in told.stdout) == (0, True), told.stderr
        assert "is in use" in memgpt(home, "restore", str(backup), "--force").stderr
        suite.cli("delete", "agent", "Ada", "--yes")
    told = memgpt(home, "restore", str(backup), "--force")
    assert told.returncode == 0, told.stderr
    with Suite(home) as suite:
        assert [line.split("\t")[0] for line in suite.cli("list", "agents").splitlines()] == ["Name", "Ada", "Eve"]


def test_the_doctor_lists_what_a_damaged_store_lost_and_repairs_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Suite(home) as suite, suite.client() as client:
        client.agents.create(CreateAgentRequest(name="Ada", persona="memgpt_doc"))
    rows = [
        file
        for kind in ("partitions/*/data/*.parquet", "wal/*data*")
        for file in (home / "milvus.db").glob(f"collections/memgpt_records/{kind}")
    ]
    largest = max(rows, key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:100])
    told = memgpt(home, "doctor")
    assert told.returncode == 1
    assert "Store: lost: memgpt_records: " in told.stdout
    told = memgpt(home, "doctor", "--repair")
    assert told.returncode == 0, told.stderr
    assert "The damaged store is now" in told.stdout
    with Suite(home) as suite:
        assert "Ada" not in suite.cli("list", "agents")
