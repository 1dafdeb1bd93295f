"""The inbox: a message is on disk before its channel is told that it arrived.

One row for each message, by the channel's own id of it, so that a redelivery changes nothing. A person's messages are done one
after the other, in the order in which they were sent; each step is written down before the next one is taken.
"""

import contextlib
import sqlite3
import threading
import time
from dataclasses import dataclass

SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    channel TEXT NOT NULL,
    id TEXT NOT NULL,
    person TEXT NOT NULL,
    reply_to TEXT NOT NULL,
    text TEXT NOT NULL,
    sent_at REAL NOT NULL,             -- by the channel's clock: the order of a person's messages
    arrived_at REAL NOT NULL,          -- by ours, like the times below; all in Unix seconds
    retry_at REAL NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    request BLOB,                      -- what the mesh is asked, from before it is asked
    reply TEXT,                        -- what is posted, from before it is posted
    posted INTEGER NOT NULL DEFAULT 0, -- how many pieces of it are
    done_at REAL,
    PRIMARY KEY (channel, id)
);
CREATE INDEX IF NOT EXISTS waiting ON message (channel, person, sent_at, arrived_at) WHERE done_at IS NULL;
"""

# Longer than any channel redelivers: WhatsApp does for up to 7 days.
KEPT = 8 * 24 * 3600

# The first message of each person that is not done. A message that was sent before one that is under way has come too late.
HEADS = """
SELECT * FROM (
    SELECT *, row_number() OVER (
        PARTITION BY channel, person ORDER BY request IS NULL AND reply IS NULL, sent_at, arrived_at, id
    ) AS place FROM message WHERE done_at IS NULL
) WHERE place = 1 ORDER BY sent_at
"""


@dataclass
class Message:
    """What a person wrote."""

    channel: str
    id: str
    person: str
    reply_to: str
    text: str
    sent_at: float


class Inbox:
    """Messages that are to be answered, in a SQLite file. Its methods may be called from any thread."""

    def __init__(self, path: str, window: float):
        """Opens the file. `window`: for how many seconds a message waits for those that were sent before it."""
        self.window = window
        self.changed = threading.Condition()
        self.busy: set[tuple[str, str]] = set()
        # The lock of `changed` guards it. A disk that does not answer must not use up the channel's three seconds.
        self.file = sqlite3.connect(path, timeout=1, check_same_thread=False, isolation_level=None)
        self.file.row_factory = sqlite3.Row
        # FULL: a commit is on disk when it returns, which is what the acknowledgement says.
        self.file.execute("PRAGMA journal_mode = WAL")
        self.file.execute("PRAGMA synchronous = FULL")
        self.file.executescript(SCHEMA)

    def keep(self, messages: list[Message]) -> None:
        """Writes down what is new, all of it or nothing (sqlite3.Error)."""
        now = time.time()
        columns = "channel, id, person, reply_to, text, sent_at, arrived_at"
        rows = [(m.channel, m.id, m.person, m.reply_to, m.text, m.sent_at, now) for m in messages]
        with self.changed, self._transaction():
            self.file.execute("DELETE FROM message WHERE done_at < ?", (now - KEPT,))
            self.file.executemany(f"INSERT OR IGNORE INTO message ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            self.changed.notify_all()

    @contextlib.contextmanager
    def next(self):
        """Waits for a message whose turn it is, and gives it out. Its person's others wait until it is given back."""
        with self.changed:
            while (row := self._due()) is None:
                pass
            person = (row["channel"], row["person"])
            self.busy.add(person)
        try:
            yield row
        finally:
            with self.changed:
                self.busy.discard(person)
                self.changed.notify_all()

    def note(self, row: sqlite3.Row, **columns: object) -> None:
        """Writes down how far a message is."""
        assignments = ", ".join(f"{name} = ?" for name in columns)
        with self.changed, self._transaction():
            key = (row["channel"], row["id"])
            self.file.execute(f"UPDATE message SET {assignments} WHERE channel = ? AND id = ?", (*columns.values(), *key))

    def done(self, row: sqlite3.Row) -> None:
        """Ends a message. Only its id is kept, to know a redelivery."""
        self.note(row, text="", request=None, reply=None, done_at=time.time())

    def _due(self) -> sqlite3.Row | None:
        """Returns a message whose turn it is; None, when that may have changed."""
        now, later = time.time(), []
        for row in self.file.execute(HEADS).fetchall():
            if (row["channel"], row["person"]) in self.busy:
                continue
            at = row["retry_at"] or row["arrived_at"] + self.window
            if at <= now:
                return row
            later.append(at)
        self.changed.wait(min(later) - now if later else None)
        return None

    @contextlib.contextmanager
    def _transaction(self):
        self.file.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.file.execute("COMMIT")
        except BaseException:
            self.file.execute("ROLLBACK")
            raise
