"""Validation of answers when they are entered."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from memgpt.cli.errors import MISUSE, CliError

MIN_WINDOW, DEFAULT_WINDOW, MAX_WINDOW = 1024, 8192, 10_000_000
"""Allowed range of a context window in tokens."""


def check_uri(uri: str) -> str:
    """Validate the URI of a store, and return it stripped; the path of a file becomes absolute.

    Raises:
        CliError: Memory would not accept it.
    """
    uri = uri.strip()
    if any(character.isspace() for character in uri) and "://" in uri:
        raise CliError(f'"{uri}" has a blank in it', MISUSE)
    if "://" in uri:
        return _checked_server(uri)
    if not uri.endswith(".db"):
        raise CliError(f'"{uri}" is neither a file that ends in .db nor a URI such as http://localhost:19530', MISUSE)
    # A relative path would mean a different store in each folder.
    return uri if uri.startswith("~") else str(Path(uri).absolute())


def _checked_server(uri: str) -> str:
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
        parts = urlsplit("")
    if parts.scheme not in ("http", "https", "tcp") or not host:
        raise CliError(f'"{uri}" is not the URI of a Milvus server, such as http://localhost:19530', MISUSE)
    return uri


def check_folder(text: str) -> str:
    """Validate the folder of a local transformer, and return its absolute path.

    Raises:
        CliError: The folder does not hold a model.
    """
    folder = Path(text.strip()).expanduser().absolute()
    if not text.strip() or not folder.is_dir():
        raise CliError(f'"{text.strip()}" is not a folder', MISUSE)
    if not [*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")] or not [*folder.glob("*tokenizer.json")]:
        raise CliError(f'"{folder}" has no model; it needs a file that ends in .onnx, and its tokenizer.json', MISUSE)
    return str(folder)


def check_url(url: str) -> str:
    """Validate the base URL of an endpoint, and return it stripped.

    Raises:
        CliError: It is not a valid URL.
    """
    url = url.strip()
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not host or any(character.isspace() for character in url):
        raise CliError(f'"{url}" is not the URL of an endpoint, such as http://localhost:11434/v1', MISUSE)
    return url


def check_key(key: str) -> str:
    """Validate an API key, and return it stripped.

    Raises:
        CliError: It cannot be sent in a header.
    """
    key = key.strip()
    if not all("!" <= character <= "~" for character in key):
        raise CliError("an API key contains only ASCII characters and no spaces; copy it again", MISUSE)
    return key


def check_window(text: str) -> int:
    """Validate the size of a context window, and return it.

    Raises:
        CliError: It is not a number, or out of range.
    """
    digits = text.strip().replace(",", "").replace("_", "")
    if not digits.isascii() or not digits.isdecimal() or not MIN_WINDOW <= int(digits[:9]) <= MAX_WINDOW:
        raise CliError(f"a context window has {MIN_WINDOW:,} to {MAX_WINDOW:,} tokens, such as 8192", MISUSE)
    return int(digits)


def check_header(text: str) -> tuple[str, str]:
    """Validate a header such as ``Name: value``, and return its name and value.

    Raises:
        CliError: It cannot be sent.
    """
    name, separator, value = text.partition(":")
    name, value = name.strip(), value.strip()
    if not separator or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        raise CliError('a header is written as "Name: value"', MISUSE)
    if not value or not all(" " <= character <= "~" for character in value):
        raise CliError(f'the value of the header "{name}" must be printable ASCII', MISUSE)
    return name, value


def check_parameter(text: str) -> tuple[str, str]:
    """Validate a query parameter such as ``name=value``, and return its name and value.

    Raises:
        CliError: It has no name, or is not printable.
    """
    name, separator, value = text.strip().partition("=")
    if not separator or not name or not text.strip().isprintable():
        raise CliError("a query parameter is written as name=value", MISUSE)
    return name, value


def check_temperature(text: str) -> float:
    """Validate a sampling temperature, and return it.

    Raises:
        CliError: It is not a number from 0 to 2.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 2:
        raise CliError("a temperature is a number from 0 to 2", MISUSE)
    return value
