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
# # Pools
#
# Which pools run out, which expire, and which keys are lost?

# %% tags=["parameters"]
organization = None  # a name or id, with its descendants; None: all in sight
from_ = None  # a day such as "2026-01-01"; None: a year before the last day
to = None  # the last day, included; None: today

# %%
from worker import reporting

question = reporting.ask(organization=organization, from_=from_, to=to)
question

# %%
reporting.pools_changed(question)

# %% [markdown]
# ## What moved?

# %%
reporting.stock_moved(question)

# %% [markdown]
# Keys *created* in the period, *distributed* in it, and *redeemed* in it, whenever each was made.

# %% [markdown]
# ## How many keys are there?

# %%
reporting.stock_totals(question)

# %% [markdown]
# As of now, whatever the period. *Issued* keys can be redeemed, *undistributed* ones are in nobody's
# hands, *breakage* is issued and too late to be redeemed.

# %% [markdown]
# ## Which pools run out first?

# %%
reporting.draw_run_out(question)

# %%
reporting.pools_by_run_out(question)

# %% [markdown]
# The pace (*redeemed a day*) is of whole days of the last 28 on which the pool was open and not paused. It
# goes on at that pace until its keys, or its days, are over. In eight of ten cases the end is in the *likely*
# span (the bar; a hollow mark is a pool that ends with keys unspent).

# %% [markdown]
# ### How good were such forecasts?

# %%
reporting.run_out_back_test(question)

# %% [markdown]
# The same forecasts, made every four weeks of the period for stock of two, four and eight weeks, and compared
# with what came: *held share* of the truths were in the likely span. On simulated history it is 80 %: a
# share far below that says that these pools jump more than most, and their spans are too narrow.

# %% [markdown]
# ## Which pools expire soon?

# %%
reporting.expiring_pools(question)

# %% [markdown]
# Within 30 days. Their issued keys stop working then, unless the pool is given a later end.

# %% [markdown]
# ## Which pools were unusual?

# %%
reporting.unusual_pools(question)

# %% [markdown]
# Each against its own past, the up to 28 days before. *Sudden pace*: at least 20 keys redeemed in 24 hours,
# over three times as many as usual and more than on any of those days. *Strangers*: at least 10 keys
# redeemed by somebody else than the address that they were distributed to, a share over 20 points above the
# usual one. *Shared keys*: at least 5 people who tried a key that somebody else had redeemed, over three
# times as many as usual and more than on any of those days. Either may be a leak: look at the pool's page,
# and pause it if it is one.

# %% [markdown]
# ## Which labels do the keys carry?

# %%
reporting.keys_by_label(question)

# %% [markdown]
# As of now. A key counts under each of its labels; keys without labels are left out.

# %% [markdown]
# ## Which keys were lost?

# %%
reporting.breakage(question)

# %% [markdown]
# Keys of pools that are over, that nobody redeemed. They were never charged.
