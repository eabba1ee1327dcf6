"""Which of a mailbox's folders are read, and what a folder is for by its usual name."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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
# What Exchange and Outlook keep beside mail, and show by IMAP as folders of mail.
_BESIDE_MAIL = {
    "calendar": _names("calendar, kalender, calendrier, calendario, calendário, agenda, kalendarz"),
    "contacts": _names("contacts, kontakte, contactos, contatti, contatos, contactpersonen, kontakter, kontakty"),
    "tasks": _names("tasks, aufgaben, tâches, tareas, attività, tarefas, taken, uppgifter, opgaver, oppgaver, zadania"),
    "notes": _names("notes, notizen, notas, note, notities, anteckningar, noter, notater, notatki"),
    "journal": _names("journal, diario, diário, logboek, dagbok, kladde, dziennik"),
    "outbox": _names(
        "outbox, postausgang, boîte d'envoi, bandeja de salida, posta in uscita, caixa de saída, "
        "postvak uit, utkorg, udbakke, utboks, skrzynka nadawcza"
    ),
    "sync issues": _names(
        "sync issues, synchronisierungsprobleme, problèmes de synchronisation, problemas de sincronización, "
        "problemi di sincronizzazione, problemas de sincronização, synchronisatieproblemen, synkroniseringsproblem, "
        "synkroniseringsproblemer, problemy z synchronizacją"
    ),
    "conversation history": _names(
        "conversation history, aufgezeichnete unterhaltungen, historique des conversations, "
        "historial de conversaciones, cronologia conversazioni, histórico de conversas, gespreksgeschiedenis, "
        "konversationshistorik, historia konwersacji"
    ),
    "feeds": _names("rss feeds, rss subscriptions, rss-feeds, rss-abonnements, flux rss, fuentes rss, feed rss"),
    "suggested contacts": _names("suggested contacts, vorgeschlagene kontakte, contacts suggérés"),
    "conversation actions": _names("conversation action settings, quick step settings"),
}
_ENOUGH = 3
"""How many of these there are at least where they are Exchange's. A person may keep mail in "Notes"."""

_LEFT_OUT = frozenset[FolderUse](["junk", "trash", "drafts", "all", "other"])
_WITH_LABELS = frozenset[FolderUse](["inbox", "sent", "all"])
_HANDED_DOWN = frozenset[FolderUse](["sent", "junk", "trash", "drafts", "other"])


@dataclass(frozen=True, slots=True)
class Found:
    """A folder by its name, the parts of its name from the outermost, and its use where the server tells one."""

    name: str
    parts: tuple[str, ...]
    told: FolderUse = ""


def with_uses(found: Sequence[Found]) -> Sequence[Folder]:
    """Tell what each folder is for: what the server says, else what its usual name says, else what it lies in."""
    told = {folder.told for folder in found}
    beside = _beside_mail(found)
    uses: dict[tuple[str, ...], FolderUse] = {}
    for folder in found:
        usual = "other" if _top(folder.parts) in beside and _is_top(folder.parts) else _usual_use(folder.parts[-1])
        uses[folder.parts] = folder.told or (usual if usual == "other" or usual not in told else "")
    return [Folder(folder.name, _use(folder, uses)) for folder in found]


def _use(folder: Found, uses: Mapping[tuple[str, ...], FolderUse]) -> FolderUse:
    if folder.name == "INBOX":
        return "inbox"
    around = (uses.get(folder.parts[:depth], "") for depth in range(1, len(folder.parts)))
    return next((use for use in around if use in _HANDED_DOWN), "") or uses[folder.parts]


def _beside_mail(found: Sequence[Found]) -> frozenset[str]:
    tops = {_top(folder.parts) for folder in found}
    kinds = [names for names in _BESIDE_MAIL.values() if names & tops]
    return frozenset[str]().union(*kinds) if len(kinds) >= _ENOUGH else frozenset()


def _is_top(parts: Sequence[str]) -> bool:
    return len(_below_inbox(parts)) == 1


def _top(parts: Sequence[str]) -> str:
    return _folded(_below_inbox(parts)[0])


def _below_inbox(parts: Sequence[str]) -> Sequence[str]:
    """The parts without INBOX, in which some servers keep all other folders."""
    return parts[1:] if len(parts) > 1 and parts[0].upper() == "INBOX" else parts


def _usual_use(name: str) -> FolderUse:
    return next((use for use, names in _WELL_KNOWN.items() if _folded(name) in names), "")


def _folded(name: str) -> str:
    return name.casefold().replace("\u2019", "'")


def wanted_folders(
    there: Sequence[Folder], names: Iterable[str], after: After, *, sent: bool, labels: bool = False
) -> Sequence[Folder]:
    """Return those that the settings ask for. One that is named is among them even if it is not there.

    Where mail is moved `after` it was promoted, all of it is known: "*" leaves that folder out. `labels`: the folders
    are labels (Gmail), so that one message lies in many; All Mail holds each once, and is read in place of them.
    """
    labels = labels and any(folder.use == "all" for folder in there)
    by_name = {folder.name: folder for folder in there}
    wanted: dict[str, Folder] = {}
    for name in names:
        if name == "*":
            wanted |= {
                folder.name: folder
                for folder in there
                if (folder.use in _WITH_LABELS if labels else folder.use not in _LEFT_OUT)
                and not after.moves_to(folder.name)
            }
        else:
            named = "INBOX" if name.upper() == "INBOX" else name
            wanted[named] = by_name.get(named, Folder(named, "inbox" if named == "INBOX" else ""))
    if sent:
        wanted |= {folder.name: folder for folder in there if folder.use == "sent"}
    return sorted(wanted.values(), key=lambda folder: folder.use != "inbox")
