"""Running keypool on one machine: embedded servers, and the supervisor that restarts what dies.

Enters: processes, their files and signals. Nothing here knows what the processes do.
"""
