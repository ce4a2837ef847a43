from __future__ import annotations

import asyncio
import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from memgpt_loader.loads.spool import Spool
from memgpt_loader.model import Manifest
from memgpt_runtime.errors import InvalidArgument, Reason, ResourceExhausted

from tests.support.nfs import use_nfs_locks


def manifest(data: bytes, name: str = "a.txt") -> Manifest:
    return Manifest(name, len(data), hashlib.sha256(data).hexdigest())


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path, quota_bytes=100)
    yield spool
    spool.close()
    assert list(tmp_path.iterdir()) == []


async def test_a_file_arrives_in_pieces(spool: Spool) -> None:
    file = await spool.reserve(manifest(b"abcdef", "../../etc/passwd"), "acme", "load")
    await file.write(b"abc")
    await file.write(b"def")
    await file.finish()
    assert await asyncio.to_thread(file.path.read_bytes) == b"abcdef"
    assert "passwd" not in str(file.path)
    file.discard()
    file.discard()
    assert spool.used_bytes == 0


@pytest.mark.parametrize(("sent", "says"), [(b"abc", "3 bytes"), (b"abcdex", "SHA-256"), (b"abcdefg", "more than")])
async def test_other_bytes_than_announced(spool: Spool, sent: bytes, says: str) -> None:
    file = await spool.reserve(manifest(b"abcdef"), "acme", "load")

    async def upload() -> None:
        await file.write(sent)
        await file.finish()

    with pytest.raises(InvalidArgument, match=says) as error:
        await upload()
    assert error.value.reason == Reason.UPLOAD_MISMATCH
    assert error.value.metadata["file"] == "a.txt"
    file.discard()


@pytest.mark.parametrize("tenants", [("acme", "acme", "acme"), ("acme", "other", "third")])
async def test_room_is_given_in_turn(spool: Spool, tenants: tuple[str, str, str]) -> None:
    big, small = manifest(b"x" * 60), manifest(b"x" * 10)
    first = await spool.reserve(big, tenants[0], "one")
    second = asyncio.create_task(spool.reserve(big, tenants[1], "two"))
    third = asyncio.create_task(spool.reserve(small, tenants[2], "three"))  # would fit, but waits behind the second
    done, _ = await asyncio.wait({second, third}, timeout=0.01)
    assert not done
    first.discard()
    (await second).discard()
    (await third).discard()
    assert spool.used_bytes == 0


async def test_one_load_leaves_half_of_the_room_to_others(spool: Spool) -> None:
    file = manifest(b"x" * 20)
    mine = [await spool.reserve(file, "acme", "mine") for _ in range(2)]
    waiting = asyncio.create_task(spool.reserve(file, "acme", "mine"))  # the third would be more than half
    done, _ = await asyncio.wait({waiting}, timeout=0.01)
    assert not done
    yours = await spool.reserve(file, "acme", "yours")  # who waits for its own files holds nobody up
    mine.pop().discard()
    mine.append(await waiting)
    for one in (*mine, yours):
        one.discard()
    (await spool.reserve(manifest(b"x" * 100), "acme", "mine")).discard()  # alone it may be as large as all
    assert spool.used_bytes == 0


async def test_one_tenant_leaves_a_quarter_of_the_room_to_others(spool: Spool) -> None:
    """However many loads it has: it may send their files slowly."""
    file = manifest(b"x" * 25)
    mine = [await spool.reserve(file, "acme", f"load {number}") for number in range(3)]
    waiting = asyncio.create_task(spool.reserve(file, "acme", "load 3"))
    done, _ = await asyncio.wait({waiting}, timeout=0.01)
    assert not done
    theirs = await spool.reserve(file, "other", "load")
    mine.pop().discard()
    mine.append(await waiting)
    for one in (*mine, theirs):
        one.discard()
    assert spool.used_bytes == 0


async def test_a_disk_that_takes_no_files_costs_no_room(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("memgpt_loader.loads.spool.tempfile.mkstemp", refuse)
        with pytest.raises(ResourceExhausted):
            await spool.reserve(manifest(b"x" * 80), "acme", "load")
    assert spool.used_bytes == 0
    (await spool.reserve(manifest(b"x" * 80), "acme", "load")).discard()


async def test_a_disk_that_is_full_in_the_middle_of_a_file_ends_that_upload_alone(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with await spool.reserve(manifest(b"abcdef"), "acme", "load") as file:
        await file.write(b"abc")
        with monkeypatch.context() as patched:
            patched.setattr(file, "_stream", SimpleNamespace(write=refuse, close=file._stream.close))
            with pytest.raises(ResourceExhausted, match="cannot write to its disk"):
                await file.finish()
    assert spool.used_bytes == 0
    with await spool.reserve(manifest(b"abcdef"), "acme", "load") as file:
        await file.write(b"abcdef")
        await file.finish()
        assert await asyncio.to_thread(file.path.read_bytes) == b"abcdef"


async def test_who_gives_up_waiting_takes_no_room(spool: Spool) -> None:
    first = await spool.reserve(manifest(b"x" * 80), "acme", "load")
    waiting = [asyncio.create_task(spool.reserve(manifest(b"x" * 80), "acme", f"load {n}")) for n in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    first.discard()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert not isinstance(results[1], BaseException)
    results[1].discard()
    assert spool.used_bytes == 0


@pytest.mark.parametrize("on_nfs", [False, True])
def test_the_folders_of_dead_processes_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_nfs: bool
) -> None:
    if on_nfs:
        use_nfs_locks(monkeypatch)
    living = Spool(tmp_path, 10)
    (folder,) = tmp_path.iterdir()
    dead = tmp_path / "loader-dead"
    dead.mkdir()
    (dead / "lock").touch()
    (dead / "upload").touch()
    other = Spool(tmp_path, 10)
    assert folder.exists()
    assert not dead.exists()
    assert other.has_died("loader-dead")
    assert not other.has_died(living.name)
    assert not other.has_died("loader-of-another-machine")
    other.close()
    living.close()
    assert list(tmp_path.iterdir()) == []
