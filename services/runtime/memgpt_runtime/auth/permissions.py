"""The permissions that the contracts declare for their methods, and the roles that have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from memgpt.common.v1 import permission_pb2
from memgpt.common.v1.permission_pb2 import Permission

from memgpt_runtime.principal import Role

LEAST_ROLE: Mapping[Permission.ValueType, Role | None] = {
    permission_pb2.PERMISSION_PUBLIC: None,
    permission_pb2.PERMISSION_READ: Role.READER,
    permission_pb2.PERMISSION_USE: Role.USER,
    permission_pb2.PERMISSION_ADMINISTER: Role.ADMIN,
    permission_pb2.PERMISSION_OPERATE: Role.OPERATOR,
    permission_pb2.PERMISSION_INTERNAL: Role.SERVICE,
}
"""The least role that has a permission; None if no credential is needed."""


class UndeclaredPermissionError(Exception):
    """A method declares no permission. The message names it."""


def name_of(permission: Permission.ValueType) -> str:
    """Return the name of a permission for errors and their metadata, such as ``USE``."""
    return Permission.Name(permission).removeprefix("PERMISSION_")


def declared(method: MethodDescriptor) -> Permission.ValueType:
    """Return the permission that a contract declares for a method; UNSPECIFIED if it declares none."""
    permission: Permission.ValueType = method.GetOptions().Extensions[permission_pb2.permission]
    return permission


def permissions(services: Iterable[str], others: Mapping[str, Permission.ValueType]) -> dict[str, Permission.ValueType]:
    """Return the permissions of all methods of some services, by full method name such as ``/package.Service/Method``.

    Args:
        services: Full names of the services.
        others: Permission of all methods by the full names of services that are not in the suite's contracts; these
            methods have ``/package.Service/*`` as their name.

    Raises:
        UndeclaredPermissionError: A method declares none.
    """
    found: dict[str, Permission.ValueType] = {}
    for service in services:
        if service in others:
            found[f"/{service}/*"] = others[service]
            continue
        try:
            descriptor = descriptor_pool.Default().FindServiceByName(service)
        except KeyError:
            raise UndeclaredPermissionError(f"service {service} has no contract that declares permissions") from None
        for method in descriptor.methods:
            permission = declared(method)
            if permission not in LEAST_ROLE:
                raise UndeclaredPermissionError(
                    f"/{service}/{method.name} declares no permission; set the option memgpt.common.v1.permission in "
                    "its contract"
                )
            found[f"/{service}/{method.name}"] = permission
    return found
