"""Writes the Core ML schema of an installed coremltools as one descriptor set.

    python _gen/descriptors.py coreml.binpb

Only what Model.proto reaches is taken, byte for byte, dependencies first.
"""
import sys

from coremltools.proto import Model_pb2
from google.protobuf import descriptor_pb2


def reachable(file, seen):
    for dependency in file.dependencies:
        reachable(dependency, seen)
    seen.setdefault(file.name, file.serialized_pb)
    return seen


def main(path):
    out = descriptor_pb2.FileDescriptorSet()
    for raw in reachable(Model_pb2.DESCRIPTOR, {}).values():
        out.file.add().ParseFromString(raw)
    with open(path, "wb") as f:
        f.write(out.SerializeToString(deterministic=True))


main(sys.argv[1])
