"""The software bill of materials: what requirements.lock pins, as CycloneDX (sbom.json).

`make lock` runs it. The document has neither a time nor a random number, so the same lock makes the same file.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.utils import canonicalize_name

HOUSE = Path(__file__).parents[1]
LOCK, DOCUMENT = HOUSE / "requirements.lock", HOUSE / "sbom.json"

PIN = re.compile(r"^([\w.-]+)(?:\[[^]]*\])?==([^\s;]+)(?: ; ([^\\\n]+))?", re.M)  # and its marker


def document() -> str:
    """Make the bill of materials of requirements.lock, as JSON."""
    about = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
    root = Component(
        name=about["name"],
        version=about["version"],
        type=ComponentType.APPLICATION,
        bom_ref=about["name"],
    )
    bom = Bom(components=_components())
    bom.metadata.component = root
    bom.dependencies.add(
        Dependency(root.bom_ref, [Dependency(part.bom_ref) for part in bom.components])
    )
    made = json.loads(JsonV1Dot6(bom).output_as_string())
    # Both are made up anew each time, and may be left out.
    del made["serialNumber"], made["metadata"]["timestamp"]
    return json.dumps(made, indent=1, sort_keys=True) + "\n"


def _components() -> Iterator[Component]:
    for name, version, marker in PIN.findall(LOCK.read_text()):
        plain = canonicalize_name(name)
        yield Component(
            name=plain,
            version=version,
            purl=PackageURL("pypi", name=plain, version=version),
            bom_ref=f"{plain}@{version}",
            # Hashes are the lock's: a package has a file for each platform.
            properties=[Property(name="keypool:marker", value=marker.strip())] if marker else [],
        )


if __name__ == "__main__":
    DOCUMENT.write_text(document())
