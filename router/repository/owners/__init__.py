"""The users and queues whose mail is tracked, and what they and the organization have chosen.

owners       whose mail is tracked, and in whose name is sent
choices      what the organization and owners have chosen, and who chose it
never_track  whose mail is never tracked
simulations  what another tracking rule would have made of an owner's mail
"""
