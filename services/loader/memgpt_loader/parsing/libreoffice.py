"""Conversion of legacy office documents by LibreOffice, where it is installed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.legacy_office import converted_extension
from memgpt_loader.parsing.parser_limits import ParserLimits
from memgpt_loader.parsing.process import ParserUnavailable

_PROGRAMS = ("soffice", "libreoffice")
_SPACE_BYTES = 4 << 30
"""Address space of LibreOffice; it maps more than 1 GiB before it opens a file."""
_START_SECONDS = 60.0
"""The first start writes a profile."""
_SETTINGS = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry">
{}</oor:items>
"""
# No macros, no content that does something, nothing from the network, no updated links.
_ITEMS = (
    ("/org.openoffice.Office.Common/Security/Scripting", "DisableMacrosExecution", "true"),
    ("/org.openoffice.Office.Common/Security/Scripting", "MacroSecurityLevel", "3"),
    ("/org.openoffice.Office.Common/Security/Scripting", "DisableActiveContent", "true"),
    ("/org.openoffice.Office.Common/Security/Scripting", "BlockUntrustedRefererLinks", "true"),
    ("/org.openoffice.Office.Writer/Content/Update", "Link", "0"),
)


@contextlib.asynccontextmanager
async def parsable(path: Path, name: str, limits: ParserLimits) -> AsyncIterator[tuple[Path, str]]:
    """Convert a file if only LibreOffice reads it; yield the path and name of what to parse.

    Raises:
        FileFailure: BROKEN or TIMEOUT: it could not be converted.
        ParserUnavailable: LibreOffice could not be started, or its folder not be made; a retry may succeed.
    """
    extension = await asyncio.to_thread(_extension, path, name)
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None) if extension else None
    if program is None:  # the parser says what to install
        yield path, name
        return
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="memgpt-convert-", ignore_cleanup_errors=True)
            )
            converted = await _converted(program, path, extension, Path(folder), limits)
        except OSError as error:
            raise ParserUnavailable(f"LibreOffice: {error!r}") from error
        yield converted, f"{name}{extension}"


def _extension(path: Path, name: str) -> str:
    with path.open("rb") as source:
        return converted_extension(name, source)


async def _converted(program: str, path: Path, extension: str, folder: Path, limits: ParserLimits) -> Path:
    source = _prepared(path, folder, extension)
    seconds = limits.seconds + _START_SECONDS
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "memgpt_loader.parsing.limited"),
        *map(str, (_SPACE_BYTES, limits.memory_bytes, int(seconds) + 5, limits.max_unpacked_bytes)),
        *(program, f"-env:UserInstallation={(folder / 'profile').as_uri()}", "--headless", "--norestore"),
        *("--convert-to", extension[1:], "--outdir", str(folder / "out"), str(source)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=folder,
        env={
            **{key: os.environ[key] for key in _ENVIRONMENT if key in os.environ},
            "HOME": str(folder),
            "TMPDIR": str(folder),
        },
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        raise FileFailure(
            FailureReason.TIMEOUT,
            f"LibreOffice takes longer than {seconds:g} s to convert the file; save it as {extension}, or raise "
            "loader.parser_seconds",
        ) from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # it starts processes of its own
        await process.wait()
    found = folder / "out" / f"file{extension}"
    if not found.is_file():
        raise FileFailure(
            FailureReason.BROKEN,
            "LibreOffice cannot convert the file; it is damaged or too large, or a part of LibreOffice is missing "
            f"(libreoffice-writer-nogui, libreoffice-impress-nogui); save it as {extension}",
            detail=f"LibreOffice exited with {process.returncode}",
        )
    return found


def _prepared(path: Path, folder: Path, extension: str) -> Path:
    """Write the profile of LibreOffice; return a link to the file whose extension names the format."""
    profile = folder / "profile" / "user"
    profile.mkdir(parents=True)
    items = (
        f'<item oor:path="{at}"><prop oor:name="{key}"><value>{value}</value></prop></item>\n'
        for at, key, value in _ITEMS
    )
    (profile / "registrymodifications.xcu").write_text(_SETTINGS.format("".join(items)))
    source = folder / f"file{extension[:-1]}"
    source.symlink_to(path.resolve())
    return source


_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
