"""Prints the packets of a Perfetto trace as lines of JSON, by Perfetto's own message definitions.

Fails if the trace has a field or an enumerator that those do not know.
"""

import json
import sys

from google.protobuf import json_format, unknown_fields
from perfetto.protos.perfetto.trace import perfetto_trace_pb2


def check_known(message, path):
    unknown = [field.field_number for field in unknown_fields.UnknownFieldSet(message)]
    if unknown:
        sys.exit(f"{path} has unknown fields {unknown}")
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        inner_messages = [value] if hasattr(value, "ListFields") else value
        for n, inner in enumerate(inner_messages):
            check_known(inner, f"{path}.{field.name}[{n}]")


trace = perfetto_trace_pb2.Trace()
with open(sys.argv[1], "rb") as file:
    trace.ParseFromString(file.read())
for n, packet in enumerate(trace.packet):
    check_known(packet, f"packet[{n}]")
    print(json.dumps(json_format.MessageToDict(packet, preserving_proto_field_name=True)))
