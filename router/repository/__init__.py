"""What the router knows and remembers, in PostgreSQL: the only package that knows SQL.

The way in:
    registry     which row is which source, whatever its profile is called
    sources      what is read, by which process, up to where
    accounts     in which account a source's cursor means something
    facts        what is known of a batch of messages, in a fixed number of queries
    decided_before  what messages of the batch became before
    thread_load  how many automatic emails a thread has of late
    matching     what may be answered beside what Message-IDs and our tokens name
    batch        what is committed together
    inbox        promote: one batch, one transaction
    write_batch  all that became of a batch, in one statement
    write_emails  of its emails: parties, attachments, and what they are known by
    write_decisions  of what was decided on its copies, and what is kept of them
    write_receipts  of who received its emails, and what follows from that
    attachments  attachments, and each content once
    waiting      answers that came before the email that they answer
    again        copies that are decided once more
    letters      dead and held copies, which wait for a person
    mail_content  what a person may see of what an email says: HTML, attachments
    received     where the copies of an email lay, and by what it is known to be the same
    rulings      who a sender is, as persons ruled
    ruling_walks  brings the mail that waits into line with that, a piece at a time
    ruling_pieces  one such piece: locked, and given what is in force
    merge_kinds  what names a record, and is moved when it is merged into another
    merges       records that the CRM merges into others
    unresolved   senders who wait for a person to say who they are
    creation     records that rules want made of emails
    creation_lanes  which of them is made next, and when it is tried again
    creation_senders  contacts and leads
    creation_cases  cases
    creation_asked  asks a CRM that has its records elsewhere
    creation_ends  how each ends, and how the CRM is told
    creation_states  which are wanted, failed, or made
    creation_rules  the rules for that, as far as the database keeps them
    settle       what is still to be settled on the mail server
    audit        what is known of the messages that lie on a server, and what the last audits found
    backfill     what is known of the past of a mailbox, and how far it was brought in
    reports      what bounces and delays say, written onto the email that they are about
    bounced      emails of which every recipient bounced later
    address_states  addresses to which email bounced
    splits       emails that a person splits off their threads
    taken_back   emails that an owner takes back, and restores
    sealed       emails that nobody wants in the CRM any more, out of its reach
    erase        emails of a person that is erased
    erased_headers  headers that name a person in encoded words
    erased_bytes  what else has to be unpacked to find a person in it
    mentions     where any column names an address
    named        how an address may be written
    owners       whose mail is tracked, and in whose name is sent
    choices      what the organization and owners have chosen, and who chose it
    never_track  whose mail is never tracked

The way out:
    routes       which outgoing profile carries what an owner sends
    claim        what a relay takes that its free connections can start now
    outgoing     what a claimed email says
    answer_lanes  which emails wait for an acknowledgement, and which is begun next
    answers      acknowledgements as they are written: the answer as an ordinary email
    template_proofs  whether something was made of a template, as its texts are
    templates    templates of answers, as a person looks at them
    template_values  what a template is given of an email
    outbox       start, record: how an email is sent once
    outbox_entries  what is not sent yet, as a person looks at it and rules on it
    message_ids  by which Message-IDs an email is found
    unrecorded   outcomes that crm.email refuses to be told
    recovery     what processes that died had claimed
    relays       the state of the relays, which all processes share
    sent_copies  copies of what was sent, for the owners' Sent folders
    sending      whether the router may send at all
    queue        what waits in the outbox, by cause

The console:
    people       who may use it: accounts, grants, one-time links
    sessions     who is signed in, in which browsers, and who tried with wrong passwords
    audit_log    who did what, when, and about which email

Logging in:
    tokens       access tokens of OAuth2, and who asks for new ones
    kept_tokens  what is kept of them, as a person looks at it

The process:
    processes    the processes that share the database, what each of them serves, and what is wrong with their parts
    heartbeat    that this process lives, said over a connection of its own
    upkeep       what the database needs from time to time
    retention    what grows, pruned in small pieces
    migrate      the schema, brought to the version of this program
    schema       which migrations there are, and which the database has had

Read for people:
    posted       emails that came by the API
    events       what happened, in its order
    staff_tokens  tokens of the API, by their hashes
    status       what an admin wants to know at a glance
    samples      how much mail there had been, every quarter of an hour
    history      what became of mail
    origin       who decided that an email is in the CRM
    trace        emails by what a person knows of them, with all that became of each
    trial        whether a copy gets in
    webhooks     who is told of events by HTTP, and how far each has come
    unseen       what is known of mail that is no email
    server       the database server itself

What the others stand on:
    database     connections, transactions, notifications
    connect      which host of a URL is used, and how it is opened
    faults       foreign errors become ours
    halves       many things written together, without those that are refused
    round_trip   several reads or writes in one round trip
    jsonb        values as JSON

The queue of unresolved senders, as people work through it, is a package of its own: `router.repository.senders`.
"""
