"""sbom.json: a CycloneDX document of exactly what requirements.lock pins."""

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from tests import sbom
from tests.test_house import pins

WRITTEN = sbom.DOCUMENT.read_text()


def test_the_bill_of_materials_is_the_one_that_make_lock_writes():
    assert sbom.document() == WRITTEN, "run make lock, or python -m tests.sbom"


def test_it_lists_what_the_lock_pins_and_nothing_else():
    listed = {
        (url.name, url.version)
        for part in json.loads(WRITTEN)["components"]
        if (url := PackageURL.from_string(part["purl"]))
    }

    assert listed == {(name, str(version)) for name, at in pins().items() for version in at}


def test_every_component_is_one_that_keypool_depends_on():
    document = json.loads(WRITTEN)

    (root,) = (about for about in document["dependencies"] if about["ref"] == "keypool")

    assert set(root["dependsOn"]) == {part["bom-ref"] for part in document["components"]}


def test_it_is_a_valid_cyclonedx_document():
    pytest.importorskip("jsonschema")

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(WRITTEN) is None
