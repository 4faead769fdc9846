"""One form for the spellings of a word, and one for those of a code system's address."""

import re
import unicodedata

_GAPS = re.compile(r"[\W_]+")
_TAG = re.compile(r"\s*\((finding|procedure|event|situation|disorder|qualifier value)\)\s*$", re.IGNORECASE)
_OID = re.compile(r"(?:urn:oid:|oid:)?(\d+(?:\.\d+){3,})")


def plain(word: str) -> str:
    """The word in lower case, without accents; what is no letter or digit is one space.

    "Décédé" is "decede", "in-patient" is "in patient", "Dead (finding)" is "dead".
    """
    apart = unicodedata.normalize("NFKD", _TAG.sub("", word).casefold())
    return _GAPS.sub(" ", "".join(c for c in apart if not unicodedata.combining(c))).strip()


def plain_system(url: str) -> str:
    """A code system in the one form that its variants share: no version, no closing slash, http, urn:oid."""
    url = url.strip().partition("|")[0].rstrip("/").lower()
    if oid := _OID.fullmatch(url):
        return f"urn:oid:{oid[1]}"
    return "http://" + url[8:] if url.startswith("https://") else url


def last_part(url: str) -> str:
    """What follows the last slash of a URL or the last colon of a urn, in its own case."""
    url = url.strip().partition("|")[0].rstrip("/")
    return url.rsplit(":" if url.lower().startswith("urn:") else "/", 1)[-1]
