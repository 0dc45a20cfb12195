"""An invoice's taxes and payments as public objects, read in SQL beside a row `invoice`."""

from typing_extensions import TypedDict

from worker.database.lookup import Id
from worker.days import Day
from worker.money import Amount, Percent
from worker.tenancy.taxes import Category


class PaymentShape(TypedDict):
    """Money received for an invoice; negative for a refund."""

    id: Id
    """The payment's id."""
    on: Day
    """The day, in the seller's time zone."""
    amount: Amount
    """How much."""
    reference: str
    """Its reference, such as the bank's."""


class TaxShape(TypedDict):
    """What of an invoice is taxed at one rate."""

    label: str
    """What the tax is called."""
    percent: Percent
    """The rate."""
    category: Category
    """Its code of EN 16931."""
    exemption: str | None
    """Why no tax is due, where that has to be said."""
    subtotal: Amount
    """The sum of the lines at that rate."""
    tax: Amount
    """The tax on it, rounded once."""


# The payments that were not taken back, as public objects.
PAYMENTS = """(
    SELECT coalesce(jsonb_agg(jsonb_build_object(
               'id', payment.id::text, 'on', paid_on,
               'amount', round(payment.amount, currency.minor_unit)::text, 'reference', reference)
               ORDER BY paid_on, payment.id), '[]')
      FROM payment WHERE payment.invoice_id = invoice.id AND taken_back_at IS NULL)"""

# The taxes by rate, highest first; what has no rate is taxed at none.
TAXES = """(
    SELECT coalesce(jsonb_agg(jsonb_build_object(
               'label', coalesce(label, 'Tax'),
               'percent', trim_scale(coalesce(percent, 0))::text,
               'category', coalesce(category, 'Z'), 'exemption', nullif(exemption, ''),
               'subtotal', round(taxed.subtotal, currency.minor_unit)::text,
               'tax', round(taxed.tax, currency.minor_unit)::text)
               ORDER BY percent DESC NULLS LAST, label, category, tax_rate.id), '[]')
      FROM (SELECT tax_rate_id, sum(invoice_tax.subtotal) AS subtotal, sum(invoice_tax.tax) AS tax
              FROM invoice_tax WHERE invoice_tax.invoice_id = invoice.id GROUP BY tax_rate_id) AS taxed
      LEFT JOIN tax_rate ON tax_rate.id = tax_rate_id)"""
