"""Every method of the suite declares the permission that it needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.descriptor import MethodDescriptor
from memgpt.common.v1 import permission_pb2
from memgpt_runtime.auth.permissions import LEAST_ROLE, UndeclaredPermissionError, declared, permissions
from memgpt_runtime.principal import Role

from tests.support.contracts import service_methods

METHODS = service_methods()
BY_OTHERS = {"memgpt.tool.v1.ToolService"}
"""Services that others implement. Their contracts import nothing, and their credentials are the operator's business."""

CHANGES = (
    "Create",
    "Delete",
    "Put",
    "Set",
    "Update",
    "Import",
    "Send",
    "Insert",
    "Upload",
    "Register",
    "Cancel",
    "Undo",
)


def _suite() -> list[MethodDescriptor]:
    return [method for method in METHODS if method.containing_service.full_name not in BY_OTHERS]


@pytest.mark.parametrize("method", _suite(), ids=lambda method: method.full_name)
def test_every_method_declares_its_permission(method: MethodDescriptor) -> None:
    assert declared(method) in LEAST_ROLE
    assert LEAST_ROLE[declared(method)] is not None, "no method of the suite works without a credential"


@pytest.mark.parametrize("method", _suite(), ids=lambda method: method.full_name)
def test_a_reader_changes_nothing(method: MethodDescriptor) -> None:
    if method.name.startswith(CHANGES):
        assert LEAST_ROLE[declared(method)] is not Role.READER


def test_contracts_in_the_tree_are_all_covered() -> None:
    protos = Path(__file__).parents[2] / "protos"
    written = {path.relative_to(protos).as_posix() for path in protos.rglob("*_service.proto")}
    assert {method.containing_service.file.name for method in METHODS} == written


def test_roles_have_the_numbers_of_the_contract() -> None:
    names = {f"ROLE_{role.name}": role.value for role in Role}
    assert {"ROLE_UNSPECIFIED": 0, **names} == dict(permission_pb2.Role.items())


def test_an_undeclared_method_is_named() -> None:
    with pytest.raises(UndeclaredPermissionError, match=r"/memgpt\.tool\.v1\.ToolService/ListTools declares"):
        permissions(["memgpt.tool.v1.ToolService"], {})
    with pytest.raises(UndeclaredPermissionError, match=r"ProbeService has no contract"):
        permissions(["memgpt.test.v1.ProbeService"], {})
