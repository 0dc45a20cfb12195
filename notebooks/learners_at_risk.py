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
# Whose access is half gone, and who has launched nothing?

# %% tags=["parameters"]
organization = None  # a name or id, with its descendants; None: all in sight
from_ = None  # a day such as "2026-01-01"; None: a year before the last day
to = None  # the last day, included; None: today

# %%
from worker import reporting

question = reporting.ask(organization=organization, from_=from_, to=to)
question

# %%
reporting.risk_changed(question)

# %% [markdown]
# ## How many are there?

# %%
reporting.risk_totals(question)

# %% [markdown]
# As things stood at the end of the period, or stand now if it is not over. *At risk*: nothing launched, and at
# least half of the access gone.

# %% [markdown]
# ## In which courses do such learners start most seldom?

# %%
reporting.risk_by_course(question)

# %% [markdown]
# *Still started share* is of the *earlier learners*: those whose access ended in the year before, and who had
# launched nothing when half of it was gone. A course with fewer than 30 of them is given those of all courses;
# where these are fewer than 30 too, there is no share.

# %% [markdown]
# ## Who are they?

# %%
reporting.learners_at_risk(question)

# %% [markdown]
# Those who are least likely to start come first: the share is of earlier learners who had launched nothing at
# the same point of their access (*gone share*). Write to them, or extend their access: *assignment* leads to
# its page in the console.
