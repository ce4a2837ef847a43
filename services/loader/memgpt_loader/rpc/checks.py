"""Checks of requests that their constraints cannot express.

They run before a handler, together with the constraints, so that one error names all invalid fields.
"""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import Message
from memgpt.loader.v1 import loader_service_pb2 as pb
from memgpt_runtime.names import check_name
from memgpt_runtime.pagination import check_token
from memgpt_runtime.validation import Check, Problems

from memgpt_loader.loads.plan import files_by_name
from memgpt_loader.rpc.conversion import manifests


def _create_load(request: pb.CreateLoadRequest, problems: Problems) -> None:
    if request.source_name:
        problems.check(check_name, "source_name", request.source_name)
    problems.check(files_by_name, manifests(request))


def _list_loads(request: pb.ListLoadsRequest, problems: Problems) -> None:
    problems.check(check_token, request.page_token)


CHECKS: Mapping[type[Message], Check] = {pb.CreateLoadRequest: _create_load, pb.ListLoadsRequest: _list_loads}
"""The check of each type of request that has one."""
