"""The methods of the suite's contracts, from their descriptors."""

from __future__ import annotations

import importlib
import pkgutil

import memgpt.agent.v1
import memgpt.common.v1
import memgpt.loader.v1
import memgpt.memory.v1
import memgpt.tool.v1
from google.protobuf.descriptor import MethodDescriptor

PACKAGES = [memgpt.agent.v1, memgpt.common.v1, memgpt.loader.v1, memgpt.memory.v1, memgpt.tool.v1]


def service_methods() -> list[MethodDescriptor]:
    """Return the methods of all services, in the order of their names."""
    found: list[MethodDescriptor] = []
    for package in PACKAGES:
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if module.name.endswith("_service_pb2"):
                services = importlib.import_module(module.name).DESCRIPTOR.services_by_name.values()
                found += [method for service in services for method in service.methods]
    return sorted(found, key=lambda method: method.full_name)
