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
# # Learners at risk
#
# Who has access that ends soon, and has not begun?

# %% tags=["parameters"]
organization = None  # a name or id, with its descendants; None: all in sight
from_ = None  # a day such as "2026-01-01"; None: a year before the last day
to = None  # the last day, included; None: today

# %%
from worker import reporting

question = reporting.ask(organization=organization, from_=from_, to=to)
question

# %% [markdown]
# ## How many are there?

# %%
reporting.risk_totals(question)

# %% [markdown]
# As of now, whatever the period. *At risk*: nothing launched, and access ends within 30 days.

# %% [markdown]
# ## Who are they?

# %%
reporting.learners_at_risk(question)

# %% [markdown]
# The soonest comes first. Write to them, or extend their access.
