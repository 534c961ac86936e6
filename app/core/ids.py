"""Ids: a prefix and a UUIDv7 in base 32 (TypeID), so that they sort by time of creation."""

from enum import StrEnum

from typeid import TypeID


class Prefix(StrEnum):
    TENANT = "ten"
    USER = "usr"
    KEY = "key"
    SESSION = "ses"
    INVITATION = "inv"
    MODEL = "mdl"
    DATASET = "dat"
    JOB = "job"
    STEP = "stp"
    ARTIFACT = "art"
    FILE = "fil"
    UPLOAD = "upl"
    REQUEST = "req"
    WEBHOOK = "whk"
    EVENT = "evt"
    DELIVERY = "dlv"
    AUDIT = "aud"
    EMAIL = "eml"
    CHECK = "chk"
    TEMPLATE = "tpl"
    SHARE = "shr"
    RECEIPT = "rcp"


def new_id(prefix: Prefix) -> str:
    return str(TypeID(prefix=prefix.value))
