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
# # Usage
#
# How is the training taken, once a key is redeemed?

# %% tags=["parameters"]
organization = None  # a name or id, with its descendants; None: all in sight
from_ = None  # a day such as "2026-01-01"; None: a year before the last day
to = None  # the last day, included; None: today

# %%
from worker import reporting

question = reporting.ask(organization=organization, from_=from_, to=to)
question

# %%
reporting.launches_changed(question)

# %% [markdown]
# ## How much is the training taken?

# %%
reporting.usage_totals(question)

# %% [markdown]
# Launches of the period, whoever redeemed when. *Hours* and *completed* are of launches that have
# ended; *completed share* is of those.

# %% [markdown]
# ## How often, day by day?

# %%
reporting.draw_launches_per_day(question)

# %% [markdown]
# Each bar is a day, the line the mean of the seven days up to it.

# %% [markdown]
# ## How soon do learners begin?

# %%
reporting.draw_first_launches(question)

# %%
reporting.first_launches(question)

# %% [markdown]
# Of assignments redeemed in the period. *Not yet* can still begin; *never* has ended without a launch.

# %% [markdown]
# ## How often does one learner take it?

# %%
reporting.launches_per_assignment(question)

# %% [markdown]
# Of assignments redeemed in the period: more than once means that the training was taken again.

# %% [markdown]
# ## How long do learners stay with it?

# %%
reporting.draw_cohorts(question)

# %% [markdown]
# A row is a month of redemptions, a column a week since. A row that stays dark to the right is a
# month whose learners keep coming back. Each share is of those whose access lasts through that week. Weeks
# that are not over for the whole month are left out.

# %% [markdown]
# ## Where does access end unused?

# %%
reporting.unused_assignments(question)

# %% [markdown]
# Assignments redeemed in the period whose access has ended, by course, and how many of them were
# never launched.

# %% [markdown]
# ## Is it used by those who carry a label?

# %%
reporting.usage_by_label(question)

# %% [markdown]
# Assignments redeemed in the period, by the labels of their keys: how many were launched at all, and how
# many completed. A key with two labels counts under both.

# %% [markdown]
# ## When is it busy?

# %%
reporting.draw_busiest_hours(question)

# %% [markdown]
# By the clock of each learner's organization: when help should be at hand, and when it need not.
