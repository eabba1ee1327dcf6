"""The way in: from a mail server, or a listener of ours, to decided copies in the database.

mailboxes ─▶ follow (one connection) ─▶ reader (one folder: list, fetch, promote, settle)
                            listener (what is handed to us) ─▶ read, forward ─▶ promote
rounds ─▶ audit (what the server really holds, compared with what is known, by a connection that only fetches)
original (the bytes of a received email, from where it lies, by a connection that only fetches)
replay (dead and held mail that a person has decided on again: read anew, by a connection that only fetches)
"""
