"""The audit: proves on the live database that nothing was lost or doubled.

What belongs here: the ledger's rules, each as SQL over a slice of rows, and the run that works them slice by
slice. It changes nothing but its own progress; a rule that a constraint can keep belongs in schema.sql.
"""
