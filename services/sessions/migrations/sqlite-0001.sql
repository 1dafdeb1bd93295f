-- Sessions, and where each of them stands. Times are microseconds since 1970.
CREATE TABLE sessions (
    tenant text NOT NULL,
    id text NOT NULL,
    uid text NOT NULL UNIQUE,
    epoch bigint NOT NULL,
    revision bigint NOT NULL,
    bytes bigint NOT NULL,
    -- The ids of awaited tool calls, with U+001F between them.
    awaited text NOT NULL,
    awaited_until bigint NOT NULL,
    -- pointsman.sessions.v1.Session: its settings alone.
    settings blob NOT NULL,
    etag text NOT NULL,
    forked_from text NOT NULL,
    forked_at bigint NOT NULL,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    expires bigint NOT NULL,
    -- How long after its last change; 0: as the store is configured.
    retention bigint NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX sessions_updated ON sessions (tenant, updated DESC, id);
CREATE INDEX sessions_expires ON sessions (expires);

CREATE TABLE session_labels (
    session text NOT NULL REFERENCES sessions (uid) ON DELETE CASCADE,
    key text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (session, key)
);
CREATE INDEX session_labels_value ON session_labels (key, value);

CREATE TABLE turns (
    session text NOT NULL REFERENCES sessions (uid) ON DELETE CASCADE,
    revision bigint NOT NULL,
    request_id text NOT NULL,
    digest bigint NOT NULL,
    pinned bigint NOT NULL,
    created bigint NOT NULL,
    -- pointsman.sessions.v1.Turn, but for the columns before.
    content blob NOT NULL,
    PRIMARY KEY (session, revision),
    UNIQUE (session, request_id)
);
CREATE INDEX turns_pinned ON turns (session) WHERE pinned = 1;

-- Requests whose messages are answered in the turn of another.
CREATE TABLE merged_requests (
    session text NOT NULL REFERENCES sessions (uid) ON DELETE CASCADE,
    request_id text NOT NULL,
    digest bigint NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (session, request_id)
);
-- Generations that outlive their calls, and what they were answered so far.
CREATE TABLE runs (
    session text NOT NULL REFERENCES sessions (uid) ON DELETE CASCADE,
    request_id text NOT NULL,
    digest bigint NOT NULL,
    -- pointsman.sessions.v1.RunState. One that is running has failed where nobody has said otherwise until then.
    state bigint NOT NULL,
    until bigint NOT NULL,
    reason text NOT NULL,
    -- The turn that it has become; 0: none.
    revision bigint NOT NULL,
    created bigint NOT NULL,
    ended bigint NOT NULL,
    PRIMARY KEY (session, request_id)
);
CREATE INDEX runs_until ON runs (until);

CREATE TABLE run_frames (
    session text NOT NULL,
    request_id text NOT NULL,
    -- The sequence numbers of the first frame and the last.
    first bigint NOT NULL,
    last bigint NOT NULL,
    -- pointsman.sessions.v1.RecordFrames.
    frames blob NOT NULL,
    PRIMARY KEY (session, request_id, first),
    FOREIGN KEY (session, request_id) REFERENCES runs (session, request_id) ON DELETE CASCADE
);

CREATE TABLE bindings (
    tenant text NOT NULL,
    channel text NOT NULL,
    external_user text NOT NULL,
    session text NOT NULL REFERENCES sessions (uid) ON DELETE CASCADE,
    created bigint NOT NULL,
    PRIMARY KEY (tenant, channel, external_user)
);
CREATE INDEX bindings_session ON bindings (session);

-- Consumers that are told turns, and what each group of them has dealt with.
CREATE TABLE turn_groups (
    tenant text NOT NULL,
    name text NOT NULL,
    -- Empty: all sessions.
    channel text NOT NULL,
    from_the_beginning bigint NOT NULL,
    PRIMARY KEY (tenant, name)
);

CREATE TABLE turn_cursors (
    tenant text NOT NULL,
    turn_group text NOT NULL,
    session text NOT NULL REFERENCES sessions (uid) ON DELETE CASCADE,
    -- The revision that was acknowledged, and the one that there is.
    acknowledged bigint NOT NULL,
    revision bigint NOT NULL,
    -- Who deals with it, and until when nobody else does.
    consumer text NOT NULL,
    until bigint NOT NULL,
    PRIMARY KEY (tenant, turn_group, session),
    FOREIGN KEY (tenant, turn_group) REFERENCES turn_groups (tenant, name) ON DELETE CASCADE
);
CREATE INDEX turn_cursors_open ON turn_cursors (tenant, turn_group, until) WHERE revision > acknowledged;
CREATE INDEX turn_cursors_session ON turn_cursors (session);

-- That a session was erased, and nothing of what was in it.
CREATE TABLE erasures (
    uid text PRIMARY KEY,
    tenant text NOT NULL,
    session text NOT NULL,
    key text NOT NULL,
    cause bigint NOT NULL,
    turns bigint NOT NULL,
    erased bigint NOT NULL
);
CREATE INDEX erasures_erased ON erasures (tenant, erased DESC, uid);
-- Processes that run turns look for what was erased last.
CREATE INDEX erasures_last ON erasures (erased);

-- What processes tell each other of turns that run, for some seconds: a crash may empty it.
CREATE TABLE signals (
    session text NOT NULL REFERENCES sessions (uid) ON DELETE CASCADE,
    request_id text NOT NULL,
    kind bigint NOT NULL,
    heard blob NOT NULL,
    created bigint NOT NULL,
    PRIMARY KEY (session, request_id, kind)
);
