-- An index that begins with `tenant` answers for a name too, by reading all that the tenant has. PostgreSQL takes it for as
-- good as the primary key where it knows nothing of the table yet, and keeps the plan. One of an expression it takes for
-- lists alone, which write the expression.
CREATE INDEX sessions_changed ON sessions ((tenant || ''), updated DESC, id);
DROP INDEX sessions_updated;
