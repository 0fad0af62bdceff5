"""The door for events: users get their pseudonyms, and rows of people of whom nothing may be kept stay outside."""

import pandas as pd
from sqlalchemy import Connection

from components.columns import Columns
from components.privacy import Privacy
from components.store.normalize import clean_id
from components.store.people import claim_key, lock_users, refused


def admit(connection: Connection, raw: pd.DataFrame, privacy: Privacy) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(rows for `clean_events`, refused ones), both on the index of `raw`.

    Of a refused row (`row`, `reason`) the reason alone is kept. Its users stay locked to the end of the transaction, so
    that an erasure and a writer never miss each other. Raises PrivacyError.
    """
    if Columns.USER not in raw:
        return raw, pd.DataFrame(columns=[Columns.ROW, Columns.REASON])
    if privacy.pseudonyms:
        claim_key(connection, privacy)
    cleaned = [clean_id(value) for value in raw[Columns.USER].tolist()]
    names = {user: privacy.pseudonym(user) for user in set(cleaned) if user}
    users = pd.Series([names.get(user) if user else None for user in cleaned], index=raw.index, dtype=object)
    lock_users(connection, names.values())
    reasons = users.map(refused(connection, privacy, names.values()))
    if privacy.pseudonyms:
        raw = raw.assign(**{Columns.USER: users})
    outside = reasons.notna()
    rejected = pd.DataFrame(
        {Columns.ROW: pd.Series([{}] * int(outside.sum()), index=raw.index[outside], dtype=object),
         Columns.REASON: reasons[outside]}
    )  # fmt: skip
    return raw[~outside], rejected
