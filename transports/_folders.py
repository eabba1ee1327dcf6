"""Which of a mailbox's folders are read, and what a folder is for by its usual name."""

from collections.abc import Iterable, Sequence

from transports.base import After, Folder, FolderUse


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split(", "))


_WELL_KNOWN: dict[FolderUse, frozenset[str]] = {
    "sent": _names(
        "sent, sent items, sent messages, sent mail, gesendet, gesendete elemente, gesendete objekte, envoyés, "
        "messages envoyés, éléments envoyés, enviados, elementos enviados, mensajes enviados, itens enviados, inviata, "
        "posta inviata, verzonden, verzonden items, skickat, sendt, wysłane, elementy wysłane"
    ),
    "junk": _names(
        "junk, junk email, junk e-mail, junk mail, junk-e-mail, spam, bulk mail, spamverdacht, courrier indésirable, "
        "correo no deseado, posta indesiderata, lixo eletrônico, ongewenste e-mail, skräppost, wiadomości-śmieci"
    ),
    "trash": _names(
        "trash, deleted, deleted items, deleted messages, papierkorb, gelöscht, gelöschte elemente, gelöschte objekte, "
        "corbeille, éléments supprimés, papelera, elementos eliminados, cestino, posta eliminata, lixeira, "
        "itens excluídos, prullenbak, verwijderde items, papperskorgen, kosz, elementy usunięte"
    ),
    "drafts": _names(
        "drafts, draft, entwürfe, brouillons, borradores, bozze, rascunhos, concepten, utkast, kopie robocze, szkice"
    ),
    "archive": _names("archive, archives, archiv"),
}
_LEFT_OUT = frozenset(["junk", "trash", "drafts", "all"])


def usual_use(name: str) -> FolderUse:
    """Tell what a folder of this name, without those it lies in, is for."""
    return next((use for use, names in _WELL_KNOWN.items() if name.casefold() in names), "")


def wanted_folders(there: Sequence[Folder], names: Iterable[str], after: After, *, sent: bool) -> Sequence[Folder]:
    """Return those that the settings ask for. One that is named is among them even if it is not there.

    Where mail is moved `after` it was promoted, all of it is known: "*" leaves that folder out.
    """
    by_name = {folder.name: folder for folder in there}
    wanted: dict[str, Folder] = {}
    for name in names:
        if name == "*":
            wanted |= {
                folder.name: folder
                for folder in there
                if folder.use not in _LEFT_OUT and not after.moves_to(folder.name)
            }
        else:
            named = "INBOX" if name.upper() == "INBOX" else name
            wanted[named] = by_name.get(named, Folder(named, "inbox" if named == "INBOX" else ""))
    if sent:
        wanted |= {folder.name: folder for folder in there if folder.use == "sent"}
    return sorted(wanted.values(), key=lambda folder: folder.use != "inbox")
