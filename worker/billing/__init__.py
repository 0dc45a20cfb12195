"""Billing: charges, credits, billing runs, invoices, payments, documents.

Enters: what has an amount, a tax or an invoice number. Settling writes the charges of redemptions, in its
own statement; prices come from the catalogue.
"""
