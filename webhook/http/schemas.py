"""JSON Schemas of the responses, made from the domain's types."""

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

Schema = dict[str, Any]

AT = "#/components/schemas/{model}"


def of(types: Iterable[Any]) -> tuple[dict[Any, Schema], dict[str, Schema]]:
    """Give the serialized schemas of types, and of the types in them, by name."""
    adapters = [(kind, "serialization", TypeAdapter(kind)) for kind in dict.fromkeys(types)]
    schemas, shared = TypeAdapter.json_schemas(
        adapters,  # type: ignore[arg-type]  # the list has only "serialization"
        ref_template=AT,
        schema_generator=_Documented,
    )
    return {kind: schema for (kind, _), schema in schemas.items()}, shared.get("$defs", {})


class _Documented(GenerateJsonSchema):
    """Describes each field by its docstring, also one of a base class, and adds no titles."""

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> Schema:
        return _documented(super().typed_dict_schema(schema), schema["cls"])

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> Schema:
        return _documented(super().dataclass_schema(schema), schema["cls"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def normalize_name(self, name: str) -> str:
        """Name `PoolShape` Pool, and a page of them PoolPage."""
        plain = re.sub(r"Shape\b", "", name)
        return super().normalize_name(re.sub(r"Page\[(\w+)\]", r"\1Page", plain))


def _documented(schema: Schema, kind: type) -> Schema:
    schema.pop("title", None)
    docstrings = _docstrings(kind)
    for name, field in schema["properties"].items():
        if name in docstrings and "description" not in field:
            field["description"] = docstrings[name]
    return schema


def _docstrings(kind: type) -> dict[str, str]:
    """Read the docstrings of a class's fields, and those of its bases."""
    docstrings: dict[str, str] = {}
    for base in getattr(kind, "__orig_bases__", ()):
        if isinstance(base, type):
            docstrings |= _docstrings(base)
    try:
        [made] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, TypeError, SyntaxError):  # no class statement made it
        return docstrings
    body = made.body if isinstance(made, ast.ClassDef) else []
    for field, words in itertools.pairwise(body):
        match field, words:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                value=ast.Constant(value=str(said))
            ):
                docstrings[name] = " ".join(said.split())
    return docstrings
