//! The session store: conversations that no crash, race or channel can break.
//!
//! It owns sessions, turns, channel bindings and what is known of erasures. It depends on a database, PostgreSQL or
//! SQLite, and perhaps on Redis. It refuses to lose or to interleave turns.
