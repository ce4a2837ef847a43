"""Private modules of Memory are imported only within their own package; other code uses the package itself."""

import ast
from pathlib import Path

import memgpt_memory

ROOT = Path(memgpt_memory.__file__).parent


def _imports(file: Path) -> list[str]:
    tree = ast.parse(file.read_text("utf-8"))
    return [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]


def test_private_modules_are_private() -> None:
    outsiders = [
        f"{file.relative_to(ROOT)} imports {module}"
        for file in ROOT.rglob("*.py")
        for module in _imports(file)
        if module.startswith("memgpt_memory.")
        and any(part.startswith("_") for part in module.split(".")[1:])
        and file.relative_to(ROOT).parts[0] != module.split(".")[1]
    ]
    assert outsiders == []


def test_packages_say_what_they_are() -> None:
    for package in ROOT.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(package.read_text("utf-8"))), package
