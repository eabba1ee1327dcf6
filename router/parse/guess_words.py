"""Words by which `guess` tells people, companies and roles apart, in the languages of much mail."""

from typing import Final

from router.html.markup import words

ROLES: Final = words(
    "abuse accounts admin alerts anfrage anfragen announcements billing booking bookings buchhaltung buero büro "
    "career careers contact contacto contato customer customerservice department desk einkauf enquiries enquiry "
    "feedback finance form hallo hello help helpdesk hi hola hr info infos information inquiry invoice invoices "
    "jobs kontakt kundenservice legal mail mailer marketing news newsletter notification notifications noreply "
    "no-reply office order orders orderdesk post postmaster presse press privacy rechnung reception reply "
    "reservations sales secretary sekretariat service shop staff support team ventas verkauf vertrieb webmaster web "
    "welcome zentrale"
)
"""What stands before the @ where no single person does."""

FORMS: Final = words(
    "ab ag as aps asa bv bvba co corp corporation company cv doo dd ead eood eg eirl ek ev ei eurl gbr gesmbh "
    "ggmbh gmbh holding inc incorporated kft kg kgaa kk lda limited limitada llc llp lp ltd ltda mbh nv nyrt ohg ood "
    "oy oyj oü pbc plc pllc pte pty pvt sa sab sae sapa sarl sas sasu sca scs se sia sicav sl slu snc spa spzoo "
    "spk sprl srl sro ug uab vof vzw zrt ооо оао зао пао ао ип тов ент аe επε"
)
"""Legal forms, without their points, as the last word of a company's name."""

KINDS: Final = words(
    "associates bank bakery café consulting engineering foundation group gruppe hotel hospital institute institut "
    "kanzlei logistics museum partners school solutions stiftung studio technologies tours travel universidad "
    "università universität université university verein verlag werke"
)
"""Words that are in names of companies, and not in those of people."""

TITLES: Final = words("mr mrs ms miss mx sir madam herr frau hr fr mme mlle monsieur madame sig sr sra srta señor")
"""What stands before a name, and is not part of it."""

SUFFIXES: Final = words("jr sr ii iii iv md phd mba msc bsc esq cpa dds dvm rn pe mag ma ba dipl")
"""What stands after a name, without its points."""

PARTICLES: Final = words(
    "van von der den de del della di da dos das do la le el al bin bint ibn ben zu zur zum ter ten y e af av"
)
"""What is in the midst of a name, in lower case."""

SECOND_LEVEL: Final = words("ac co com edu gob gov gouv go mil ne net nom or org ltd plc me")
"""Labels of domains above which companies have theirs, as in .co.uk."""

FORMS_BEFORE: Final = words("ооо оао зао пао ао тов")
"""Legal forms that are the first word of a company's name."""
