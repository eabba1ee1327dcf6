"""The JSON schema of a profile file, for editors that complete and check TOML."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, WithJsonSchema, create_model
from pydantic.json_schema import models_json_schema

import transports
from router.draft import COMMON
from router.keys import TRANSPORT, Direction


def schema() -> dict[str, Any]:
    """Make a JSON schema (2020-12) of all profiles of all transports there are."""
    tables: dict[Direction, list[type[BaseModel]]] = {
        direction: [
            create_model(
                f"{direction}_{kind}",
                __base__=(COMMON[direction], offer),
                transport=(Annotated[str, WithJsonSchema({"const": kind})], TRANSPORT),
            )
            for kind in transports.kinds()
            if (offer := getattr(transports.load(kind), direction)) is not None
        ]
        for direction in get_args(Direction)
    }
    every: list[tuple[type[BaseModel], Literal["validation"]]] = [
        (table, "validation") for some in tables.values() for table in some
    ]
    references, definitions = models_json_schema(every)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Profiles of CRM email router",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            direction: {
                "type": "object",
                "additionalProperties": {"oneOf": [references[table, "validation"] for table in some]},
            }
            for direction, some in tables.items()
        },
        **definitions,
    }
