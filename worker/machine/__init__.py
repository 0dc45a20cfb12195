"""What runs keypool on one machine: embedded servers and the supervisor.

Enters: processes, their files and signals. Nothing here knows what the processes do.
"""
