"""The queue of unresolved senders as people work through it.

fold      brings its tables into line with what mail, rulings and the CRM have changed
pages     who waits, by domain and by sender, a page at a time
totals    how many wait, in all and for each owner, for how long, and why
search    the emails that wait, by their words; records of the CRM, as a name is typed
mail      one email, and what is around it
held      mail that is held back, and why
ruled     what a ruling would touch, and records that are made together with one
care      who takes care of a sender, who is put off, and who looks at whom
seen      whose mail a person may see
bound     connections whose queries go by indexes, whatever PostgreSQL believes
"""
