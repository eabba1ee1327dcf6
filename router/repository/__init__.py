"""What the router knows and remembers, in PostgreSQL: the only package that knows SQL.

By subject, each in a folder of its own:
    incoming/    mail that comes in: what is read, up to where, and what became of each copy
    bounces/     what mail systems report on the email that was sent
    outgoing/    email that is to be sent: who carries it, that it is sent once, and what became of it
    answers/     acknowledgements, and the templates that they are made of
    records/     records of the CRM: made of mail by rules, and merged into others
    rulings/     what persons ruled on senders and threads, and the mail that is brought into line with it
    senders/     the queue of unresolved senders, as people work through it
    erasure/     what leaves the CRM: taken back by an owner, or erased with a person
    owners/      whose mail is tracked, and what they and the organization have chosen
    people/      the people of the console: who may use it, what they may see, and what they did
    trace/       what became of mail, as a person asks for it
    overview/    how everything is, as an admin asks for it
    api/         what programs read and write: emails, events, webhooks
    oauth2/      the tokens of OAuth2
    migrations/  the schema

The process:
    processes    the processes that share the database, what each of them serves, and what is wrong with their parts
    heartbeat    that this process lives, said over a connection of its own
    clock        the database's clock, where it was set back
    upkeep       what the database needs from time to time
    retention    what grows, pruned in small pieces
    migrate      the schema, brought to the version of this program
    schema       which migrations there are, and which the database has had

What the others stand on:
    database     connections, transactions, notifications
    connect      which host of a URL is used, and how it is opened
    faults       foreign errors become ours
    halves       many things written together, without those that are refused
    round_trip   several reads or writes in one round trip
    jsonb        values as JSON
"""
