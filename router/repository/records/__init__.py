"""Records of the CRM: read and written, made of mail by rules, and merged into others.

records           records and their addresses, as the CRM writes them by SQL
creation          records that rules want made of emails
creation_rules    the rules for that, as far as the database keeps them
creation_lanes    which of them is made next, and when it is tried again
creation_senders  contacts and leads
creation_cases    cases
creation_asked    asks a CRM that has its records elsewhere
creation_ends     how each ends, and how the CRM is told
creation_states   which are wanted, failed, or made
merges            records that the CRM merges into others
merge_attempts    which merge is due, and when it is tried again
merge_kinds       what names a record, and is moved when it is merged into another
"""
