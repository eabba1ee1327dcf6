"""What became of mail, as a person asks for it.

trace     emails by what a person knows of them, with all that became of each
history   what became of mail
origin    who decided that an email is in the CRM
received  where the copies of an email lay, and by what it is known to be the same
unseen    what is known of mail that is no email
"""
