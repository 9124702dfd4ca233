"""One user under several logons: counted as one where that is known, told where it is not.

A phone whose owner types another logon would else look as if it had followed under the first one.
Imports DuckDB for its types only.
"""

from collections.abc import Iterable

import duckdb

_LOGONS = """
CREATE TEMP TABLE logons AS
SELECT DISTINCT user_key, account, device_id, lower(user_name) AS name,
  CASE WHEN user_email IS NOT NULL THEN 'upn' WHEN user_domain IS NOT NULL THEN 'down_level'
    ELSE 'bare' END AS form
FROM lines
WHERE class = 0 AND user_key IS NOT NULL AND reason IS DISTINCT FROM 'unauthenticated'
"""

# The directory's word: it found the same account for both.
_SAME_ACCOUNT = """
SELECT list(DISTINCT user_key) FROM logons WHERE account IS NOT NULL
GROUP BY account HAVING count(DISTINCT user_key) > 1
"""

# On one device `anna@contoso.example`, `CONTOSO\\anna` and `anna` are one user; with two domains it
# is not clear whose the short name is, and two accounts are two by the directory's word.
_SAME_DEVICE = """
SELECT list(DISTINCT user_key) FROM logons WHERE device_id IS NOT NULL
GROUP BY device_id, name
HAVING count(DISTINCT user_key) > 1
  AND count(DISTINCT user_key) FILTER (form = 'upn') < 2
  AND count(DISTINCT user_key) FILTER (form = 'down_level') < 2
  AND count(DISTINCT account) < 2
"""

_RENAME = """
UPDATE lines SET user_key = names.user,
  key = CASE WHEN lines.key IS NULL THEN NULL
             WHEN named THEN hash(names.user, device_id)
             ELSE hash(names.user, '', user_agent) END,
  agent = hash(names.user, user_agent)
FROM (SELECT unnest($names::UBIGINT[]) AS name, unnest($users::UBIGINT[]) AS user) AS names
WHERE lines.user_key = names.name
"""

_SHARED = """
SELECT count(*) FROM (
  SELECT device_id FROM lines WHERE class = 0 AND user_key IS NOT NULL AND device_id IS NOT NULL
    AND reason IS DISTINCT FROM 'unauthenticated'
  GROUP BY device_id HAVING count(DISTINCT user_key) > 1)
"""


def join_logons(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """Give one user one key. How many logons were a second name, and how many device ids still
    stand under several users."""
    connection.execute(_LOGONS)
    same = [row[0] for sql in (_SAME_ACCOUNT, _SAME_DEVICE) for row in _all(connection, sql)]
    users = one_for_each(same)
    renamed = {name: user for name, user in users.items() if name != user}
    if renamed:
        values = {"names": list(renamed), "users": list(renamed.values())}
        connection.execute(_RENAME, values)
    connection.execute("DROP TABLE logons")
    shared: int = connection.execute(_SHARED).fetchall()[0][0]
    return len(renamed), shared


def one_for_each(same: Iterable[list[int]]) -> dict[int, int]:
    """For each name the one that stands for all that are the same, directly or by others."""
    users: dict[int, int] = {}

    def find(name: int) -> int:
        while users.setdefault(name, name) != name:
            users[name] = users[users[name]]
            name = users[name]
        return name

    for names in same:
        roots = sorted(map(find, names))
        users.update(dict.fromkeys(roots, roots[0]))
    return {name: find(name) for name in list(users)}


def _all(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[list[int]]]:
    return connection.execute(sql).fetchall()
