"""Who is answered by which variant: the same one as long as the shares and the versions stay."""

import hashlib
from collections.abc import Mapping

from components.store.variants import CANARY, CHALLENGER, CHAMPION, SHADOW, Part

SPACE = 1 << 64


def assigned(parts: Mapping[str, Part], user_id: str) -> Part:
    """The part that answers a user. `parts` hold a champion, who has all whom no other one has.

    A draw for each part, by the user and the version: whom one canary hits says nothing about the next one, and a
    canary that begins or ends moves nobody between champion and challenger but those whom it has itself.
    """
    left = 1.0
    for variant in (CHALLENGER, CANARY):
        if (part := parts.get(variant)) is None:
            continue
        if left > 0 and position(part.model_version, user_id) < part.share / left:
            return part
        left -= part.share
    return parts[CHAMPION]


def shadowed(parts: Mapping[str, Part], request_id: str) -> Part | None:
    """The shadow, if this request is of the sample that it answers too."""
    part = parts.get(SHADOW)
    return part if part and position(part.model_version, request_id) < part.share else None


def position(salt: str, name: str) -> float:
    """A number in [0, 1) that looks drawn at random and is always the same one."""
    digest = hashlib.sha256(f"{salt}\0{name}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8]) / SPACE
