"""The JSON schema of a profile file, for editors that complete and check TOML."""

from typing import Any, Literal, get_args

from pydantic import BaseModel, create_model
from pydantic.json_schema import models_json_schema

import transports
from router.model import Direction
from router.profile.draft import COMMON
from router.profile.keys import TRANSPORT


def schema() -> dict[str, Any]:
    """Make a JSON schema (2020-12) of all profiles of all transports there are."""
    tables: list[tuple[type[BaseModel], Literal["validation"]]] = []
    references: dict[Direction, list[dict[str, str]]] = {direction: [] for direction in get_args(Direction)}
    kinds: dict[str, str] = {}
    for direction, common in COMMON.items():
        for transport in transports.kinds():
            kind = getattr(transports.load(transport), direction)
            if kind is not None:
                name = f"{direction}_{transport}"
                kinds[name] = transport
                tables.append((create_model(name, __base__=(common, kind.settings)), "validation"))
                references[direction].append({"$ref": f"#/$defs/{name}"})
    definitions = models_json_schema(tables)[1]
    for name, kind in kinds.items():
        table = definitions["$defs"][name]
        table["properties"]["transport"] = {"const": kind, "description": TRANSPORT.description}
        table["required"] = [*table.get("required", ()), "transport"]
        if "owners" in table["properties"]:
            table["if"] = {"properties": {"role": {"const": "forward"}}, "required": ["role"]}
            table["then"], table["else"] = {"required": ["forwarders"]}, {"required": ["owners"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Profiles of CRM email router",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            direction: {"type": "object", "additionalProperties": {"oneOf": some}}
            for direction, some in references.items()
        },
        **definitions,
    }
