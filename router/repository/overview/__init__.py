"""How everything is, as an admin asks for it.

status   what an admin wants to know at a glance
samples  how much mail there had been, every quarter of an hour
server   the database server itself
"""
