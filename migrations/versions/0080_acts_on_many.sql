-- An act that somebody asked for on many rows of a list at once: act names it. organization_id: the actor's,
-- null the operator's. how: what the act takes. asked_as: the form that it was asked with, so that a form that is sent
-- again asks for nothing new. expected: how many rows were to be seen when it was asked for; null where
-- nobody looked. done: how many of those worked were not refused.
CREATE TABLE bulk_act (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint      REFERENCES organization ON DELETE RESTRICT,
    actor           text        NOT NULL,
    role            role        NOT NULL,
    act             text        NOT NULL,
    how             jsonb       NOT NULL,
    asked_as        text        NOT NULL,
    expected        bigint,
    requested       bigint      NOT NULL DEFAULT 0,
    worked          bigint      NOT NULL DEFAULT 0,
    done            bigint      NOT NULL DEFAULT 0,
    state           batch_state NOT NULL DEFAULT 'queued',
    failures        int         NOT NULL DEFAULT 0,
    error           text,
    created_at      timestamptz NOT NULL DEFAULT clock_now(),
    started_at      timestamptz,
    worked_at       timestamptz,
    finished_at     timestamptz,

    CONSTRAINT bulk_act_is_asked_once            UNIQUE (actor, asked_as),
    CONSTRAINT bulk_act_works_what_it_was_asked  CHECK (done <= worked AND worked <= requested),
    CONSTRAINT bulk_act_ends_once                CHECK ((state IN ('done', 'cancelled', 'failed')) = (finished_at IS NOT NULL)),
    CONSTRAINT bulk_act_failure_has_its_error    CHECK ((state = 'failed') = (error IS NOT NULL))
);

-- Read by the worker that picks the next chunk, as batch_unfinished is.
CREATE INDEX bulk_act_unfinished ON bulk_act (worked_at NULLS FIRST, id) WHERE state IN ('queued', 'running');
-- Read by an organization's list of them.
CREATE INDEX bulk_act_by_organization ON bulk_act (organization_id, id);

-- One row of a list that an act is on, in its order, and what became of it once that many are worked: what
-- was done, or why it was refused. thing_id is as it was asked for: there may be no such thing.
CREATE TABLE bulk_act_row (
    act_id   bigint NOT NULL REFERENCES bulk_act ON DELETE RESTRICT,
    nth      bigint NOT NULL,
    thing_id bigint NOT NULL,
    code     text,
    words    text,

    PRIMARY KEY (act_id, nth),
    CONSTRAINT bulk_act_row_is_refused_for_a_reason CHECK (code IS NULL OR words IS NOT NULL)
);

ALTER TABLE bulk_act       ENABLE ROW LEVEL SECURITY;
ALTER TABLE bulk_act_row   ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenancy ON bulk_act       TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON bulk_act_row   TO keypool_web USING ((SELECT sees_everything()) OR EXISTS (SELECT FROM bulk_act WHERE bulk_act.id = act_id));
CREATE POLICY persons ON bulk_act         AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON bulk_act_row     AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
GRANT SELECT, INSERT ON bulk_act, bulk_act_row TO keypool_web;
GRANT UPDATE (expected, requested, worked, done, state, failures, error, started_at, worked_at, finished_at) ON bulk_act TO keypool_web;
GRANT UPDATE (code, words) ON bulk_act_row TO keypool_web;
