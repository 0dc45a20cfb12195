"""What a redemption costs and how it is invoiced: charges, runs, invoices, payments, documents.

Enters: what has an amount, a tax or a number on paper. Charges are written by settling, in its own
statement; the amounts and prices come from the catalogue.
"""
