"""What the router knows and remembers, in PostgreSQL: the only package that knows SQL.

database    connections, transactions, notifications; foreign errors become ours
processes   which router processes live, and what is wrong with their parts
sources     what is read, by which process, up to where; what is still to be settled
facts       what is known of a batch of messages, in a fixed number of queries
inbox       promote: one batch, one transaction
batch       what is committed together
write_batch all that became of a batch, in one statement
outbox      claim, start, record: how an email is sent once
recovery    what processes that died had claimed
sending     whether the router may send at all
owners      whose mail is tracked, and in whose name is sent
processes   the processes that share the database, and what each of them serves
status      what an admin wants to know at a glance
migrate     the schema, from migrations/*.sql
"""
