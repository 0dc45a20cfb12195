"""Factur-X: a PDF/A-3 that people read, with the XML inside that their systems read."""

from datetime import datetime

from facturx.facturx import generate_xmp_object
from fpdf import FPDF
from lxml import etree

COMPLIANCE = "PDF/A-3B"
NAME = "factur-x.xml"  # what the standard calls it
MADE_WITH = "keypool"
STANDARD = {
    "pdfa3_flavor": "B",
    "urn": "urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#",
    "documenttype": "INVOICE",  # of credit notes, too
    "xml_filename": NAME,
    "version": "1.0",
    "xmp_level": "EN 16931",
}


def carry(paper: FPDF, xml: bytes, *, title: str, author: str, made_at: datetime) -> None:
    """Put an invoice's XML into its PDF, and say in the PDF's metadata what it is.

    The paper keeps to COMPLIANCE; title, author and time are those of the paper.
    """
    paper.embed_file(
        bytes=xml,
        basename=NAME,
        mime_type="text/xml",
        associated_file_relationship="Alternative",
        desc="Factur-X invoice",
        creation_date=made_at,
        modification_date=made_at,
        compress=True,
    )
    paper.set_subject(title)
    paper.set_creator(MADE_WITH)
    paper.set_producer(MADE_WITH)
    metadata = {
        "title": title,
        "subject": title,
        "author": author,
        "producer": MADE_WITH,
        "creator_tool": MADE_WITH,
        "timestamp": made_at.isoformat(timespec="seconds"),
    }
    paper.set_xmp_metadata(etree.tostring(generate_xmp_object(STANDARD | metadata)).decode())
