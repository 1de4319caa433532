"""The JSON Schema of result.json, drawn from its records.

`python -m straybit.report.schema > docs/result.schema.json` writes it again after a change.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from straybit.records import SCHEMA
from straybit.result import RunResult

__all__ = ["result_schema", "schema_text"]


def result_schema() -> dict[str, Any]:
    """The schema; it allows no key that it does not name, since a new key comes with a new description."""
    schema = msgspec.json.schema(RunResult)
    for definition in schema["$defs"].values():
        if "properties" in definition:
            definition["additionalProperties"] = False
            definition.pop("description", None)
    schema["$defs"]["RunResult"]["properties"]["schema"] = {"const": SCHEMA}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "straybit result.json",
        "description": "The result of a run; docs/result.md explains every key.",
        **schema,
    }


def schema_text() -> str:
    """The schema as the file in docs/ holds it."""
    return msgspec.json.format(msgspec.json.encode(result_schema()), indent=2).decode() + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
