"""The people of the console: who may use it, what they may see, and what they did.

people        who may use it: accounts, grants, one-time links
identities    whom the provider that signs people in means by its own id of a person
passkeys      passkeys of people, and challenges that wait to be signed
sessions      who is signed in, in which browsers, and who tried with wrong passwords
audit_log     who did what, when, and about which email
mail_content  what a person may see of what an email says: HTML, attachments
"""
