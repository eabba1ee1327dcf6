"""What a person may ask or do: values in, values out. The command line, the API and the pages are its faces.

Whose mail is tracked, and how:
    owners       whose mail is tracked, by which rule, and which profiles serve them
    settings     settings of tracking: which value counts for whom, and choosing another
    never_track  whose mail is never tracked
    creation_rules  rules for records from mail, of the database and of profiles
    simulate     what other rules would have made of an owner's mail
    simulations  such trials that pages and programs begin, and look at until they are done
    explain      what is read of messages, and what would become of them

Mail that came:
    unresolved   senders who wait for a person to say who they are, and rulings on them
    rulings      those that were made, listed and undone later
    mail_content  HTML, pictures, attachments and source of an email, as pages show them
    why          why mail is in the CRM or is not, for a page
    letters      dead and held copies, which a person looks at, has decided on again, or drops
    take_back    mail that an owner takes back, and restores
    split        emails that are split off their threads
    original     the raw bytes of a received email
    audit        whether every message that the mail servers hold is accounted for
    backfill     bringing in the past of mailboxes
    erase        removing what the database holds of a person

Records of the CRM:
    crm_records  found, made and changed, with their addresses, by a client of the API
    records      one is merged into another

Mail that leaves:
    outbox       what waits, failed or is unknown, and ruling on it
    sending      whether the router sends: stopped and started for all processes
    templates    templates of answers, and what one makes of an email

Profiles and their logins:
    check        what the profile folder holds, or all that is wrong with it
    probe        connects for real, and says what works
    served       which profiles are served, as the running processes say
    logins       logs a person in for a profile at an OAuth2 provider
    tokens       the access tokens of all profiles: which work, and what ends when

How the router does:
    overview     whether all is well, in one sentence, and the last day in numbers
    sources      mailboxes and other sources, page by page
    status       what runs, what waits, what became of the mail, and what is wrong
    ready        whether this process can do its work now, and numbers for metrics
    schema       the schema of the database, brought to the version of this program

Programs that use the API:
    emails       emails as a client posts, reads, cancels and releases them
    events       following what happens
    webhooks     subscribers who are told of events
    staff_tokens  tokens of the API: made, listed, ended, recognized

People who use the console:
    people       who they are: added, granted, disabled, given a one-time link
    sign_in      signing in, sessions, and what bars those who guess
    passwords    what a password must be, and its hash
    passkeys     passkeys of people: added, removed, signed in with
    authenticators  what is asked of authenticators, and whether their answers are good
    provider     signing in by the organization's provider: whose account is meant
    audit_log    who did what, when, and about which email

What faces and operations stand on:
    backing      what the API works with: the database, once it is open, and the profiles that are served
    words        how numbers of things, and moments, are put

Three are packages: `doctor` (all checks at once), `queue` (unresolved senders as pages work with them) and `trace`
(where a message is that somebody asks for).
"""
