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
# # Redemptions
#
# Who redeems training keys, when, and what keeps others from it?

# %% tags=["parameters"]
organization = None  # a name or id, with its descendants; None: all in sight
from_ = None  # a day such as "2026-01-01"; None: a year before the last day
to = None  # the last day, included; None: today

# %%
from worker import reporting

question = reporting.ask(organization=organization, from_=from_, to=to)
question

# %%
reporting.redemptions_changed(question)

# %% [markdown]
# ## What came of the attempts?

# %%
reporting.redemption_totals(question)

# %% [markdown]
# An attempt is one request to redeem a key. *Redeemed* spent a key; *repeated* asked again for
# what the learner had got already, and got it; *refused* got nothing and spent nothing.

# %% [markdown]
# ## How far do keys get?

# %%
reporting.draw_funnel(question)

# %%
reporting.funnels_end(question)

# %% [markdown]
# Of the keys *made* in the period, until now: those that were *handed out* (distributed, or redeemed without
# that), *redeemed*, *launched* and *completed*. Each bar is a part of the one above it.

# %% [markdown]
# ## How many keys are redeemed each day?

# %%
reporting.draw_redemptions_per_day(question)

# %% [markdown]
# Each bar is a day, the line the mean of the seven days up to it: weekends go out of it, so a line
# that falls is demand that falls.

# %% [markdown]
# ## Why were attempts refused?

# %%
reporting.draw_refusals(question)

# %%
reporting.attempts_by_outcome(question)

# %% [markdown]
# *Mistyped* and *unknown* keys are a matter of how codes reach learners; *pool expired*, *paused*
# and *not started* of the pools' windows; *already redeemed* of keys that went to several people.

# %% [markdown]
# ## Which pools do the keys come from?

# %%
reporting.redemptions_by_pool(question)

# %% [markdown]
# Pools with the most redeemed keys come first. A high share of refusals says that a pool's keys
# went out too early, too late or to the wrong people.

# %% [markdown]
# ## Which courses are asked for?

# %%
reporting.draw_redemptions_by_course(question)

# %%
reporting.redemptions_by_course(question)

# %% [markdown]
# Attempts with a key that nobody has are in no pool, so in no course either: these tables leave
# them out.

# %% [markdown]
# ## Whose pools are they?

# %%
reporting.redemptions_by_organization(question)

# %% [markdown]
# By the pools' owners, also where the learner is in an organization below.

# %% [markdown]
# ## Which labels do they carry?

# %%
reporting.redemptions_by_label(question)

# %% [markdown]
# Attempts with a key that carries the label; one with two labels counts under both. Keys without labels
# are left out, so these rows do not add up to all attempts.

# %% [markdown]
# ## How soon is a key redeemed once somebody has it?

# %%
reporting.draw_waits_since_distribution(question)

# %%
reporting.waits_in_steps(question)

# %% [markdown]
# Keys distributed in the period. Those that are not redeemed yet count for as long as they have been
# out, recalled and retired ones until then; those whose pool ended can be redeemed no more and stay in the
# shares (Aalen and Johansen's estimate). The band is of 95 %. *Still out* says how many keys the estimate
# rests on from there.

# %% [markdown]
# ## How long will the keys last?

# %%
reporting.draw_run_out(question)

# %% [markdown]
# Of active pools that may run out before they end: the mark is when, at the pace of the last four weeks,
# the bar the span of eight of ten cases. The notebook *pools* has the table.

# %% [markdown]
# ## How long do keys wait to be redeemed?

# %%
reporting.waits_in_short(question)

# %%
reporting.draw_days_until_redeemed(question)

# %% [markdown]
# Counted from a key's creation, for keys redeemed in this period. Keys nobody redeemed yet do not
# count, so for a young pool the real waits are longer than these.
