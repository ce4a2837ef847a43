"""The part of protovalidate's interface in `third_party` is protovalidate's own."""

import subprocess
import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from protovalidate import ViolationPb

from tests.support.missing import missing_tool

ROOT = Path(__file__).parents[2]


def facts(field: FieldDescriptorProto, oneofs: DescriptorProto | None = None) -> tuple[object, ...]:
    oneof = oneofs.oneof_decl[field.oneof_index].name if oneofs and field.HasField("oneof_index") else None
    return field.name, field.number, field.type, field.label, field.type_name, field.extendee, oneof


def test_it_has_the_names_numbers_and_types_of_protovalidate(tmp_path: Path) -> None:
    image = tmp_path / "image.binpb"
    buf = Path(sys.executable).parent / "buf"
    if not buf.exists():
        missing_tool("buf has no package for this machine")
    subprocess.run([buf, "build", "third_party", "--output", image], cwd=ROOT, check=True)
    (ours,) = (file for file in FileDescriptorSet.FromString(image.read_bytes()).file if file.package == "buf.validate")
    theirs = FileDescriptorProto.FromString(ViolationPb.desc().file.proto.to_binary())
    messages = {message.name: message for message in theirs.message_type}

    assert {facts(each) for each in ours.extension} <= {facts(each) for each in theirs.extension}
    for message in ours.message_type:
        original = messages[message.name]
        known = {facts(each, original) for each in original.field}
        assert {facts(each, message) for each in message.field} <= known, message.name
