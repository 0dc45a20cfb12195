# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
#     formats: ipynb,py:percent
#     notebook_metadata_filter: kernelspec,jupytext,-all
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Billing
#
# What was earned, what of it was invoiced, and do the books agree?

# %% tags=["parameters"]
organization = None  # a name or id, with its descendants; None: all in sight
from_ = None  # a day such as "2026-01-01"; None: a year before the last day
to = None  # the last day, included; None: today

# %%
from worker import reporting

question = reporting.ask(organization=organization, from_=from_, to=to)
question

# %%
reporting.revenue_changed(question)

# %% [markdown]
# ## Do the books agree?

# %%
reporting.verdict(question)

# %%
reporting.reconciliation(question)

# %% [markdown]
# Each row compares two sums that come from different tables: of what occurred in the period, or of
# the invoices of its months. The difference is zero where they agree. The daily audit compares all
# of the ledger.

# %% [markdown]
# ## What was earned?

# %%
reporting.revenue_compared(question)

# %%
reporting.revenue_totals(question)

# %% [markdown]
# *Revenue* is what was charged less what was credited, by the months in which it occurred.
# *Invoiced* is on an invoice, drafts too; *unbilled* is on none yet.

# %% [markdown]
# ## How does it grow?

# %%
reporting.draw_revenue_by_month(question)

# %%
reporting.revenue_by_month(question)

# %% [markdown]
# A month that is not over is unbilled; an older one that stays so should be looked into.

# %% [markdown]
# ## What do courses bring in?

# %%
reporting.revenue_by_course(question)

# %% [markdown]
# Currencies are never added up: a course sold in two has two rows.

# %% [markdown]
# ## Who owes it?

# %%
reporting.revenue_by_organization(question)

# %% [markdown]
# By the pools' owners, who pay, also where the learner is in an organization below.

# %% [markdown]
# ## What has been paid?

# %%
reporting.invoices_by_status(question)

# %% [markdown]
# Invoices of the period's months. *Overdue* is finalized, unpaid and past its due day, and counted
# there alone.

# %% [markdown]
# ## What is outstanding, and since when?

# %%
reporting.outstanding(question)

# %%
reporting.outstanding_by_organization(question)

# %% [markdown]
# What was open at the end of the period's last day, tax included, by how many days it was overdue then;
# what was paid, credited or voided later does not change it. *Credit* is what stands to a buyer's credit.

# %% [markdown]
# ## How soon do customers pay?

# %%
reporting.days_to_pay(question)

# %% [markdown]
# Invoices that were wholly paid in the period, from the day of issue. *Late share* is the part of them
# that was paid after the due day.

# %% [markdown]
# ## Which keys were given away and never redeemed?

# %%
reporting.breakage_value(question)

# %%
reporting.breakage_by_pool(question)

# %% [markdown]
# Keys that were handed out and can no longer be redeemed, of pools that ended in the period, at the price
# in force for their owner today. keypool charges redemptions alone: this is what a redemption of each
# would have come to.

# %% [markdown]
# ## What is charged, but not earned yet?

# %%
reporting.deferred_revenue(question)

# %% [markdown]
# A charge is earned in equal parts over the days of the access that it paid for; the last day takes the
# rest, so each charge is earned to the minor unit. The months go on until all charges of the period are
# earned. *Deferred* is what is left to earn at the month's end. Without tax.

# %%
reporting.deferral_journal(question)

# %% [markdown]
# The same as postings for bookkeeping, on each month's last day: debits equal credits. Accounts are named
# in words here; `keypool reports deferred --journal` writes the seller's own.
