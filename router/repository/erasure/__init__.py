"""What leaves the CRM: taken back by an owner, sealed, or erased with a person.

taken_back      emails that an owner takes back, and restores
sealed          emails that nobody wants in the CRM any more, out of its reach
erase           emails of a person that is erased
erased_headers  headers that name a person in encoded words
erased_bytes    what else has to be unpacked to find a person in it
mentions        where any column names an address
named           how an address may be written
"""
