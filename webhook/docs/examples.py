"""A request of each operation, as curl and Python would send it, made of what its schemas say."""

import json
import shlex
from typing import Any
from urllib.parse import quote, urlencode

JSON = "application/json"
DEEPEST = 6  # a shape within a shape
TEXTS = {"date": "2026-11-30", "date-time": "2026-11-30T09:00:00Z", "email": "ann@example.com"}
SIMPLE: dict[str, Any] = {
    "integer": 1, "number": 1.5, "boolean": True, "string": "…", "null": None
}  # fmt: skip


def sample(schema: dict[str, Any], shapes: dict[str, Any], depth: int = 0) -> Any:
    """Give a value that a schema describes; of an object, the required fields (of none: the first)."""
    if "$ref" in schema:
        schema = shapes[schema["$ref"].rpartition("/")[2]]
    told = [*schema.get("examples", ()), *schema.get("enum", ())]
    told += [
        schema[name] for name in ("example", "const", "default") if schema.get(name) is not None
    ]
    if told:
        return told[0]
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return sample(schema[choice][0], shapes, depth)
    return _made(schema, shapes, depth + 1)


def _made(schema: dict[str, Any], shapes: dict[str, Any], depth: int) -> Any:
    kind, fields = str(schema.get("type")), schema.get("properties") or {}
    if depth > DEEPEST:
        return [] if kind == "array" else {}
    if kind == "array":
        return [sample(schema.get("items") or {}, shapes, depth)]
    if fields:
        wanted = schema.get("required") or list(fields)[:1]
        return {name: sample(fields[name], shapes, depth) for name in wanted}
    return TEXTS.get(str(schema.get("format")), SIMPLE.get(kind, {}))


def body(operation: dict[str, Any], shapes: dict[str, Any]) -> str | None:
    """Give the JSON that an operation may be sent; None if it takes none."""
    content = (operation.get("requestBody") or {}).get("content") or {}
    if JSON not in content:
        return None
    return json.dumps(
        sample(content[JSON].get("schema") or {}, shapes), ensure_ascii=False, indent=2
    )


def curl(operation: dict[str, Any], shapes: dict[str, Any], origin: str) -> str:
    """Write an operation as a command; the token is in KEYPOOL_TOKEN."""
    lines = [f"curl {shlex.quote(_address(operation, shapes, origin))}"]
    if operation["method"] != "get":
        lines[0] = lines[0].replace("curl", f"curl --request {operation['method'].upper()}", 1)
    if operation.get("x-roles"):
        lines.append('--header "Authorization: Bearer $KEYPOOL_TOKEN"')
    if sent := body(operation, shapes):
        lines += [f"--header 'Content-Type: {JSON}'", f"--data {shlex.quote(sent)}"]
    return " \\\n  ".join(lines)


def python(operation: dict[str, Any], shapes: dict[str, Any], origin: str) -> str:
    """Write an operation in Python, with httpx; the token is in KEYPOOL_TOKEN."""
    address = json.dumps(_address(operation, shapes, origin), ensure_ascii=False)
    given = [f'"{operation["method"].upper()}"', address]
    if operation.get("x-roles"):
        given.append('headers={"Authorization": f"Bearer {os.environ[\'KEYPOOL_TOKEN\']}"}')
    if sent := body(operation, shapes):
        given.append(f"json={json.loads(sent)!r}")
    arguments = "".join(f"    {one},\n" for one in given)
    call = f"answer = httpx.request(\n{arguments})\nprint(answer.status_code, answer.text)\n"
    return f"import os\n\nimport httpx\n\n{call}"


def _address(operation: dict[str, Any], shapes: dict[str, Any], origin: str) -> str:
    path, query = str(operation["path"]), []
    for parameter in operation.get("parameters") or []:
        value = sample(parameter.get("schema") or {}, shapes)
        if parameter["in"] == "path":
            value = parameter["name"].upper() if value == SIMPLE["string"] else value
            path = path.replace(f"{{{parameter['name']}}}", quote(str(value), safe=""))
        elif parameter["in"] == "query" and parameter.get("required"):
            query.append((parameter["name"], value))
    return origin + path + (f"?{urlencode(query)}" if query else "")
