-- keypool: the whole truth, in one file.
--
-- Every rule that a constraint can keep is kept by a constraint, and the constraint is named for
-- the rule. Times are instants (timestamptz), ranges half-open, amounts exact decimals. Rows are
-- never deleted: states and times tell what happened. A comment above a table says what one row
-- means; a comment above an index names its reader.
--
-- A rule that people's input can break says what they are told: its COMMENT is an error's code, the
-- field where there is one, and the sentence. A rule is a constraint, a unique index, or a trigger by
-- the name that it raises.
--
-- Three logins: the owner of this database (worker, command line, migrations), keypool_web (row
-- level security) and keypool_analyst (schema "report" only).
--
-- A function that is SECURITY DEFINER looks its names up in public, pg_temp: pg_temp is named, and
-- last, since it is searched first otherwise and a caller's temporary table would stand in for ours. Nobody
-- but the owner makes any: worker.database.schema takes that right, which is the database's and not in a dump.


-- Roles ------------------------------------------------------------------------------------------

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'keypool_web') THEN
        CREATE ROLE keypool_web NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'keypool_analyst') THEN
        CREATE ROLE keypool_analyst NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- another database of this cluster made them at the same moment
END
$$;


-- Clock, words and small laws --------------------------------------------------------------------

-- The one clock. KEYPOOL_CLOCK_OFFSET reaches it as a setting of the connection. CASE and not
-- coalesce: PostgreSQL takes that for leaky, and no index on a time would be used behind a policy.
CREATE FUNCTION clock_now() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN now() + make_interval(secs => CASE
    WHEN nullif(current_setting('keypool.clock_offset', true), '') IS NULL THEN 0
    ELSE current_setting('keypool.clock_offset')::double precision END);

-- A key's canonical form (K1): its ASCII letters and digits, those of full-width forms too (NFKC), upper
-- case, nothing else. Not declared STRICT: it would not be inlined then, and each call would cost some
-- seven times as much.
CREATE FUNCTION canonical_code(code text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN upper(CASE
    -- Five times as fast, and all that a well-formed key needs.
    WHEN code COLLATE "C" !~ '[^A-Za-z0-9_. -]'
        THEN replace(replace(replace(replace(code, '-', ''), ' ', ''), '.', ''), '_', '')
    ELSE regexp_replace(normalize(code, NFKC), '[^A-Za-z0-9]', '', 'g')
END COLLATE "C");

-- Whether a canonical form that is no key's looks generated, except for its check symbol (K4): with O, I
-- and L read as 0, 1 and 1. docs/keys.md has the algorithm, and a test compares it with worker/pools/codes.py.
CREATE FUNCTION is_mistyped(canonical text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    alphabet CONSTANT text := '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
    symbols CONSTANT text COLLATE "C" := translate(canonical, 'OIL', '011');
    rest int := 0;
BEGIN
    IF symbols !~ '^[A-HJKMNP-TV-Z][0-9A-HJKMNP-TV-Z]{15}$' THEN
        RETURN false;
    END IF;
    FOR place IN 1..15 LOOP
        rest := rest # (strpos(alphabet, substr(symbols, place, 1)) - 1);
        rest := rest << 1 # CASE WHEN rest >= 16 THEN 37 ELSE 0 END;
    END LOOP;
    RETURN substr(alphabet, rest + 1, 1) <> right(symbols, 1);
END
$$;

-- One cell of a CSV file: quoted where it must be, and nothing that a spreadsheet would run (its
-- signs count in full width too). An apostrophe guards it; a text that has one already gets one more,
-- so that it can be taken away again. Most cells begin with a letter or digit and are told at one look.
CREATE FUNCTION csv_cell(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN value IS NULL THEN ''
    WHEN value ~ '^[A-Za-z0-9][^",;\t\r\n]*$' THEN value
    WHEN value ~ '^''*\s*[-=+@\t\r＝＋－＠]' THEN '"''' || replace(value, '"', '""') || '"'
    WHEN value ~ '[",;\t\r\n]' THEN '"' || replace(value, '"', '""') || '"'
    ELSE value
END;

-- An instant as it is told to others: ISO 8601, in UTC; null where there is none.
CREATE FUNCTION iso_instant(value timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN to_char(value AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

-- The same as a cell of a CSV file.
CREATE FUNCTION csv_cell(value timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(iso_instant(value), '');

-- How many decimals a currency's amounts have (ISO 4217).
CREATE FUNCTION minor_unit(currency text) RETURNS int
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE
    WHEN currency IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX',
                      'VND', 'VUV', 'XAF', 'XOF', 'XPF') THEN 0
    WHEN currency IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') THEN 3
    ELSE 2
END;

-- A name of the IANA database in its own letter case (T3). PostgreSQL alone would also take any case,
-- and rules made up in POSIX's notation: it answers those in capitals, and all that have digits and no
-- small letter are made up, but for those named here. For abbreviations it has offsets of its own.
CREATE FUNCTION is_time_zone(name text) RETURNS boolean
LANGUAGE plpgsql STABLE STRICT SET timezone = 'UTC' AS $$
BEGIN
    RETURN set_config('timezone', name, true) = name
       AND (name ~ '[a-z]' OR name !~ '[0-9]'
            OR name IN ('CST6CDT', 'EST5EDT', 'GMT+0', 'GMT-0', 'GMT0', 'MST7MDT', 'PST8PDT'))
       AND name NOT IN ('CET', 'EET', 'EST', 'Factory', 'HST', 'MET', 'MST', 'WET');
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN false;
END
$$;

-- A day's first instant in a time zone (T1), as worker.days has it: where a clock change skips its
-- midnight the next instant, of two midnights the first. AT TIME ZONE alone gives the second of two.
CREATE FUNCTION day_start(day date, zone text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (
    SELECT CASE WHEN earlier AT TIME ZONE zone = day THEN least(earlier, midnight) ELSE midnight END
      FROM (SELECT midnight, (day - ((midnight - interval '12 hours') AT TIME ZONE zone
                                     - (midnight - interval '12 hours') AT TIME ZONE 'UTC'))
                             AT TIME ZONE 'UTC' AS earlier
              FROM (SELECT day::timestamp AT TIME ZONE zone AS midnight) AS later) AS either);

-- The last day that an end includes, in a time zone. It is counted back before it is turned into local
-- time, which knows no instant before a midnight that is skipped.
CREATE FUNCTION last_day(ends_at timestamptz, zone text) RETURNS date
LANGUAGE sql STABLE PARALLEL SAFE
RETURN ((ends_at - interval '1 microsecond') AT TIME ZONE zone)::date;

-- A pool's state (P7): the first that holds.
CREATE FUNCTION pool_state(
    course_archived_at timestamptz, paused_at timestamptz,
    starts_at timestamptz, expires_at timestamptz, at timestamptz
) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN course_archived_at IS NOT NULL THEN 'archived'
    WHEN paused_at IS NOT NULL          THEN 'paused'
    WHEN at < starts_at                 THEN 'scheduled'
    WHEN at >= expires_at               THEN 'expired'
    ELSE 'active'
END;

CREATE TYPE key_state         AS ENUM ('issued', 'redeemed', 'retired');
CREATE TYPE batch_kind        AS ENUM ('generate', 'import');
CREATE TYPE batch_state       AS ENUM ('queued', 'running', 'done', 'cancelled', 'failed');
CREATE TYPE event_status      AS ENUM ('recorded', 'settled', 'failed');
CREATE TYPE event_type        AS ENUM ('redemption.requested', 'training.launched', 'training.ended');
CREATE TYPE redemption_outcome AS ENUM (
    'redeemed', 'already_yours', 'mistyped_key', 'unknown_key', 'already_redeemed', 'key_retired',
    'not_available_to_organization', 'course_archived', 'pool_paused', 'pool_not_started',
    'pool_expired', 'already_assigned');
CREATE TYPE launch_outcome    AS ENUM ('launched', 'assignment_expired', 'assignment_cancelled');
CREATE TYPE assignment_status AS ENUM ('active', 'expired', 'cancelled');
CREATE TYPE charge_kind       AS ENUM ('redemption', 'extension', 'credit');
CREATE TYPE invoice_kind      AS ENUM ('invoice', 'credit_note');
CREATE TYPE invoice_status    AS ENUM ('draft', 'finalized', 'paid', 'void');
CREATE TYPE report_state      AS ENUM ('queued', 'running', 'done', 'failed');
CREATE TYPE report_format     AS ENUM ('html', 'pdf');
CREATE TYPE schedule_format   AS ENUM ('html', 'pdf', 'xlsx');
CREATE TYPE report_rhythm     AS ENUM ('day', 'week', 'month');
CREATE TYPE delivery_type     AS ENUM (
    'redemption.decided', 'assignment.expired', 'assignment.cancelled', 'assignment.extended', 'pool.low',
    'pool.expiring', 'invoice.finalized', 'invoice.paid', 'invoice.payment_taken_back', 'invoice.voided',
    'credit_note.finalized', 'invoice.overdue', 'report.made', 'report.failed', 'pool.unusual');
CREATE TYPE unusual_rule      AS ENUM ('sudden_pace', 'strangers', 'shared_keys');
CREATE TYPE delivery_state    AS ENUM ('waiting', 'delivered', 'failed');
CREATE TYPE message_state     AS ENUM ('waiting', 'sent', 'failed');
CREATE TYPE source_kind       AS ENUM ('system', 'page');
CREATE TYPE redeem_page       AS ENUM ('off', 'proof', 'open');
CREATE TYPE reminder_kind     AS ENUM (
    'key_unused', 'access_unlaunched', 'access_ending', 'pool_low', 'pool_ending', 'invoice_sent',
    'invoice_due', 'invoice_overdue', 'report_made', 'trouble');
CREATE TYPE role              AS ENUM ('operator', 'manager', 'finance', 'analyst', 'sender');

-- Whether an assignment gives access at an instant (A1): it was not cancelled and is not over. This
-- is the one place that says so. "expired" only tells that a sweep saw the end, so that a late sweep
-- gives no access and an earlier one takes none. Inlined, as canonical_code is.
CREATE FUNCTION gives_access(status assignment_status, expires_at timestamptz, at timestamptz) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN status <> 'cancelled' AND at < expires_at;

-- Whether its end has come by then and no sweep has seen it: what assignment_to_expire lists.
CREATE FUNCTION is_overdue(status assignment_status, expires_at timestamptz, at timestamptz) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN status = 'active' AND expires_at <= at;


-- Whether an event is undecided: it was recorded, and does not wait for its launch to come. This is
-- the one place that says so. Inlined, too: event_unsettled lists those.
CREATE FUNCTION is_undecided(status event_status, waits_for text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN status = 'recorded' AND waits_for IS NULL;


-- Organizations, courses, prices -----------------------------------------------------------------

CREATE TABLE currency (
    code       char(3) PRIMARY KEY,
    minor_unit int     NOT NULL,

    CONSTRAINT currency_has_its_minor_unit CHECK (minor_unit = minor_unit(code))
);

INSERT INTO currency (code, minor_unit)
SELECT code, minor_unit(code) FROM unnest(string_to_array(
    'AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP '
    'BYN BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP '
    'GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR '
    'KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK '
    'MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR '
    'SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS '
    'UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW', ' ')) AS code;

-- The slug that a name makes: its letters without accents, lower case, and its digits.
CREATE FUNCTION slug_of(name text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(nullif(btrim(left(regexp_replace(lower(regexp_replace(normalize(
    replace(replace(replace(replace(replace(replace(replace(replace(
        name, 'ä', 'ae'), 'ö', 'oe'), 'ü', 'ue'), 'Ä', 'ae'), 'Ö', 'oe'), 'Ü', 'ue'), 'ß', 'ss'), 'ø', 'o'),
    NFKD), '[\u0300-\u036f]', '', 'g')), '[^a-z0-9]+', '-', 'g'), 48), '-'), ''), 'organization');

-- A lock by its name: who holds it has locked its row. The owner's login alone may, since any login
-- can take an advisory lock, and a reader that held one would stop what the worker does under it.
CREATE TABLE lock (
    name text PRIMARY KEY
);

INSERT INTO lock VALUES
    ('ancestry'), ('delivering'), ('erasing'), ('folding'), ('journals'), ('lake'), ('mailing'), ('proving'),
    ('reporting'), ('settling');

-- As many settlers may work at once: each holds a row, of the first KEYPOOL_SETTLERS. (Those of the release
-- before this one hold the lock "settling".)
CREATE TABLE settler (
    number int PRIMARY KEY
);

INSERT INTO settler SELECT generate_series(1, 64);

-- A tenant. Organizations form a tree; a child's learners may be let into its ancestors' pools.
-- slug and redeem_… are of its redeem page; no domain or language means any.
CREATE TABLE organization (
    id                 bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name               text        NOT NULL,
    parent_id          bigint      REFERENCES organization ON DELETE RESTRICT,
    time_zone          text        NOT NULL DEFAULT 'UTC',
    currency           char(3)     NOT NULL DEFAULT 'EUR' REFERENCES currency ON DELETE RESTRICT,
    locale             text        NOT NULL DEFAULT 'en',
    legal_name         text        NOT NULL DEFAULT '',
    address            text        NOT NULL DEFAULT '',
    tax_id             text        NOT NULL DEFAULT '',
    payment_terms_days int         NOT NULL DEFAULT 30,
    created_at         timestamptz NOT NULL DEFAULT clock_now(),
    street             text        NOT NULL DEFAULT '',
    postcode           text        NOT NULL DEFAULT '',
    city               text        NOT NULL DEFAULT '',
    country            text        NOT NULL DEFAULT '',
    electronic_address text        NOT NULL DEFAULT '',
    buyer_reference    text        NOT NULL DEFAULT '',
    purchase_order     text        NOT NULL DEFAULT '',
    billing_email      text        NOT NULL DEFAULT '',
    sender_name        text        NOT NULL DEFAULT '',
    reply_to           text        NOT NULL DEFAULT '',
    colour             text        NOT NULL DEFAULT '',
    slug               text        NOT NULL DEFAULT '',
    redeem_page        redeem_page NOT NULL DEFAULT 'off',
    redeem_domains     text[]      NOT NULL DEFAULT '{}',
    redeem_languages   text[]      NOT NULL DEFAULT '{}',
    redeem_text        text        NOT NULL DEFAULT '',
    support_email      text        NOT NULL DEFAULT '',
    second_factor      boolean     NOT NULL DEFAULT false,  -- demanded of its users, and of those below it

    CONSTRAINT organization_slug_is_unique       UNIQUE (slug),
    CONSTRAINT organization_slug_is_an_address
        CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' AND length(slug) <= 60),
    CONSTRAINT organization_redeem_text_is_short CHECK (length(redeem_text) <= 2000),
    CONSTRAINT organization_redeem_domains_are_few CHECK (cardinality(redeem_domains) <= 100),
    CONSTRAINT organization_name_is_unique       UNIQUE (name),
    CONSTRAINT organization_has_a_name           CHECK (name = btrim(name) AND name <> '' AND length(name) <= 200),
    CONSTRAINT organization_time_zone_is_known   CHECK (is_time_zone(time_zone)),
    CONSTRAINT organization_is_not_its_parent    CHECK (parent_id <> id),
    CONSTRAINT organization_pays_in_time         CHECK (payment_terms_days BETWEEN 0 AND 365),
    CONSTRAINT organization_country_is_a_code    CHECK (country ~ '^([A-Z]{2})?$'),
    CONSTRAINT organization_colour_is_a_code     CHECK (colour ~ '^(#[0-9a-f]{6})?$')
);

COMMENT ON CONSTRAINT organization_name_is_unique ON organization
    IS 'already_exists(name): There is an organization by that name already; choose another name.';
COMMENT ON CONSTRAINT organization_has_a_name ON organization
    IS 'invalid_input(name): An organization''s name has 1 to 200 characters.';
COMMENT ON CONSTRAINT organization_time_zone_is_known ON organization
    IS 'invalid_input(time_zone): The time zone is not known; give an IANA name such as Europe/Berlin.';
COMMENT ON CONSTRAINT organization_is_not_its_parent ON organization
    IS 'circular_parent: An organization cannot be below its own descendant; choose another parent.';
COMMENT ON CONSTRAINT organization_slug_is_unique ON organization
    IS 'already_exists(slug): Another organization has that slug already; choose another.';
COMMENT ON CONSTRAINT organization_slug_is_an_address ON organization
    IS 'invalid_input(slug): A slug has up to 60 lower-case letters, digits and single hyphens: acme-hr.';
COMMENT ON CONSTRAINT organization_redeem_text_is_short ON organization
    IS 'invalid_input(redeem_text): The text of a redeem page has up to 2,000 characters.';
COMMENT ON CONSTRAINT organization_redeem_domains_are_few ON organization
    IS 'invalid_input(redeem_domains): A redeem page allows up to 100 domains.';
COMMENT ON CONSTRAINT organization_colour_is_a_code ON organization
    IS 'invalid_input(colour): A colour is written in six hexadecimal digits, such as #0b5fa5.';
COMMENT ON CONSTRAINT organization_pays_in_time ON organization
    IS 'invalid_input(payment_terms_days): Invoices are due within 0 to 365 days.';

-- A slug that is not given is made from the name; a slug that is taken gets a number.
CREATE FUNCTION give_organization_a_slug() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    made text := slug_of(NEW.name);
    n    int  := 1;
BEGIN
    -- The lock that keep_organization_ancestry takes anyway: two equal names come one after the other.
    PERFORM FROM lock WHERE name = 'ancestry' FOR UPDATE;
    NEW.slug := made;
    WHILE EXISTS (SELECT FROM organization WHERE slug = NEW.slug AND id <> NEW.id) LOOP
        n := n + 1;
        NEW.slug := made || '-' || n;
    END LOOP;
    RETURN NEW;
END
$$;

CREATE TRIGGER organization_has_a_slug BEFORE INSERT OR UPDATE OF slug ON organization
    FOR EACH ROW WHEN (NEW.slug = '') EXECUTE FUNCTION give_organization_a_slug();

-- Every organization's ancestors, itself included at distance 0: the tree made flat for joins.
CREATE TABLE organization_ancestry (
    ancestor_id   bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    descendant_id bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    distance      int    NOT NULL,

    PRIMARY KEY (ancestor_id, descendant_id),
    CONSTRAINT ancestry_distance_counts_up CHECK (distance >= 0)
);

-- Read by pricing and by settling: an organization's ancestors, nearest first.
CREATE INDEX organization_ancestry_upward ON organization_ancestry (descendant_id, distance);

-- The settlers' lock of an organization tree, by its root: who decides the tree's events holds it, and who
-- changes what settlers read (prices, rates, the tree itself). Every organization has a row, since it may
-- become a root.
CREATE TABLE tree_lock (
    root_id bigint PRIMARY KEY REFERENCES organization ON DELETE CASCADE
);

-- The web's login takes a lock only within somebody's request, and the locks of all trees only within the
-- operator's: else any SQL as that login could stop settling.
CREATE FUNCTION refuse_locks_to_nobody(all_trees boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF session_user = 'keypool_web'
       AND (all_trees AND NOT sees_everything()
            OR NOT is_sealed(coalesce(current_setting('keypool.entered', true), ''))) THEN
        RAISE EXCEPTION 'nobody has entered who may wait for it' USING ERRCODE = 'insufficient_privilege';
    END IF;
END
$$;

-- Wait until no settler is at work in the trees of some organizations (null: in any), and keep them out
-- until the end of this transaction. A tree may get another root while its lock is waited for.
CREATE FUNCTION await_settlers(organizations bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    held  bigint[] := '{}';
    roots bigint[];
BEGIN
    PERFORM refuse_locks_to_nobody(organizations IS NULL);
    LOOP
        roots := ARRAY(SELECT DISTINCT ON (descendant_id) ancestor_id FROM organization_ancestry
                        WHERE organizations IS NULL OR descendant_id = ANY (organizations)
                        ORDER BY descendant_id, distance DESC);
        EXIT WHEN roots <@ held;
        PERFORM FROM tree_lock WHERE root_id = ANY (roots) ORDER BY root_id FOR UPDATE;
        held := held || roots;
    END LOOP;
END
$$;

-- Wait for a lock that changes of the web's need, too, and hold it until the end of this transaction.
CREATE FUNCTION await_lock(wanted text, shared boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF wanted NOT IN ('erasing', 'journals') THEN
        RAISE EXCEPTION 'the lock % is the worker''s', wanted USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM refuse_locks_to_nobody(false);
    IF shared THEN
        PERFORM FROM lock WHERE name = wanted FOR SHARE;
    ELSE
        PERFORM FROM lock WHERE name = wanted FOR UPDATE;
    END IF;
END
$$;

REVOKE ALL ON FUNCTION await_settlers(bigint[]), await_lock(text, boolean), refuse_locks_to_nobody(boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION await_settlers(bigint[]), await_lock(text, boolean) TO keypool_web;

CREATE FUNCTION keep_organization_ancestry() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    -- One change of the tree at a time: two crossing moves could close a circle that neither sees.
    PERFORM FROM lock WHERE name = 'ancestry' FOR UPDATE;
    IF TG_OP = 'INSERT' THEN
        INSERT INTO organization_ancestry VALUES (NEW.id, NEW.id, 0);
        INSERT INTO tree_lock VALUES (NEW.id);
    ELSE
        -- A settler is at work in neither of the two trees.
        PERFORM await_settlers(array_remove(ARRAY[NEW.id, NEW.parent_id], NULL));
        IF EXISTS (SELECT FROM organization_ancestry
                   WHERE ancestor_id = NEW.id AND descendant_id = NEW.parent_id) THEN
            RAISE EXCEPTION 'organization % cannot be below its own descendant', NEW.name
                USING ERRCODE = 'check_violation', CONSTRAINT = 'organizations_form_a_tree';
        END IF;
        DELETE FROM organization_ancestry USING organization_ancestry below
         WHERE below.ancestor_id = NEW.id
           AND organization_ancestry.descendant_id = below.descendant_id
           AND organization_ancestry.ancestor_id NOT IN (
               SELECT descendant_id FROM organization_ancestry WHERE ancestor_id = NEW.id);
    END IF;
    INSERT INTO organization_ancestry
    SELECT above.ancestor_id, below.descendant_id, above.distance + below.distance + 1
      FROM organization_ancestry above, organization_ancestry below
     WHERE above.descendant_id = NEW.parent_id AND below.ancestor_id = NEW.id;
    IF NEW.parent_id IS NOT NULL AND NOT FOUND THEN
        RAISE EXCEPTION 'organization % comes before its parent', NEW.name
            USING ERRCODE = 'check_violation', CONSTRAINT = 'organizations_form_a_tree';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER organization_joins_the_tree AFTER INSERT ON organization
    FOR EACH ROW EXECUTE FUNCTION keep_organization_ancestry();
CREATE TRIGGER organizations_form_a_tree AFTER UPDATE OF parent_id ON organization
    FOR EACH ROW WHEN (OLD.parent_id IS DISTINCT FROM NEW.parent_id)
    EXECUTE FUNCTION keep_organization_ancestry();
COMMENT ON TRIGGER organizations_form_a_tree ON organization
    IS 'circular_parent: An organization cannot be below its own descendant; choose another parent.';

-- An organization's logo: a PNG that keypool drew from what was given, so that it is small and has
-- nothing but pixels. Apart from its organization, whose row is read all the time.
CREATE TABLE organization_logo (
    organization_id bigint PRIMARY KEY REFERENCES organization ON DELETE RESTRICT,
    content         bytea  NOT NULL,
    width           int    NOT NULL,
    height          int    NOT NULL,

    CONSTRAINT organization_logo_is_a_small_png
        CHECK (substr(content, 1, 8) = '\x89504e470d0a1a0a' AND length(content) <= 200000),
    CONSTRAINT organization_logo_has_a_size
        CHECK (width >= 1 AND width <= 480 AND height >= 1 AND height <= 160)
);

-- The rate of the tax on what an organization is charged, from a day on (its first instant in the
-- organization's time zone). category is the code of EN 16931: S standard, Z zero, E exempt, AE reverse
-- charge, K intra-community supply, G export, O outside the scope; exemption is the sentence that an
-- invoice has to print for it. A rate that is kept for old invoices alone has no beginning.
CREATE TABLE tax_rate (
    id              bigint       GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint       NOT NULL REFERENCES organization ON DELETE RESTRICT,
    label           text         NOT NULL DEFAULT 'Tax',
    percent         numeric(6,3) NOT NULL,
    category        text         NOT NULL DEFAULT 'S',
    exemption       text         NOT NULL DEFAULT '',
    valid_from      timestamptz,

    CONSTRAINT tax_rate_changes_once_an_instant UNIQUE (organization_id, valid_from),
    CONSTRAINT tax_rate_is_of_its_organization  UNIQUE (id, organization_id),
    CONSTRAINT tax_rate_is_a_percentage         CHECK (percent BETWEEN 0 AND 100),
    CONSTRAINT tax_rate_has_a_known_category
        CHECK (category IN ('S', 'Z', 'E', 'AE', 'K', 'G', 'O') AND (category = 'S') = (percent > 0)),
    CONSTRAINT tax_rate_says_why_nothing_is_due CHECK ((category IN ('S', 'Z')) = (exemption = ''))
);

-- The rate in force for an organization at an instant: the latest that has begun; no row where there is
-- none. It is inlined into a LATERAL join: one look into tax_rate_changes_once_an_instant.
CREATE FUNCTION tax_rate_in_force(organization_id bigint, at timestamptz)
RETURNS TABLE (tax_rate_id bigint)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 BEGIN ATOMIC
    SELECT tax_rate.id FROM tax_rate
     WHERE tax_rate.organization_id = tax_rate_in_force.organization_id
       AND tax_rate.valid_from <= tax_rate_in_force.at
     ORDER BY tax_rate.valid_from DESC LIMIT 1;
END;

-- The operator who sells: one row, printed on invoices.
CREATE TABLE seller (
    only_one           boolean PRIMARY KEY DEFAULT true,
    name               text    NOT NULL DEFAULT '',
    address            text    NOT NULL DEFAULT '',
    tax_id             text    NOT NULL DEFAULT '',
    payment_details    text    NOT NULL DEFAULT '',
    time_zone          text    NOT NULL DEFAULT 'UTC',
    street             text    NOT NULL DEFAULT '',
    postcode           text    NOT NULL DEFAULT '',
    city               text    NOT NULL DEFAULT '',
    country            text    NOT NULL DEFAULT '',
    electronic_address text    NOT NULL DEFAULT '',
    contact            text    NOT NULL DEFAULT '',
    phone              text    NOT NULL DEFAULT '',
    email              text    NOT NULL DEFAULT '',
    accounts           jsonb   NOT NULL DEFAULT '{}',
    zero_invoices      text    NOT NULL DEFAULT 'keep',

    CONSTRAINT seller_is_one               CHECK (only_one),
    CONSTRAINT seller_keeps_or_skips_zero  CHECK (zero_invoices IN ('keep', 'skip')),
    CONSTRAINT seller_time_zone_is_known   CHECK (is_time_zone(time_zone)),
    CONSTRAINT seller_country_is_a_code    CHECK (country ~ '^([A-Z]{2})?$')
);

COMMENT ON CONSTRAINT seller_time_zone_is_known ON seller
    IS 'invalid_input(time_zone): The time zone is not known; give an IANA name such as Europe/Berlin.';

INSERT INTO seller DEFAULT VALUES;

-- Where invoices of a currency are paid; one whose account was removed has no IBAN.
CREATE TABLE seller_bank (
    currency char(3) PRIMARY KEY REFERENCES currency ON DELETE RESTRICT,
    iban     text    NOT NULL,
    bic      text    NOT NULL DEFAULT '',

    CONSTRAINT bank_account_has_an_iban CHECK (iban ~ '^([A-Z]{2}[0-9]{2}[A-Z0-9]{10,30})?$'),
    CONSTRAINT bank_has_a_bic_or_none   CHECK (bic ~ '^([A-Z0-9]{8}([A-Z0-9]{3})?)?$')
);

-- What the seller lacks of what every invoice prints: without it, only a person finalizes.
CREATE FUNCTION seller_lacks() RETURNS text[]
LANGUAGE sql STABLE BEGIN ATOMIC
    SELECT array_remove(ARRAY[
               CASE WHEN name = '' THEN 'name' END,
               CASE WHEN address = '' AND '' = ANY (ARRAY[street, city, country]) THEN 'address' END,
               CASE WHEN tax_id = '' THEN 'tax id' END], NULL)
      FROM seller;
END;

-- What is taught. Archiving it stops its pools' keys, never a live assignment. launch_url: where learners
-- open it; the links to it are signed with the launch secret.
CREATE TABLE course (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code        text        NOT NULL,
    title       text        NOT NULL,
    archived_at timestamptz,
    created_at  timestamptz NOT NULL DEFAULT clock_now(),
    launch_url    text      NOT NULL DEFAULT '',
    launch_secret_encrypted bytea,

    CONSTRAINT course_has_a_code  CHECK (code = btrim(code) AND code <> '' AND length(code) <= 64),
    CONSTRAINT course_has_a_title CHECK (title = btrim(title) AND title <> '' AND length(title) <= 300),
    CONSTRAINT course_launch_url_is_an_address
        CHECK (launch_url ~ '^(https?://[^/?#@[:space:]]+[^[:space:]]*)?$' AND length(launch_url) <= 2000),
    CONSTRAINT course_is_launched_with_a_secret CHECK (launch_url = '' OR launch_secret_encrypted IS NOT NULL)
);

COMMENT ON CONSTRAINT course_has_a_code ON course
    IS 'invalid_input(code): A course''s code has 1 to 64 characters.';
COMMENT ON CONSTRAINT course_has_a_title ON course
    IS 'invalid_input(title): A course''s title has 1 to 300 characters.';
COMMENT ON CONSTRAINT course_launch_url_is_an_address ON course
    IS 'invalid_input(launch_url): A launch URL begins with https:// or http://, and has no spaces.';

-- Read by every look-up of a course; people type codes in any case.
CREATE UNIQUE INDEX course_code_is_unique ON course (lower(code));
COMMENT ON INDEX course_code_is_unique
    IS 'already_exists(code): There is a course with that code already; choose another code.';

-- What a redemption of a course costs from an instant on: for one organization and its
-- descendants, or for everybody (the list price) where no organization is named. An organization's
-- own can be withdrawn: it ends at valid_until, and the nearest ancestor's or the list price holds
-- again. One that was withdrawn before it began (valid_until = valid_from) never holds.
CREATE TABLE price (
    id              bigint        GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    course_id       bigint        NOT NULL REFERENCES course       ON DELETE RESTRICT,
    organization_id bigint        REFERENCES organization          ON DELETE RESTRICT,
    amount          numeric(14,4) NOT NULL,
    currency        char(3)       NOT NULL REFERENCES currency     ON DELETE RESTRICT,
    valid_from      timestamptz   NOT NULL,
    created_at      timestamptz   NOT NULL DEFAULT clock_now(),
    valid_until     timestamptz,

    CONSTRAINT price_is_not_negative         CHECK (amount >= 0),
    CONSTRAINT price_ends_after_it_began     CHECK (valid_until >= valid_from),
    CONSTRAINT list_price_never_ends         CHECK (organization_id IS NOT NULL OR valid_until IS NULL),
    CONSTRAINT price_is_in_the_minor_unit    CHECK (amount = round(amount, minor_unit(currency))),
    CONSTRAINT price_changes_once_an_instant UNIQUE NULLS NOT DISTINCT (course_id, organization_id, valid_from)
);

COMMENT ON CONSTRAINT price_is_not_negative ON price
    IS 'invalid_input(price): A price is zero or more.';
COMMENT ON CONSTRAINT price_changes_once_an_instant ON price
    IS 'already_exists(from): There is a price from that very time already; choose another start.';

-- The price in force (B1): the organization's own, else the nearest ancestor's, else the list
-- price; of each the latest that has begun, unless it was withdrawn: what it replaced stays
-- replaced. No row where there is none yet. It is inlined into a LATERAL join, and each level is one
-- look into price_changes_once_an_instant.
CREATE FUNCTION price_in_force(course_id bigint, organization_id bigint, at timestamptz)
RETURNS TABLE (amount numeric, currency char(3), price_id bigint)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 BEGIN ATOMIC
    SELECT nearest.amount, nearest.currency, nearest.id
      FROM (SELECT above.distance, own.amount, own.currency, own.id
              FROM organization_ancestry AS above
             CROSS JOIN LATERAL (
                   SELECT price.amount, price.currency, price.id, price.valid_until FROM price
                    WHERE price.course_id = price_in_force.course_id
                      AND price.organization_id = above.ancestor_id
                      AND price.valid_from <= price_in_force.at
                      AND (price.valid_until > price.valid_from) IS NOT FALSE
                    ORDER BY price.valid_from DESC LIMIT 1) AS own
             WHERE above.descendant_id = price_in_force.organization_id
               AND (own.valid_until > price_in_force.at) IS NOT FALSE
            UNION ALL
            (SELECT NULL::int AS distance, price.amount, price.currency, price.id FROM price
              WHERE price.course_id = price_in_force.course_id
                AND price.organization_id IS NULL
                AND price.valid_from <= price_in_force.at
              ORDER BY price.valid_from DESC LIMIT 1)) AS nearest
     ORDER BY nearest.distance NULLS LAST LIMIT 1;
END;


-- Pools and keys ---------------------------------------------------------------------------------

-- A training key pool: one owner, one course, a window in which its keys can be redeemed, and how
-- long a redeemer then has access.
CREATE TABLE pool (
    id                        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id           bigint      NOT NULL REFERENCES organization ON DELETE RESTRICT,
    course_id                 bigint      NOT NULL REFERENCES course       ON DELETE RESTRICT,
    name                      text        NOT NULL,
    starts_at                 timestamptz NOT NULL,
    expires_at                timestamptz NOT NULL,
    content_availability_days int         NOT NULL,
    share_with_children       boolean     NOT NULL DEFAULT false,
    paused_at                 timestamptz,
    created_at                timestamptz NOT NULL DEFAULT clock_now(),

    CONSTRAINT pool_name_is_unique_in_its_organization UNIQUE (organization_id, name),
    -- What assignments and charges refer to: one check of theirs says that all of it belongs together.
    CONSTRAINT pool_is_for_one_course               UNIQUE (id, course_id),
    CONSTRAINT pool_is_for_one_course_and_one_owner UNIQUE (id, course_id, organization_id),
    CONSTRAINT pool_has_a_name         CHECK (name = btrim(name) AND name <> '' AND length(name) <= 200),
    CONSTRAINT pool_starts_before_it_expires CHECK (starts_at < expires_at),
    CONSTRAINT pool_content_is_available_1_to_3650_days CHECK (content_availability_days BETWEEN 1 AND 3650)
);

COMMENT ON CONSTRAINT pool_name_is_unique_in_its_organization ON pool
    IS 'already_exists(name): The organization has a pool by that name already; choose another name.';
COMMENT ON CONSTRAINT pool_has_a_name ON pool
    IS 'invalid_input(name): A pool''s name has 1 to 200 characters.';
COMMENT ON CONSTRAINT pool_starts_before_it_expires ON pool
    IS 'invalid_input(expires_at): A pool must start before it expires; give a later end.';
COMMENT ON CONSTRAINT pool_content_is_available_1_to_3650_days ON pool
    IS 'invalid_input(content_availability_days): Content availability is a whole number of days from 1 to 3650.';

-- Read by pages and settling that go from a course to its pools.
CREATE INDEX pool_by_course ON pool (course_id);

CREATE FUNCTION refuse_pool_of_archived_course() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM course WHERE id = NEW.course_id AND archived_at IS NULL FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the course is archived'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'pool_is_not_made_for_an_archived_course';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER pool_is_not_made_for_an_archived_course BEFORE INSERT OR UPDATE OF course_id ON pool
    FOR EACH ROW EXECUTE FUNCTION refuse_pool_of_archived_course();
COMMENT ON TRIGGER pool_is_not_made_for_an_archived_course ON pool
    IS 'course_archived: The course is archived; choose a course that is still taught.';

-- Keys handed to one recipient under one reference; asking again gives the same keys.
CREATE TABLE distribution (
    id             bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pool_id        bigint      NOT NULL REFERENCES pool ON DELETE RESTRICT,
    recipient      text        NOT NULL,
    recipient_lower text       NOT NULL GENERATED ALWAYS AS (lower(recipient)) STORED,
    recipient_name text        NOT NULL DEFAULT '',
    reference      text        NOT NULL DEFAULT '',
    distributed_at timestamptz NOT NULL DEFAULT clock_now(),
    recalled_at    timestamptz,

    CONSTRAINT distribution_has_a_recipient CHECK (recipient = btrim(recipient) AND recipient <> '')
);

-- Read by every distribution: the same recipient and reference is the same distribution.
CREATE UNIQUE INDEX distribution_is_made_once ON distribution (pool_id, recipient_lower, reference);
-- Read by reports of a period: see redemption_by_time.
CREATE INDEX distribution_by_time ON distribution USING brin (distributed_at) WITH (pages_per_range = 32);

-- Whether labels are a few words each (K12): up to 10, each once, of up to 50 characters, without what
-- separates them in a cell.
CREATE FUNCTION are_labels(labels text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN array_ndims(labels) IS NOT DISTINCT FROM 1 AND cardinality(labels) <= 10
   AND (SELECT bool_and(label ~ '^[^\s,;|]([^,;|]*[^\s,;|])?$' AND length(label) <= 50)
               AND count(DISTINCT label) = count(*)
          FROM unnest(labels) AS label);

-- Labels and more of them, each once, in the order in which they came first; null where there are none.
CREATE FUNCTION labels_together(labels text[], more text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (SELECT array_agg(label ORDER BY nth)
          FROM (SELECT label, min(nth) AS nth FROM unnest(labels || more) WITH ORDINALITY AS given (label, nth)
                 GROUP BY label) AS once);

-- A bulk job that adds keys to a pool, in chunks; what was worked and made of what was requested is
-- committed together with each chunk. letters: how many codes of a generation begin with each of
-- the 22 letters, drawn when it is asked for: its chunks go through the alphabet, so that each
-- works on one stretch of the keys' unique index. read: as what an import's input was read (encoding,
-- delimiter, heading, columns). labels: those of all its keys, null where it has none.
CREATE TABLE batch (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pool_id     bigint      NOT NULL REFERENCES pool ON DELETE RESTRICT,
    kind        batch_kind  NOT NULL,
    requested   bigint      NOT NULL,
    worked      bigint      NOT NULL DEFAULT 0,
    made        bigint      NOT NULL DEFAULT 0,
    letters     bigint[],
    state       batch_state NOT NULL DEFAULT 'queued',
    failures    int         NOT NULL DEFAULT 0,
    error       text,
    created_at  timestamptz NOT NULL DEFAULT clock_now(),
    started_at  timestamptz,
    worked_at   timestamptz,
    finished_at timestamptz,
    read        json,  -- its order matters
    labels      text[],

    CONSTRAINT batch_asks_for_something      CHECK (requested > 0),
    CONSTRAINT batch_works_what_it_was_asked CHECK (worked BETWEEN 0 AND requested),
    CONSTRAINT batch_makes_what_it_was_asked CHECK (made BETWEEN 0 AND requested),
    CONSTRAINT batch_ends_once               CHECK ((state IN ('done', 'cancelled', 'failed')) = (finished_at IS NOT NULL)),
    CONSTRAINT batch_failure_has_its_error   CHECK ((state = 'failed') = (error IS NOT NULL)),
    CONSTRAINT batch_labels_are_a_few_words  CHECK (labels IS NULL OR are_labels(labels))
);

-- Read by the worker that picks the next chunk: unfinished batches, longest unattended first.
CREATE INDEX batch_unfinished ON batch (worked_at NULLS FIRST, id) WHERE state IN ('queued', 'running');
-- Read by a pool's page.
CREATE INDEX batch_by_pool ON batch (pool_id, id);

-- A training key: one code, for one learner, once. That its pool is there, and that its batch is
-- one of that pool's, is checked once a statement where it is tallied (below): a foreign key's
-- check of every row would be half of the cost of making keys. labels is null where it has none.
-- It is vacuumed when a fiftieth of it changed, as the inbox is: docs/decisions says why neither is updated HOT.
CREATE TABLE key (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pool_id         bigint      NOT NULL,
    batch_id        bigint,
    distribution_id bigint      REFERENCES distribution ON DELETE RESTRICT,
    created_at      timestamptz NOT NULL DEFAULT clock_now(),
    state           key_state   NOT NULL DEFAULT 'issued',
    generated       boolean     NOT NULL DEFAULT false,
    code            text        COLLATE "C" NOT NULL,
    canonical       text        COLLATE "C" NOT NULL GENERATED ALWAYS AS (canonical_code(code)) STORED,
    labels          text[],

    CONSTRAINT key_is_unique_in_the_whole_system UNIQUE (canonical),
    CONSTRAINT key_code_is_well_formed
        CHECK (code ~ '^[A-Za-z0-9]([A-Za-z0-9_. -]*[A-Za-z0-9])?$' AND length(code) BETWEEN 8 AND 64
               AND length(canonical) >= 8),
    CONSTRAINT key_labels_are_a_few_words CHECK (labels IS NULL OR are_labels(labels))
) WITH (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02
);

COMMENT ON CONSTRAINT key_labels_are_a_few_words ON key
    IS 'invalid_input(labels): A key has up to 10 labels.';

-- Read by the list of a pool's keys, page by page, and by its export.
CREATE INDEX key_by_pool ON key (pool_id, id);
-- Read by distribution: the next keys that nobody holds.
CREATE INDEX key_to_distribute ON key (pool_id, id) WHERE state = 'issued' AND distribution_id IS NULL;
-- Read by lists of a pool's redeemed and of its retired keys, which may be few of very many.
CREATE INDEX key_redeemed ON key (pool_id, id) WHERE state = 'redeemed';
CREATE INDEX key_retired ON key (pool_id, id) WHERE state = 'retired';
-- Read by repeats, recalls and filters of a distribution.
CREATE INDEX key_by_distribution ON key (distribution_id) WHERE distribution_id IS NOT NULL;
-- Read by filters of a label. Keys without labels are not in it, and cost nothing.
CREATE INDEX key_by_label ON key USING gin (labels) WHERE labels IS NOT NULL;

-- The key that a canonical form means (K4): the key of that form, else the generated key that a
-- person read with O, I and L for 0, 1 and 1. One row; all null where there is none. Inlined into a
-- LATERAL join: two looks into the unique index, and the second only where the first found nothing.
CREATE FUNCTION meant_key(canonical text)
RETURNS TABLE (id bigint, pool_id bigint, state key_state)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 BEGIN ATOMIC
    SELECT coalesce(exact.id, lookalike.id), coalesce(exact.pool_id, lookalike.pool_id),
           coalesce(exact.state, lookalike.state)
      FROM (SELECT) AS typed
      LEFT JOIN key AS exact ON exact.canonical = meant_key.canonical
      LEFT JOIN key AS lookalike ON lookalike.generated AND lookalike.canonical
            = CASE WHEN exact.id IS NULL THEN translate(meant_key.canonical, 'OIL', '011') END;
END;

-- A key that was given in another's place (K11): the old one is retired and leaves its distribution,
-- the new one is held under the same recipient and reference.
CREATE TABLE key_replacement (
    old_key_id      bigint      PRIMARY KEY REFERENCES key ON DELETE RESTRICT,
    new_key_id      bigint      NOT NULL REFERENCES key    ON DELETE RESTRICT,
    distribution_id bigint      NOT NULL REFERENCES distribution ON DELETE RESTRICT,
    reason          text        NOT NULL,
    replaced_at     timestamptz NOT NULL DEFAULT clock_now(),

    CONSTRAINT key_takes_one_place        UNIQUE (new_key_id),
    CONSTRAINT key_takes_anothers_place   CHECK (old_key_id <> new_key_id),
    CONSTRAINT replacement_has_a_reason   CHECK (reason = btrim(reason) AND reason <> '' AND length(reason) <= 1000)
);

-- Whose turn it is to give keys from a pool: one transaction at a time locks this row, so that none fails for
-- lack of keys that another one is about to release. The pool's own row stays free: to pause it waits for nobody.
CREATE TABLE pool_turn (
    pool_id bigint PRIMARY KEY REFERENCES pool ON DELETE CASCADE
);

-- What changed in a pool's figures: their sum is what the pool holds. Rows are added by every
-- statement on keys and folded together by the schedule, so that no two writers wait for a total.
-- A key's pool always has a row here, so this foreign key keeps the keys' pools too. The arrays tell
-- what changed in the pool's distributions, until a fold takes it to distribution_tally: a row for
-- each of them would be a row for each key, where every key has a recipient of its own.
CREATE TABLE pool_tally (
    pool_id          bigint NOT NULL REFERENCES pool ON DELETE RESTRICT,
    issued           bigint NOT NULL,
    distributed      bigint NOT NULL,
    redeemed         bigint NOT NULL,
    retired          bigint NOT NULL,
    distribution_ids bigint[] STORAGE EXTERNAL,  -- written and read once: not compressed
    their_given      bigint[] STORAGE EXTERNAL,
    their_redeemed   bigint[] STORAGE EXTERNAL,
    their_retired    bigint[] STORAGE EXTERNAL
);

-- Read by every look at a pool.
CREATE INDEX pool_tally_by_pool ON pool_tally (pool_id);

-- What a distribution of many keys holds as of the last fold; what pool_tally tells of it is to be
-- added. Those without a row are small: their keys are counted.
CREATE TABLE distribution_tally (
    distribution_id bigint PRIMARY KEY REFERENCES distribution ON DELETE RESTRICT,
    given           bigint NOT NULL,
    redeemed        bigint NOT NULL,
    retired         bigint NOT NULL
);

-- What changed in the figures of a pool's labels, as pool_tally tells of the pool: a row a label of what
-- a statement added or changed. Keys without labels have none here.
CREATE TABLE label_tally (
    pool_id     bigint NOT NULL REFERENCES pool ON DELETE RESTRICT,
    label       text   NOT NULL,
    issued      bigint NOT NULL,
    distributed bigint NOT NULL,
    redeemed    bigint NOT NULL,
    retired     bigint NOT NULL
);

-- Read by a pool's figures by label, and by the fold.
CREATE INDEX label_tally_by_pool ON label_tally (pool_id, label);

-- How many keys were added to a pool in a quarter of an hour (no time zone's day begins within one),
-- a row a statement: reports count what was created in a period without reading every key.
CREATE TABLE pool_growth (
    pool_id bigint      NOT NULL REFERENCES pool ON DELETE RESTRICT,
    made_at timestamptz NOT NULL,
    keys    bigint      NOT NULL,

    CONSTRAINT pool_growth_counts_keys CHECK (keys > 0)
);

-- Read by reports of a period.
CREATE INDEX pool_growth_by_time ON pool_growth (made_at);

CREATE FUNCTION tally_added_keys() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT DISTINCT pool_id, batch_id FROM added WHERE batch_id IS NOT NULL) AS made
                LEFT JOIN batch ON batch.id = made.batch_id AND batch.pool_id = made.pool_id
                WHERE batch.id IS NULL) THEN
        RAISE EXCEPTION 'a key''s batch is one of its pool''s'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'key_is_made_by_a_batch_of_its_pool';
    END IF;
    WITH counted AS (
        SELECT pool_id, distribution_id, date_bin('15 minutes', created_at, '2000-01-01') AS made_at,
               count(*) AS given,
               count(*) FILTER (WHERE state = 'issued') AS issued,
               count(*) FILTER (WHERE state = 'redeemed') AS redeemed,
               count(*) FILTER (WHERE state = 'retired') AS retired
          FROM added GROUP BY 1, 2, 3),
    grown AS (
        INSERT INTO pool_growth (pool_id, made_at, keys)
        SELECT pool_id, made_at, sum(given) FROM counted GROUP BY 1, 2)
    INSERT INTO pool_tally (pool_id, issued, distributed, redeemed, retired,
                            distribution_ids, their_given, their_redeemed, their_retired)
    SELECT pool_id, sum(issued), coalesce(sum(issued) FILTER (WHERE distribution_id IS NOT NULL), 0),
           sum(redeemed), sum(retired),
           array_agg(distribution_id) FILTER (WHERE distribution_id IS NOT NULL),
           array_agg(given) FILTER (WHERE distribution_id IS NOT NULL),
           array_agg(redeemed) FILTER (WHERE distribution_id IS NOT NULL),
           array_agg(retired) FILTER (WHERE distribution_id IS NOT NULL)
      FROM counted GROUP BY pool_id;
    IF EXISTS (SELECT FROM added WHERE labels IS NOT NULL) THEN
        INSERT INTO label_tally (pool_id, label, issued, distributed, redeemed, retired)
        SELECT pool_id, label, count(*) FILTER (WHERE state = 'issued'),
               count(*) FILTER (WHERE state = 'issued' AND distribution_id IS NOT NULL),
               count(*) FILTER (WHERE state = 'redeemed'), count(*) FILTER (WHERE state = 'retired')
          FROM added, unnest(labels) AS label GROUP BY pool_id, label;
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION tally_changed_keys() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO pool_tally (pool_id, issued, distributed, redeemed, retired,
                            distribution_ids, their_given, their_redeemed, their_retired)
    SELECT pool_id, sum(issued), coalesce(sum(issued) FILTER (WHERE distribution_id IS NOT NULL), 0),
           sum(redeemed), sum(retired),
           array_agg(distribution_id) FILTER (WHERE distribution_id IS NOT NULL),
           array_agg(given) FILTER (WHERE distribution_id IS NOT NULL),
           array_agg(redeemed) FILTER (WHERE distribution_id IS NOT NULL),
           array_agg(retired) FILTER (WHERE distribution_id IS NOT NULL)
      FROM (SELECT pool_id, distribution_id, sum(weight) AS given,
                   coalesce(sum(weight) FILTER (WHERE state = 'issued'), 0) AS issued,
                   coalesce(sum(weight) FILTER (WHERE state = 'redeemed'), 0) AS redeemed,
                   coalesce(sum(weight) FILTER (WHERE state = 'retired'), 0) AS retired
              FROM (SELECT pool_id, state, distribution_id, 1 AS weight FROM after
                    UNION ALL
                    SELECT pool_id, state, distribution_id, -1 FROM before) AS change
             GROUP BY pool_id, distribution_id) AS changed
     GROUP BY pool_id;
    IF EXISTS (SELECT FROM after WHERE labels IS NOT NULL)
       OR EXISTS (SELECT FROM before WHERE labels IS NOT NULL) THEN
        INSERT INTO label_tally (pool_id, label, issued, distributed, redeemed, retired)
        SELECT pool_id, label, coalesce(sum(weight) FILTER (WHERE state = 'issued'), 0),
               coalesce(sum(weight) FILTER (WHERE state = 'issued' AND distribution_id IS NOT NULL), 0),
               coalesce(sum(weight) FILTER (WHERE state = 'redeemed'), 0),
               coalesce(sum(weight) FILTER (WHERE state = 'retired'), 0)
          FROM (SELECT pool_id, state, distribution_id, labels, 1 AS weight FROM after
                UNION ALL
                SELECT pool_id, state, distribution_id, labels, -1 FROM before) AS change,
               unnest(labels) AS label
         GROUP BY pool_id, label;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER added_keys_are_tallied AFTER INSERT ON key
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION tally_added_keys();
CREATE TRIGGER changed_keys_are_tallied AFTER UPDATE ON key
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION tally_changed_keys();

-- Lines of an import that could be keys, as they were supplied, with whom each is for where the
-- input says so. position counts the import's lines before them: those worked when it is their turn.
-- size and last_line count the chunk's other lines too, which are batch_lines already. parts tells the
-- keys of one line apart; null says that each line has one. labels has those of each line that has its
-- own, separated by commas.
CREATE TABLE batch_chunk (
    batch_id             bigint   NOT NULL REFERENCES batch ON DELETE RESTRICT,
    position             bigint   NOT NULL,
    size                 int      NOT NULL,
    last_line            bigint   NOT NULL,
    lines                bigint[] STORAGE EXTERNAL NOT NULL,  -- written and read once: not compressed
    codes                text[]   STORAGE EXTERNAL NOT NULL,
    recipients           text[],
    recipient_names      text[],
    recipient_references text[],
    parts                int[],
    labels               text[],

    PRIMARY KEY (batch_id, position),
    CONSTRAINT batch_chunk_has_a_code_per_line CHECK (cardinality(codes) = cardinality(lines)),
    CONSTRAINT batch_chunk_counts_its_lines    CHECK (size >= cardinality(lines) AND size > 0)
);

CREATE TYPE line_result AS ENUM ('added', 'duplicate_in_input', 'already_exists', 'invalid');

-- One line of an import that made no key, and why; or the part of one, where it has several keys.
-- An unlike one is invalid only as long as no such key is known.
CREATE TABLE batch_line (
    batch_id bigint      NOT NULL REFERENCES batch ON DELETE RESTRICT,
    line     bigint      NOT NULL,
    code     text        NOT NULL,
    result   line_result NOT NULL,
    reason   text        NOT NULL DEFAULT '',
    part     int         NOT NULL DEFAULT 1,
    unlike   boolean     NOT NULL DEFAULT false,

    PRIMARY KEY (batch_id, line, part),
    CONSTRAINT batch_line_made_no_key             CHECK (result <> 'added'),
    CONSTRAINT batch_line_is_invalid_for_a_reason CHECK ((result = 'invalid') = (reason <> ''))
);

-- Keeps "the second line of a key is a duplicate"; read by the chunks that come after the first.
CREATE UNIQUE INDEX batch_line_exists_once ON batch_line (batch_id, canonical_code(code))
    WHERE result = 'already_exists';


-- Who may come in --------------------------------------------------------------------------------

-- An API credential: shown once, kept as a hash. The operator's belong to no organization.
CREATE TABLE token (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint      REFERENCES organization ON DELETE RESTRICT,
    name            text        NOT NULL,
    role            role        NOT NULL,
    hash            bytea       NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_now(),
    expires_at      timestamptz,
    last_used_at    timestamptz,
    revoked_at      timestamptz,
    made_by         text        NOT NULL DEFAULT '',  -- as the history tells who; empty: before it was kept

    CONSTRAINT token_is_unique                   UNIQUE (hash),
    CONSTRAINT token_has_a_name                  CHECK (name = btrim(name) AND name <> '' AND length(name) <= 200),
    CONSTRAINT token_of_the_operator_has_no_organization
        CHECK ((role = 'operator') = (organization_id IS NULL))
);

COMMENT ON CONSTRAINT token_has_a_name ON token
    IS 'invalid_input(name): A token''s name has 1 to 200 characters.';

-- A network from which a token was used, so that the first use from another one stands in the history.
CREATE TABLE token_network (
    token_id bigint      NOT NULL REFERENCES token ON DELETE RESTRICT,
    client   text        NOT NULL,
    first_at timestamptz NOT NULL DEFAULT clock_now(),

    PRIMARY KEY (token_id, client)
);

-- A person who signs in to the console: a role as tokens have it, and a password as argon2 keeps it.
CREATE TABLE console_user (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint      REFERENCES organization ON DELETE RESTRICT,
    email           text        NOT NULL,
    role            role        NOT NULL,
    password_hash   text,  -- null: none was chosen yet
    created_at      timestamptz NOT NULL DEFAULT clock_now(),
    disabled_at     timestamptz,
    totp_encrypted  bytea,   -- the secret of the second factor (RFC 6238); null: none is set up
    totp_step       bigint NOT NULL DEFAULT 0,  -- the last time step whose code was used: none is used twice
    vouched_by      text,    -- the identity provider at which they signed in, and its name for them
    has_second_factor boolean NOT NULL GENERATED ALWAYS AS (totp_encrypted IS NOT NULL) STORED,

    CONSTRAINT user_has_an_address            CHECK (email = btrim(email) AND email LIKE '_%@_%' AND length(email) <= 320),
    CONSTRAINT user_has_a_hashed_password     CHECK (password_hash LIKE '$argon2id$%'),
    CONSTRAINT user_of_the_operator_has_no_organization
        CHECK ((role = 'operator') = (organization_id IS NULL))
);

COMMENT ON CONSTRAINT user_has_an_address ON console_user
    IS 'invalid_input(email): A user signs in with an e-mail address.';

-- Read at sign-in; one person, one door, whatever the letter case.
CREATE UNIQUE INDEX user_email_is_unique ON console_user (lower(email));
COMMENT ON INDEX user_email_is_unique
    IS 'already_exists(email): Somebody signs in with that address already; give another address.';

-- One browser in which a user is signed in. Its cookie has a random id, of which this is the hash. It is
-- over at its end, when it was idle for too long, or when somebody ended it. confirmed_at: when the
-- password was asked for last. device is the hash of another cookie, which outlives the session: an
-- attempt to sign in from a known device is throttled apart from those of strangers.
CREATE TABLE console_session (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id      bigint      NOT NULL REFERENCES console_user ON DELETE RESTRICT,
    hash         bytea       NOT NULL,
    device       bytea       NOT NULL,
    client       text        NOT NULL,  -- a network, not an address: 192.0.2.0/24
    browser      text        NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT clock_now(),
    confirmed_at timestamptz NOT NULL DEFAULT clock_now(),
    last_seen_at timestamptz NOT NULL DEFAULT clock_now(),
    ends_at      timestamptz NOT NULL,
    ended_at     timestamptz,
    second_factor_at timestamptz,  -- when the second factor was given

    CONSTRAINT console_session_is_unique UNIQUE (hash)
);

-- Read by the list of a user's sessions, and at sign-in by the search for a known device.
CREATE INDEX console_session_by_user ON console_session (user_id, device);
-- Read by the sweep.
CREATE INDEX console_session_by_end ON console_session (ends_at);

-- A one-time link by which a user chooses a password, after an invitation or instead of a forgotten one. Its
-- address ends in a random token, of which this is the hash. A password that was chosen ends all links.
CREATE TABLE sign_in_link (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    bigint      NOT NULL REFERENCES console_user ON DELETE RESTRICT,
    hash       bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_now(),
    ends_at    timestamptz NOT NULL,
    used_at    timestamptz,

    CONSTRAINT sign_in_link_is_unique UNIQUE (hash)
);

-- Read where a password is chosen.
CREATE INDEX sign_in_link_by_user ON sign_in_link (user_id);

-- The first start, in one row: the one-time link (its token's hash) by which the first operator is made while
-- nobody can sign in; and the sample data that was asked for on the first pages, which the worker makes.
CREATE TABLE first_start (
    only_one          boolean     PRIMARY KEY DEFAULT true,
    hash              bytea,
    ends_at           timestamptz,
    samples_wanted_at timestamptz,
    samples_made_at   timestamptz,

    CONSTRAINT first_start_is_one       CHECK (only_one),
    CONSTRAINT first_start_link_ends    CHECK ((hash IS NULL) = (ends_at IS NULL)),
    CONSTRAINT first_start_samples_once CHECK (samples_made_at IS NULL OR samples_wanted_at IS NOT NULL)
);
INSERT INTO first_start DEFAULT VALUES;

-- A code that stands in once for a user's second factor, as a hash.
CREATE TABLE recovery_code (
    id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint      NOT NULL REFERENCES console_user ON DELETE RESTRICT,
    hash    bytea       NOT NULL,
    ended_at timestamptz,  -- when it was used, or replaced by others

    CONSTRAINT recovery_code_is_unique UNIQUE (user_id, hash)
);

-- Where an organization's users, and those of the organizations below it, sign in by OpenID Connect. roles: which role
-- a value of the claim role_claim gives. is_only: they sign in there alone, and with no password.
CREATE TABLE identity_provider (
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id  bigint      NOT NULL REFERENCES organization ON DELETE RESTRICT,
    issuer           text        NOT NULL,
    client_id        text        NOT NULL,
    secret_encrypted bytea       NOT NULL,
    role_claim       text        NOT NULL DEFAULT '',
    roles            jsonb       NOT NULL DEFAULT '{}',
    is_only          boolean     NOT NULL DEFAULT false,
    created_at       timestamptz NOT NULL DEFAULT clock_now(),
    ended_at         timestamptz,

    CONSTRAINT identity_provider_has_a_client CHECK (client_id <> '' AND length(client_id) <= 300)
);

-- Read where the provider of an organization is shown; it has one at a time.
CREATE UNIQUE INDEX identity_provider_is_an_organizations_one ON identity_provider (organization_id)
    WHERE ended_at IS NULL;

COMMENT ON CONSTRAINT identity_provider_has_a_client ON identity_provider
    IS 'invalid_input(client_id): A client has an id of 1 to 300 characters.';

-- The domains of the addresses for which an identity provider speaks; of each, one provider.
CREATE TABLE identity_domain (
    domain      text   PRIMARY KEY,
    provider_id bigint REFERENCES identity_provider ON DELETE RESTRICT  -- null: nobody's any more
);

CREATE INDEX identity_domain_by_provider ON identity_domain (provider_id);

-- A sign-in that an identity provider was asked for and has not answered: its state as a hash, and what its answer
-- must hold. It is taken once.
CREATE TABLE identity_request (
    state       bytea       PRIMARY KEY,
    provider_id bigint      NOT NULL REFERENCES identity_provider ON DELETE RESTRICT,
    nonce       text        NOT NULL,
    verifier    text        NOT NULL,
    ends_at     timestamptz NOT NULL
);

-- Read by the sweep.
CREATE INDEX identity_request_by_end ON identity_request (ends_at);

-- Failed attempts to sign in of one subject, such as an address tried from one network: all are hashes.
-- An attempt counts before it is made, and is taken back once it succeeded.
CREATE TABLE sign_in_throttle (
    subject  bytea            PRIMARY KEY,
    failures double precision NOT NULL,
    last_at  timestamptz      NOT NULL DEFAULT now()  -- the true now: a limit is no affair of a shifted clock
);

-- Read by the sweep.
CREATE INDEX sign_in_throttle_by_age ON sign_in_throttle (last_at);

-- What was answered to a request with an Idempotency-Key, encrypted, for when it is sent again; written
-- in the transaction of its act, which begins with an empty one: of two at once, one comes first. Null:
-- forgotten, as a person's data was erased since.
CREATE TABLE answer (
    token_id    bigint      NOT NULL REFERENCES token ON DELETE RESTRICT,
    key         text        NOT NULL,
    request     bytea       NOT NULL,  -- the hash of what was asked
    encrypted   bytea,
    answered_at timestamptz NOT NULL DEFAULT clock_now(),

    PRIMARY KEY (token_id, key),
    CONSTRAINT answer_has_a_key CHECK (key ~ '^[!-~]{1,255}$')
);

-- Read by the sweep that removes what was kept long enough.
CREATE INDEX answer_by_age ON answer (answered_at);

-- An external system that may post webhooks for one organization (and its descendants); or the
-- organization's redeem page, which has no secret and posts none.
CREATE TABLE source (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint      NOT NULL REFERENCES organization ON DELETE RESTRICT,
    name            text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_now(),
    kind            source_kind NOT NULL DEFAULT 'system',

    CONSTRAINT source_name_is_unique_in_its_organization UNIQUE (organization_id, name),
    CONSTRAINT source_has_a_name CHECK (name = btrim(name) AND name <> '' AND length(name) <= 200)
);

COMMENT ON CONSTRAINT source_name_is_unique_in_its_organization ON source
    IS 'already_exists(name): The organization has a source by that name already; choose another name.';
COMMENT ON CONSTRAINT source_has_a_name ON source
    IS 'invalid_input(name): A source''s name has 1 to 200 characters.';

-- Keeps "one redeem page, one source"; read by the page.
CREATE UNIQUE INDEX source_is_an_organizations_only_page ON source (organization_id) WHERE kind = 'page';

-- A signing secret of a source, encrypted; several may be live while one replaces another.
CREATE TABLE source_secret (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_id  bigint      NOT NULL REFERENCES source ON DELETE RESTRICT,
    encrypted  bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_now(),
    expires_at timestamptz
);

-- Read by the receiver at every webhook.
CREATE INDEX source_secret_by_source ON source_secret (source_id);


-- Learners and their assignments -----------------------------------------------------------------

-- A person in an organization, known by e-mail address. What is looked for without its letter case
-- is kept in lower case, too: behind row level security no index on lower(email) would be used, since
-- PostgreSQL lets only what is leakproof look at rows before the policy does.
-- duplicate_of: another learner of the organization, known by what is this one's address in its one
-- form (L1); both were there before addresses had one. Somebody joins them: joined_at says when.
CREATE TABLE learner (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint      NOT NULL REFERENCES organization ON DELETE RESTRICT,
    email           text        NOT NULL,
    email_lower     text        NOT NULL GENERATED ALWAYS AS (lower(email)) STORED,
    name            text        NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT clock_now(),
    erased_at       timestamptz,
    duplicate_of    bigint      REFERENCES learner ON DELETE RESTRICT,
    joined_at       timestamptz,

    CONSTRAINT learner_has_an_email         CHECK (email = btrim(email) AND email <> '' AND length(email) <= 320),
    CONSTRAINT learner_is_joined_to_another CHECK (joined_at IS NULL OR duplicate_of IS NOT NULL)
);

COMMENT ON CONSTRAINT learner_has_an_email ON learner
    IS 'invalid_input(email): A learner is known by an e-mail address of up to 320 characters.';

-- Read by settling: one learner per address, whatever its letter case.
CREATE UNIQUE INDEX learner_is_one_person_per_organization ON learner (email_lower, organization_id);
COMMENT ON INDEX learner_is_one_person_per_organization
    IS 'already_exists(email): Somebody else in the organization has that address already; give another address.';
-- Read by the list of duplicates, and by whatever is about all of a person.
CREATE INDEX learner_duplicates ON learner (duplicate_of) WHERE duplicate_of IS NOT NULL;

-- A course assignment: one learner's access to one course until expires_at, got by one key.
-- undone: cancelled within 24 hours and before any launch, so that the key was given back.
CREATE TABLE assignment (
    id              bigint            GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key_id          bigint            NOT NULL REFERENCES key          ON DELETE RESTRICT,
    pool_id         bigint            NOT NULL,
    course_id       bigint            NOT NULL,
    learner_id      bigint            NOT NULL REFERENCES learner      ON DELETE RESTRICT,
    organization_id bigint            NOT NULL REFERENCES organization ON DELETE RESTRICT,
    status          assignment_status NOT NULL DEFAULT 'active',
    undone          boolean           NOT NULL DEFAULT false,
    redeemed_at     timestamptz       NOT NULL,
    expires_at      timestamptz       NOT NULL,
    expired_at      timestamptz,
    cancelled_at    timestamptz,
    cancel_reason   text,

    CONSTRAINT assignment_is_to_its_pools_course
        FOREIGN KEY (pool_id, course_id) REFERENCES pool (id, course_id) ON DELETE RESTRICT,
    CONSTRAINT assignment_gives_access_for_a_while    CHECK (redeemed_at < expires_at),
    CONSTRAINT assignment_is_expired_at_a_time        CHECK ((status = 'expired') = (expired_at IS NOT NULL)),
    CONSTRAINT assignment_is_cancelled_at_a_time      CHECK ((status = 'cancelled') = (cancelled_at IS NOT NULL)),
    CONSTRAINT assignment_is_undone_by_cancelling     CHECK (NOT undone OR status = 'cancelled')
);

-- Keeps "one key, one assignment"; read by every look at a key.
CREATE UNIQUE INDEX key_is_spent_once ON assignment (key_id) WHERE status <> 'cancelled';
-- Keeps "one live assignment per learner and course"; read by settling.
CREATE UNIQUE INDEX learner_has_one_live_assignment_per_course ON assignment (learner_id, course_id)
    WHERE status = 'active';
COMMENT ON INDEX learner_has_one_live_assignment_per_course
    IS 'live_assignment: The learner holds another live assignment for that course; extend that one.';
-- Read by the expiry sweep: what is overdue, oldest first.
CREATE INDEX assignment_to_expire ON assignment (expires_at) WHERE status = 'active';
-- Read by a learner's page, and by "was it mine once?".
CREATE INDEX assignment_by_learner ON assignment (learner_id, redeemed_at);
-- Read by a key's page, whose cancelled assignments count too.
CREATE INDEX assignment_by_key ON assignment (key_id);
-- Read by a pool's page and by reports.
CREATE INDEX assignment_by_pool ON assignment (pool_id, redeemed_at);
-- Read by lists of an organization's assignments.
CREATE INDEX assignment_by_organization ON assignment (organization_id, id);
-- Read by reports of a period, and of what ends soon. A block holds new assignments and old ones that
-- expired meanwhile, so several spans of it are kept.
CREATE INDEX assignment_by_time ON assignment
    USING brin (redeemed_at timestamptz_minmax_multi_ops, expires_at timestamptz_minmax_multi_ops)
    WITH (pages_per_range = 32);


-- The inbox --------------------------------------------------------------------------------------

-- One webhook message, recorded once and for good. data is blanked after a while; id and hash
-- stay, so that a repeat is known for ever. waits_for: an end of training whose launch has not
-- come yet. claim_limit and deaths bound what a poisonous event can do (docs/operations.md).
CREATE TABLE event (
    id                      bigint       GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_id               bigint       NOT NULL REFERENCES source       ON DELETE RESTRICT,
    organization_id         bigint       NOT NULL REFERENCES organization ON DELETE RESTRICT,
    learner_organization_id bigint       REFERENCES organization          ON DELETE RESTRICT,
    webhook_id              text         NOT NULL,
    body_hash               bytea        NOT NULL,
    type                    event_type   NOT NULL,
    data                    jsonb,
    received_at             timestamptz  NOT NULL DEFAULT clock_now(),
    status                  event_status NOT NULL DEFAULT 'recorded',
    waits_for               text,
    outcome                 text,
    assignment_id           bigint       REFERENCES assignment ON DELETE RESTRICT,
    settled_at              timestamptz,
    claim_limit             int,
    deaths                  int          NOT NULL DEFAULT 0,
    error                   text,

    CONSTRAINT event_is_recorded_once             UNIQUE (source_id, webhook_id),
    CONSTRAINT event_is_settled_with_an_outcome   CHECK ((status = 'settled') = (outcome IS NOT NULL)
                                                     AND (status = 'settled') = (settled_at IS NOT NULL)),
    CONSTRAINT event_failure_has_its_error        CHECK (status <> 'failed' OR error IS NOT NULL),
    CONSTRAINT event_waits_while_recorded         CHECK (waits_for IS NULL OR status = 'recorded'),
    CONSTRAINT redemption_names_the_learners_organization
        CHECK (type <> 'redemption.requested' OR learner_organization_id IS NOT NULL)
) WITH (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02
);

-- Read by who asks how long events wait: the oldest first.
CREATE INDEX event_unsettled ON event (received_at, id) WHERE status = 'recorded' AND waits_for IS NULL;
-- Read by the settlers: which organizations' trees have events that wait, and those of a tree in order.
CREATE INDEX event_unsettled_by_organization ON event (organization_id, received_at, id)
    WHERE status = 'recorded' AND waits_for IS NULL;
-- Read when a launch comes after its end.
CREATE INDEX event_waiting_for_its_launch ON event (source_id, waits_for) WHERE waits_for IS NOT NULL;
-- Read when an end comes after its launch was refused: such a launch is no row of its own.
CREATE INDEX event_refused_launch ON event (source_id, (data->>'launch'))
    WHERE type = 'training.launched' AND outcome = 'unknown_assignment';
-- Read by lists of failed events and by the metrics.
CREATE INDEX event_failed ON event (id) WHERE status = 'failed';
-- Read by the guess limits: a source's unknown and mistyped keys of late.
CREATE INDEX event_guessed ON event (source_id, received_at) WHERE outcome IN ('unknown_key', 'mistyped_key');
-- Read by lists of an organization's events, newest first.
CREATE INDEX event_by_organization ON event (organization_id, id);
-- Read by lists of a time's events: see redemption_by_time.
CREATE INDEX event_by_time ON event USING brin (received_at) WITH (pages_per_range = 32);
-- Read by the sweep that blanks old bodies: those of decided events alone; others may be tried again.
CREATE INDEX event_to_blank ON event (settled_at) WHERE status = 'settled' AND data IS NOT NULL;

-- How long a source must wait before it may try another key for a learner: null, where it sent
-- fewer wrong ones of late than the limits. It looks past row level security, under which no index
-- on times is used, and tells nothing but that.
CREATE FUNCTION guessing_pause(
    source_id bigint, email text, span interval, per_source bigint, per_learner bigint
) RETURNS interval
-- Its plan is kept from one message to the next, and one that was made while there was no event would
-- read all that came since. Only along event_guessed is nothing done that is forbidden here.
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
DECLARE
    decisive timestamptz;
BEGIN
    SELECT greatest(
        (SELECT received_at FROM event
          WHERE event.source_id = guessing_pause.source_id
            AND outcome IN ('unknown_key', 'mistyped_key') AND received_at > clock_now() - span
          ORDER BY received_at DESC OFFSET per_source - 1 LIMIT 1),
        (SELECT received_at FROM event
          WHERE event.source_id = guessing_pause.source_id
            AND outcome IN ('unknown_key', 'mistyped_key') AND received_at > clock_now() - span
            AND lower(data #>> '{learner,email}') = lower(email)
          ORDER BY received_at DESC OFFSET per_learner - 1 LIMIT 1))
      INTO decisive;
    RETURN decisive + span - clock_now();
END
$$;

REVOKE ALL ON FUNCTION guessing_pause(bigint, text, interval, bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION guessing_pause(bigint, text, interval, bigint, bigint) TO keypool_web;

-- A tree's events in the batch that a settler claimed, committed before the work and removed with it: who
-- gets the tree's lock and finds a row knows that its settler died, and on which events. size is the whole
-- batch's. A row without a root is of the release before this, whose settlers claim a batch as one row;
-- backend_pid is for older code.
CREATE TABLE settlement (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    root_id       bigint      REFERENCES organization ON DELETE RESTRICT,
    size          int         NOT NULL DEFAULT 1,
    event_ids     bigint[]    NOT NULL,
    claimed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    backend_pid   int         NOT NULL DEFAULT pg_backend_pid(),

    CONSTRAINT settlement_claims_something  CHECK (cardinality(event_ids) > 0),
    CONSTRAINT settlement_is_a_trees_only_one UNIQUE (root_id)
);

-- The decision on one redemption.requested event. organization_id is who may see it: the pool's
-- owner, or the source's organization where no key was found. That it is there, and the pool, is checked
-- once a statement where attempts are tallied (below), as the keys' pools are.
CREATE TABLE redemption (
    event_id                bigint             PRIMARY KEY REFERENCES event ON DELETE RESTRICT,
    organization_id         bigint             NOT NULL,
    learner_organization_id bigint             NOT NULL REFERENCES organization ON DELETE RESTRICT,
    learner_email           text               NOT NULL,
    learner_email_lower     text               NOT NULL GENERATED ALWAYS AS (lower(learner_email)) STORED,
    key_id                  bigint             REFERENCES key        ON DELETE RESTRICT,
    pool_id                 bigint,
    assignment_id           bigint             REFERENCES assignment ON DELETE RESTRICT,
    outcome                 redemption_outcome NOT NULL,
    received_at             timestamptz        NOT NULL,

    CONSTRAINT redemption_without_a_key_found_none
        CHECK ((key_id IS NULL) = (outcome IN ('mistyped_key', 'unknown_key'))),
    CONSTRAINT redemption_knows_its_keys_pool
        CHECK ((key_id IS NULL) = (pool_id IS NULL)),
    CONSTRAINT redemption_leads_to_an_assignment
        CHECK (outcome NOT IN ('redeemed', 'already_yours') OR assignment_id IS NOT NULL)
);

-- Keeps "one assignment, one redemption".
CREATE UNIQUE INDEX assignment_comes_from_one_redemption ON redemption (assignment_id) WHERE outcome = 'redeemed';
-- Read by a key's page: its attempts.
CREATE INDEX redemption_by_key ON redemption (key_id, event_id);
-- Read by a pool's page and its filters.
CREATE INDEX redemption_by_pool ON redemption (pool_id, event_id);
-- Read by lists of an organization's attempts.
CREATE INDEX redemption_by_organization ON redemption (organization_id, event_id);
-- Read by a learner's page.
CREATE INDEX redemption_by_learner ON redemption (learner_email_lower);
-- Read by reports of a period: rows come in the order of time, so a summary of their blocks is enough.
CREATE INDEX redemption_by_time ON redemption USING brin (received_at) WITH (pages_per_range = 32);

-- Attempts to redeem in a quarter of an hour (no time zone's day begins within one), a row a statement,
-- folded together by the schedule as pool_tally is: a period's redemptions and refusals are counted without
-- reading every attempt. An attempt is counted for who may see it; pool_id is null where no key was found. An
-- attempt's organization and pool always have a row here, so these foreign keys keep the attempts', too.
CREATE TABLE attempt_tally (
    organization_id bigint             NOT NULL REFERENCES organization ON DELETE RESTRICT,
    pool_id         bigint             REFERENCES pool ON DELETE RESTRICT,
    outcome         redemption_outcome NOT NULL,
    tried_at        timestamptz        NOT NULL,
    attempts        bigint             NOT NULL,

    CONSTRAINT attempt_tally_counts_attempts CHECK (attempts > 0)
);

-- Read by an organization's first page, and by the pace of its pools.
CREATE INDEX attempt_tally_by_organization ON attempt_tally (organization_id, tried_at);
-- Read by the operator's first page, and by the fold: what is new.
CREATE INDEX attempt_tally_by_time ON attempt_tally (tried_at);
-- Read by a pool's page: its redemptions and refusals of up to 90 days.
CREATE INDEX attempt_tally_by_pool ON attempt_tally (pool_id, tried_at) WHERE pool_id IS NOT NULL;

CREATE FUNCTION tally_attempts() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO attempt_tally (organization_id, pool_id, outcome, tried_at, attempts)
    SELECT organization_id, pool_id, outcome, date_bin('15 minutes', received_at, '2000-01-01'), count(*)
      FROM added GROUP BY 1, 2, 3, 4;
    RETURN NULL;
END
$$;

CREATE TRIGGER attempts_are_tallied AFTER INSERT ON redemption
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION tally_attempts();

CREATE FUNCTION refuse_rewriting_an_attempt() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'an attempt stays as it was decided'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'attempt_stays_as_decided';
END
$$;

-- The address is left out: it names a person, whom D1 erases.
CREATE TRIGGER attempt_stays_as_decided
    BEFORE UPDATE OF event_id, organization_id, learner_organization_id, key_id, pool_id, assignment_id,
                     outcome, received_at
    ON redemption FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting_an_attempt();

-- A spell in which a pool was unusual against its own past, by one rule. seen: what the rule counts, in the 24
-- hours before held_at, the last time that it held, of among where it is a share; usual: the same before, as a
-- mean a day or a share; most: on the highest day of those. A spell ends a day after the rule held last.
CREATE TABLE pool_unusual (
    id       bigint       GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pool_id  bigint       NOT NULL REFERENCES pool ON DELETE RESTRICT,
    rule     unusual_rule NOT NULL,
    seen     bigint       NOT NULL,
    among    bigint,
    usual    numeric      NOT NULL,
    most     bigint,
    began_at timestamptz  NOT NULL DEFAULT clock_now(),
    held_at  timestamptz  NOT NULL DEFAULT clock_now(),
    ended_at timestamptz,

    CONSTRAINT pool_unusual_share_is_of_something CHECK ((rule = 'strangers') = (among IS NOT NULL)),
    CONSTRAINT pool_unusual_count_has_a_highest   CHECK ((rule = 'strangers') = (most IS NULL))
);

-- Keeps "one spell at a time"; read by a pool's page and lists.
CREATE UNIQUE INDEX pool_is_unusual_once_by_a_rule ON pool_unusual (pool_id, rule) WHERE ended_at IS NULL;
-- Read by reports of a pool's spells.
CREATE INDEX pool_unusual_by_pool ON pool_unusual (pool_id, began_at);

-- The instant that a pool's window refused a key by: its start or its end, as they are now.
CREATE FUNCTION refusing_limit(outcome text, starts_at timestamptz, expires_at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE outcome WHEN 'pool_not_started' THEN starts_at WHEN 'pool_expired' THEN expires_at END;

-- That instant of a decided event, for its sentence. The pool may be a parent's, whose rows the sender
-- does not see; it tells nothing of it but that, and of events in sight alone.
CREATE FUNCTION limit_of_attempt(event_id bigint) RETURNS timestamptz
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT refusing_limit(redemption.outcome::text, starts_at, expires_at)
              FROM redemption JOIN pool ON pool.id = pool_id JOIN event ON event.id = redemption.event_id
             WHERE event.id = limit_of_attempt.event_id
               AND (session_user <> 'keypool_web' OR sees_everything()
                    OR event.organization_id IN (SELECT visible_organization())));
END
$$;
REVOKE ALL ON FUNCTION limit_of_attempt(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION limit_of_attempt(bigint) TO keypool_web;

-- One time a learner takes the training, known by its sender's id; refused ones are kept too.
CREATE TABLE launch (
    id              bigint       GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    assignment_id   bigint       NOT NULL REFERENCES assignment   ON DELETE RESTRICT,
    organization_id bigint       NOT NULL REFERENCES organization ON DELETE RESTRICT,
    source_id       bigint       REFERENCES source                ON DELETE RESTRICT,
    launch          text         NOT NULL,
    outcome         launch_outcome NOT NULL DEFAULT 'launched',
    launched_at     timestamptz  NOT NULL,
    ended_at        timestamptz,
    completed       boolean,
    score           numeric(9,4),

    CONSTRAINT launch_is_recorded_once           UNIQUE (launch, source_id),
    CONSTRAINT launch_ends_after_it_began        CHECK (ended_at >= launched_at),
    CONSTRAINT launch_refused_never_ends         CHECK (outcome = 'launched' OR ended_at IS NULL),
    CONSTRAINT launch_is_completed_by_ending     CHECK (ended_at IS NOT NULL OR (completed IS NULL AND score IS NULL))
);

-- Keeps "a launch is recorded once" for those that came over the API, from no source.
CREATE UNIQUE INDEX launch_over_the_api_is_recorded_once ON launch (organization_id, launch)
    WHERE source_id IS NULL;
-- Read by an assignment's page and by "was it launched?".
CREATE INDEX launch_by_assignment ON launch (assignment_id, launched_at);
-- Read by reports of a period: see redemption_by_time.
CREATE INDEX launch_by_time ON launch USING brin (launched_at) WITH (pages_per_range = 32);


-- Billing ----------------------------------------------------------------------------------------

-- The charges of one organization, one billing month (its first day), one currency; a credit note has
-- credits alone. A draft still gathers; once numbered, only its payment or voiding may change it. by_hand:
-- made by voiding another or at once on demand, so that it gathers nothing, and only a person finalizes it.
-- seller and buyer are copied when it is finalized. told_overdue_at: when invoice.overdue was told.
CREATE TABLE invoice (
    id              bigint         GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint         NOT NULL REFERENCES organization ON DELETE RESTRICT,
    month           date           NOT NULL,
    currency        char(3)        NOT NULL,
    kind            invoice_kind   NOT NULL DEFAULT 'invoice',
    status          invoice_status NOT NULL DEFAULT 'draft',
    by_hand         boolean        NOT NULL DEFAULT false,
    year            int,
    serial          int,
    number          text           GENERATED ALWAYS AS
        (year::text || '-' || lpad(serial::text, greatest(6, length(serial::text)), '0')) STORED,
    subtotal        numeric(16,4)  NOT NULL DEFAULT 0,
    tax             numeric(16,4)  NOT NULL DEFAULT 0,
    total           numeric(16,4)  NOT NULL DEFAULT 0,
    seller          jsonb,
    buyer           jsonb,
    created_at      timestamptz    NOT NULL DEFAULT clock_now(),
    finalized_at    timestamptz,
    issued_on       date,
    due_on          date,
    paid_on         date,
    voided_at       timestamptz,
    void_reason     text,
    told_overdue_at timestamptz,

    CONSTRAINT invoice_month_is_its_first_day   CHECK (extract(day FROM month) = 1),
    CONSTRAINT invoice_total_adds_up            CHECK (total = subtotal + tax),
    CONSTRAINT invoice_number_is_given_once     UNIQUE (number),
    CONSTRAINT invoice_number_counts_from_1     CHECK (serial > 0),
    CONSTRAINT invoice_has_seller_and_buyer_when_final
        CHECK (status = 'draft' OR (seller IS NOT NULL AND buyer IS NOT NULL)),
    CONSTRAINT invoice_is_numbered_when_final
        CHECK ((status = 'draft') = (serial IS NULL) AND (serial IS NULL) = (year IS NULL)
               AND (serial IS NULL) = (finalized_at IS NULL) AND (serial IS NULL) = (due_on IS NULL)
               AND (serial IS NULL) = (issued_on IS NULL)),
    CONSTRAINT invoice_is_numbered_in_the_year_of_its_issue CHECK (year = extract(year FROM issued_on)),
    CONSTRAINT invoice_is_paid_on_a_day         CHECK ((status = 'paid') = (paid_on IS NOT NULL)),
    CONSTRAINT invoice_is_voided_for_a_reason
        CHECK ((status = 'void') = (voided_at IS NOT NULL) AND (status = 'void') = (void_reason IS NOT NULL)),
    CONSTRAINT credit_note_is_never_voided      CHECK (kind = 'invoice' OR status <> 'void')
);

-- Keeps "one gathering draft per organization, month, currency and kind"; read by the billing run.
CREATE UNIQUE INDEX invoice_has_one_draft ON invoice (organization_id, month, currency, kind)
    WHERE status = 'draft' AND NOT by_hand;
-- Read by whoever looks for drafts that wait for a person: metrics, the audit.
CREATE INDEX invoice_by_hand ON invoice (id) WHERE status = 'draft' AND by_hand;
-- Read by the schedule: what is overdue and not told yet.
CREATE INDEX invoice_to_be_overdue ON invoice (due_on) WHERE status = 'finalized' AND told_overdue_at IS NULL;
-- Read by lists of an organization's invoices, and by "is this month still open?".
CREATE INDEX invoice_by_organization ON invoice (organization_id, month);

CREATE FUNCTION refuse_changing_an_invoice() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a finalized invoice can only be paid or voided'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'finalized_invoice_never_changes';
END
$$;

-- number is generated after this trigger, from what it compares.
CREATE FUNCTION keep_final_invoices() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    outcome CONSTANT text[] := '{status,paid_on,voided_at,void_reason,told_overdue_at,number}';
BEGIN
    IF OLD.status = 'draft' AND NEW.status IN ('draft', 'finalized')
       AND (NEW.id, NEW.organization_id, NEW.month, NEW.currency, NEW.kind)
         = (OLD.id, OLD.organization_id, OLD.month, OLD.currency, OLD.kind)
    OR (OLD.status, NEW.status) IN (('finalized', 'paid'), ('paid', 'finalized'), ('finalized', 'void'),
                                    ('finalized', 'finalized'))
       AND to_jsonb(NEW) - outcome = to_jsonb(OLD) - outcome THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a finalized invoice can only be paid or voided'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'finalized_invoice_never_changes';
END
$$;

CREATE TRIGGER finalized_invoice_never_changes BEFORE UPDATE ON invoice
    FOR EACH ROW EXECUTE FUNCTION keep_final_invoices();
COMMENT ON TRIGGER finalized_invoice_never_changes ON invoice
    IS 'invoice_status: A finalized invoice can only be paid or voided; credit a charge instead.';
CREATE TRIGGER invoice_is_never_deleted BEFORE DELETE ON invoice
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_changing_an_invoice();

-- The last invoice number given in a year of issue (in the seller's time zone), and its day. It is
-- taken under its row lock in the finalizing transaction, so that none is skipped or given twice, and
-- no number has an earlier day than the one before it.
CREATE TABLE invoice_serial (
    year           int  PRIMARY KEY,
    last           int  NOT NULL,
    last_issued_on date NOT NULL
);

-- A period's journal as it was handed to bookkeeping, with the accounts as they were then: the same days
-- again are the same export. It begins when the period is over, so nothing is added to it afterwards.
CREATE TABLE journal_export (
    number    int         PRIMARY KEY,
    first_day date        NOT NULL,
    last_day  date        NOT NULL,
    accounts  jsonb       NOT NULL,
    made_at   timestamptz NOT NULL DEFAULT clock_now(),

    CONSTRAINT journal_is_numbered_once_a_period UNIQUE (first_day, last_day),
    CONSTRAINT journal_has_days_in_order         CHECK (first_day <= last_day)
);

-- Money received for an invoice, on a day of the seller's; below zero where money was given back for one
-- whose total is. One that was recorded wrongly is taken back,
-- with a reason; it stays as the invoice's history.
CREATE TABLE payment (
    id                 bigint        GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    invoice_id         bigint        NOT NULL REFERENCES invoice ON DELETE RESTRICT,
    paid_on            date          NOT NULL,
    amount             numeric(16,4) NOT NULL,
    reference          text          NOT NULL DEFAULT '',
    recorded_at        timestamptz   NOT NULL DEFAULT clock_now(),
    taken_back_at      timestamptz,
    taken_back_because text,

    CONSTRAINT payment_is_of_money             CHECK (amount <> 0),
    CONSTRAINT payment_reference_is_short
        CHECK (reference = btrim(reference) AND length(reference) <= 200),
    CONSTRAINT payment_is_taken_back_for_a_reason
        CHECK ((taken_back_at IS NULL) = (taken_back_because IS NULL))
);

COMMENT ON CONSTRAINT payment_is_of_money ON payment
    IS 'invalid_input(amount): A payment is more than nothing.';
COMMENT ON CONSTRAINT payment_reference_is_short ON payment
    IS 'invalid_input(reference): A reference has up to 200 characters.';

-- Read by whoever asks what is open of an invoice.
CREATE INDEX payment_by_invoice ON payment (invoice_id);

CREATE FUNCTION refuse_rewriting_a_payment() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a payment is never rewritten; take it back'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'payment_is_never_rewritten';
END
$$;

CREATE TRIGGER payment_is_never_rewritten
    BEFORE UPDATE OF id, invoice_id, paid_on, amount, recorded_at OR DELETE ON payment
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting_a_payment();
CREATE TRIGGER payment_is_taken_back_once BEFORE UPDATE OF taken_back_at ON payment
    FOR EACH ROW WHEN (OLD.taken_back_at IS NOT NULL)
    EXECUTE FUNCTION refuse_rewriting_a_payment();

-- What a redemption (or a paid extension) costs the pool's owner, at the price of that moment.
-- A credit is a negative charge that names the charge it undoes, wholly or partly. tax_rate_id: the rate
-- in force for its owner when it occurred, a credit's its charge's; null is no rate. unbilled: on no
-- unreleased invoice, and not cancelled out; kept by the triggers of invoice_charge and
-- charge_cancelled_out.
CREATE TABLE charge (
    id                      bigint        GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind                    charge_kind   NOT NULL,
    organization_id         bigint        NOT NULL,
    learner_organization_id bigint        NOT NULL REFERENCES organization ON DELETE RESTRICT,
    course_id               bigint        NOT NULL,
    pool_id                 bigint        NOT NULL,
    assignment_id           bigint        NOT NULL REFERENCES assignment   ON DELETE RESTRICT,
    credits_id              bigint        REFERENCES charge                ON DELETE RESTRICT,
    amount                  numeric(14,4) NOT NULL,
    currency                char(3)       NOT NULL,
    occurred_at             timestamptz   NOT NULL,
    reason                  text,
    unbilled                boolean       NOT NULL DEFAULT true,
    tax_rate_id             bigint,

    CONSTRAINT charge_is_owed_and_credit_is_given_back
        CHECK (CASE WHEN kind = 'credit' THEN amount <= 0 ELSE amount >= 0 END),
    CONSTRAINT charge_is_in_the_minor_unit       CHECK (amount = round(amount, minor_unit(currency))),
    CONSTRAINT credit_names_the_charge_it_undoes CHECK ((kind = 'credit') = (credits_id IS NOT NULL)),
    CONSTRAINT credit_has_a_reason               CHECK (kind <> 'credit' OR reason IS NOT NULL),
    CONSTRAINT charge_is_owed_by_its_pools_owner FOREIGN KEY (pool_id, course_id, organization_id)
        REFERENCES pool (id, course_id, organization_id) ON DELETE RESTRICT,
    CONSTRAINT charge_has_a_tax_rate_of_its_owner FOREIGN KEY (tax_rate_id, organization_id)
        REFERENCES tax_rate (id, organization_id) ON DELETE RESTRICT
);

-- Keeps "one assignment, one redemption charge" (of the others, null is never the same twice); read
-- by an assignment's page. One index and not two: billing a charge writes to all that it has.
CREATE UNIQUE INDEX assignment_is_charged_once
    ON charge (assignment_id, (CASE WHEN kind = 'redemption' THEN true END));
-- Read by credits: what of a charge was given back already.
CREATE INDEX charge_credits ON charge (credits_id) WHERE credits_id IS NOT NULL;
-- Read by the billing run: what is still to be invoiced, however much was invoiced before.
CREATE INDEX charge_unbilled ON charge (organization_id, occurred_at) WHERE unbilled;
-- Read by the billing run: credits that stand on no credit note yet. Few, so no charge's billing pays for it.
CREATE INDEX charge_unbilled_credit ON charge (organization_id, credits_id)
    WHERE unbilled AND credits_id IS NOT NULL;
-- Read by lists of an organization's charges.
CREATE INDEX charge_by_organization ON charge (organization_id, id);
-- Read by lists of a pool's charges.
CREATE INDEX charge_by_pool ON charge (pool_id, occurred_at);
-- Read by reports of a period: see redemption_by_time. Billing moves a charge on, some weeks late.
CREATE INDEX charge_by_time ON charge
    USING brin (occurred_at timestamptz_minmax_multi_ops) WITH (pages_per_range = 32);

-- What a pool was charged in a quarter of an hour (no time zone's month begins within one), credits
-- as what they give back: a row a statement, folded together by the schedule as pool_tally is. What of it
-- is unbilled is kept for the running month alone: no page asks for others, and their billing stays quick.
CREATE TABLE pool_charged (
    pool_id    bigint        NOT NULL REFERENCES pool ON DELETE RESTRICT,
    charged_at timestamptz   NOT NULL,
    currency   char(3)       NOT NULL,
    quantity   bigint        NOT NULL,
    amount     numeric(16,4) NOT NULL,
    unbilled_quantity bigint        NOT NULL,
    unbilled_amount   numeric(16,4) NOT NULL
);

-- Read by a pool's page: charged so far this month.
CREATE INDEX pool_charged_by_pool ON pool_charged (pool_id, charged_at);
-- Read by the fold: what is new.
CREATE INDEX pool_charged_by_time ON pool_charged (charged_at);

CREATE FUNCTION tally_charges() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO pool_charged (pool_id, charged_at, currency, quantity, amount,
                              unbilled_quantity, unbilled_amount)
    SELECT pool_id, date_bin('15 minutes', occurred_at, '2000-01-01'), currency,
           count(*), sum(amount), count(*), sum(amount)
      FROM added GROUP BY 1, 2, 3;
    RETURN NULL;
END
$$;

CREATE TRIGGER charges_are_tallied AFTER INSERT ON charge
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION tally_charges();

-- Credits of one charge never exceed it (B3), however many are given at once, and have its tax rate.
CREATE FUNCTION refuse_credit_beyond_its_charge() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    credited charge;
BEGIN
    SELECT * INTO credited FROM charge WHERE id = NEW.credits_id FOR NO KEY UPDATE;
    IF credited.kind = 'credit' OR credited.currency <> NEW.currency
       OR credited.organization_id <> NEW.organization_id
       OR credited.tax_rate_id IS DISTINCT FROM NEW.tax_rate_id
       OR credited.amount + NEW.amount + coalesce(
           (SELECT sum(amount) FROM charge WHERE credits_id = NEW.credits_id), 0) < 0 THEN
        RAISE EXCEPTION 'the credits of a charge cannot exceed it'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'credits_stay_within_their_charge';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER credits_stay_within_their_charge BEFORE INSERT ON charge
    FOR EACH ROW WHEN (NEW.credits_id IS NOT NULL)
    EXECUTE FUNCTION refuse_credit_beyond_its_charge();
COMMENT ON TRIGGER credits_stay_within_their_charge ON charge
    IS 'credit_exceeds_charge: The credits of a charge cannot exceed it; credit what is left of it at most.';

CREATE FUNCTION refuse_rewriting_a_charge() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a charge is never rewritten; credit it'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'charge_is_never_rewritten';
END
$$;

-- reason is left out: it may name a person, whom D1 erases.
CREATE TRIGGER charge_is_never_rewritten
    BEFORE UPDATE OF id, kind, organization_id, learner_organization_id, course_id, pool_id,
                     assignment_id, credits_id, amount, currency, occurred_at, tax_rate_id
    OR DELETE ON charge
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting_a_charge();
CREATE TRIGGER charge_is_billed_by_its_invoice BEFORE UPDATE OF unbilled ON charge
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0)
    EXECUTE FUNCTION refuse_rewriting_a_charge();

-- A rate that something was charged at stays as it is. Its charges are found by their pools.
CREATE FUNCTION keep_charged_tax_rates() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM pool
                 JOIN charge ON charge.pool_id = pool.id AND charge.occurred_at >= OLD.valid_from
                WHERE pool.organization_id = OLD.organization_id AND charge.tax_rate_id = OLD.id) THEN
        RAISE EXCEPTION 'a tax rate that something was charged at never changes'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'charged_tax_rate_never_changes';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER charged_tax_rate_never_changes BEFORE UPDATE ON tax_rate
    FOR EACH ROW EXECUTE FUNCTION keep_charged_tax_rates();

-- One line of an invoice: charges alike in course, pool, kind, service month, unit price and tax rate; of a
-- credit note, credits of one line of an invoice for one reason, of which reason_key is the MD5 hash.
-- course_title and pool_name are copied when it is finalized.
CREATE TABLE invoice_line (
    id            bigint        GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    invoice_id    bigint        NOT NULL REFERENCES invoice ON DELETE RESTRICT,
    course_id     bigint        NOT NULL REFERENCES course  ON DELETE RESTRICT,
    pool_id       bigint        NOT NULL REFERENCES pool    ON DELETE RESTRICT,
    kind          charge_kind   NOT NULL,
    service_month date          NOT NULL,
    unit_price    numeric(14,4) NOT NULL,
    quantity      bigint        NOT NULL,
    amount        numeric(16,4) NOT NULL,
    course_title  text,
    pool_name     text,
    tax_rate_id   bigint        REFERENCES tax_rate ON DELETE RESTRICT,
    credits_line_id bigint      REFERENCES invoice_line ON DELETE RESTRICT,
    reason_key    uuid,

    CONSTRAINT invoice_line_is_one_of_its_kind
        UNIQUE NULLS NOT DISTINCT (invoice_id, course_id, pool_id, kind, service_month, unit_price, tax_rate_id,
                                   credits_line_id, reason_key),
    CONSTRAINT credit_line_names_the_line_it_credits
        CHECK (kind <> 'credit' OR (credits_line_id IS NULL) = (reason_key IS NULL)),
    CONSTRAINT invoice_line_belongs_to_its_invoice UNIQUE (id, invoice_id),
    CONSTRAINT invoice_line_adds_up CHECK (amount = quantity * unit_price AND quantity > 0)
);

CREATE FUNCTION refuse_changing_final_lines() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    -- Locked first: a finalization under way is waited for, then seen.
    PERFORM FROM invoice WHERE id IN (SELECT invoice_id FROM changed) ORDER BY id FOR NO KEY UPDATE;
    IF EXISTS (SELECT FROM invoice
                WHERE id IN (SELECT invoice_id FROM changed) AND status <> 'draft') THEN
        RAISE EXCEPTION 'a finalized invoice can only be paid or voided'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'finalized_invoice_never_changes';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER lines_are_added_to_drafts AFTER INSERT ON invoice_line
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_changing_final_lines();
CREATE TRIGGER lines_change_in_drafts AFTER UPDATE ON invoice_line
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_changing_final_lines();
CREATE TRIGGER line_stays_on_its_invoice BEFORE UPDATE OF id, invoice_id OR DELETE ON invoice_line
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_changing_an_invoice();

-- How many of a line's charges were for the learners of one organization, each at the line's unit
-- price: an invoice tells whom it was for without reading its charges.
CREATE TABLE invoice_share (
    invoice_id              bigint NOT NULL,
    line_id                 bigint NOT NULL,
    learner_organization_id bigint NOT NULL REFERENCES organization ON DELETE RESTRICT,
    quantity                bigint NOT NULL,

    PRIMARY KEY (invoice_id, line_id, learner_organization_id),
    CONSTRAINT invoice_share_is_of_its_invoices_line
        FOREIGN KEY (line_id, invoice_id) REFERENCES invoice_line (id, invoice_id) ON DELETE RESTRICT,
    CONSTRAINT invoice_share_counts_charges CHECK (quantity > 0)
);

CREATE TRIGGER shares_are_added_to_drafts AFTER INSERT ON invoice_share
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_changing_final_lines();
CREATE TRIGGER shares_change_in_drafts AFTER UPDATE ON invoice_share
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_changing_final_lines();
CREATE TRIGGER share_stays_on_its_line
    BEFORE UPDATE OF invoice_id, line_id, learner_organization_id OR DELETE ON invoice_share
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_changing_an_invoice();

-- What of an invoice is taxed at one rate: rounded here, once (B6). Of a credit note, what of it credits
-- one invoice at one rate; the credit that makes that invoice's rate whole takes the rest of its tax.
CREATE TABLE invoice_tax (
    invoice_id         bigint        NOT NULL REFERENCES invoice  ON DELETE RESTRICT,
    tax_rate_id        bigint        REFERENCES tax_rate          ON DELETE RESTRICT,
    credits_invoice_id bigint        REFERENCES invoice           ON DELETE RESTRICT,
    subtotal           numeric(16,4) NOT NULL,
    tax                numeric(16,4) NOT NULL,

    CONSTRAINT invoice_is_taxed_once_a_rate UNIQUE NULLS NOT DISTINCT (invoice_id, tax_rate_id, credits_invoice_id)
);

-- Read by whoever asks what was credited of an invoice.
CREATE INDEX invoice_tax_credits ON invoice_tax (credits_invoice_id) WHERE credits_invoice_id IS NOT NULL;

CREATE TRIGGER taxes_are_added_to_drafts AFTER INSERT ON invoice_tax
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_changing_final_lines();
CREATE TRIGGER taxes_change_in_drafts AFTER UPDATE ON invoice_tax
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_changing_final_lines();
CREATE TRIGGER tax_stays_on_its_invoice
    BEFORE UPDATE OF invoice_id, tax_rate_id, credits_invoice_id OR DELETE ON invoice_tax
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_changing_an_invoice();

-- What of a credit note is set against the invoices that it credits: of each, as much as was open there
-- before it. Earlier credit notes come first.
CREATE FUNCTION credit_set_against_invoices(credit_note_id bigint) RETURNS numeric
LANGUAGE sql STABLE BEGIN ATOMIC
    SELECT coalesce(sum(greatest(least(given.amount, invoice.total - before.amount), 0)), 0)
      FROM (SELECT credits_invoice_id, -sum(subtotal + tax) AS amount
              FROM invoice_tax
             WHERE invoice_tax.invoice_id = credit_note_id AND credits_invoice_id IS NOT NULL
             GROUP BY credits_invoice_id) AS given
      JOIN invoice AS note ON note.id = credit_note_id
      JOIN invoice ON invoice.id = given.credits_invoice_id
     CROSS JOIN LATERAL (
           SELECT coalesce((SELECT sum(amount) FROM payment
                             WHERE payment.invoice_id = invoice.id AND taken_back_at IS NULL), 0)
                - coalesce((SELECT sum(earlier.subtotal + earlier.tax)
                              FROM invoice_tax AS earlier JOIN invoice AS other ON other.id = earlier.invoice_id
                             WHERE earlier.credits_invoice_id = invoice.id AND other.status <> 'draft'
                               AND (other.year, other.serial) < (note.year, note.serial)), 0)
                AS amount) AS before;
END;

-- What of an invoice is open: neither paid nor credited; nothing of a draft or a void one. Of a credit
-- note, what neither lowers what is open on its invoices nor was paid out: below zero.
CREATE FUNCTION invoice_open(invoice_id bigint, status invoice_status, total numeric) RETURNS numeric
LANGUAGE sql STABLE BEGIN ATOMIC
    SELECT CASE WHEN status NOT IN ('finalized', 'paid') THEN 0
                WHEN unpaid.amount <= 0 THEN unpaid.amount
                ELSE greatest(unpaid.amount + credited.amount, 0) END
      FROM (SELECT total + credit_set_against_invoices(invoice_open.invoice_id)
                   - coalesce(sum(payment.amount), 0) AS amount
              FROM payment
             WHERE payment.invoice_id = invoice_open.invoice_id AND taken_back_at IS NULL) AS unpaid,
           (SELECT coalesce(sum(given.subtotal + given.tax), 0) AS amount
              FROM invoice_tax AS given JOIN invoice AS note ON note.id = given.invoice_id
             WHERE given.credits_invoice_id = invoice_open.invoice_id AND note.status <> 'draft') AS credited;
END;

-- Payments never exceed what is open, however many are recorded at once; the invoice is locked first.
CREATE FUNCTION keep_payments_within_their_invoice() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    paid  invoice;
    still numeric;
BEGIN
    SELECT * INTO paid FROM invoice WHERE id = NEW.invoice_id FOR NO KEY UPDATE;
    still := invoice_open(paid.id, paid.status, paid.total);
    IF NEW.amount <> 0 AND (sign(NEW.amount) <> sign(still) OR abs(NEW.amount) > abs(still)) THEN
        RAISE EXCEPTION 'payments cannot exceed their invoice'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_stay_within_their_invoice';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER payments_stay_within_their_invoice BEFORE INSERT ON payment
    FOR EACH ROW EXECUTE FUNCTION keep_payments_within_their_invoice();

-- Which charges an invoice carries. Voiding releases them; the row stays as the void's detail.
CREATE TABLE invoice_charge (
    invoice_id  bigint      NOT NULL,
    charge_id   bigint      NOT NULL REFERENCES charge ON DELETE RESTRICT,
    line_id     bigint      NOT NULL,
    released_at timestamptz,

    PRIMARY KEY (invoice_id, line_id, charge_id),
    CONSTRAINT invoice_charge_is_on_its_invoices_line
        FOREIGN KEY (line_id, invoice_id) REFERENCES invoice_line (id, invoice_id) ON DELETE RESTRICT
);

-- Keeps "a charge is on one unreleased invoice at most".
CREATE UNIQUE INDEX charge_is_billed_once ON invoice_charge (charge_id) WHERE released_at IS NULL;

-- What became billed (sign -1) or unbilled again (1) of the running month, an invoice of which there
-- is only where somebody asked for one before its end.
CREATE FUNCTION tally_unbilled(charge_ids bigint[], sign int) RETURNS void
LANGUAGE sql SET search_path = public, pg_temp
BEGIN ATOMIC
    INSERT INTO pool_charged (pool_id, charged_at, currency, quantity, amount,
                              unbilled_quantity, unbilled_amount)
    SELECT pool_id, date_bin('15 minutes', occurred_at, '2000-01-01'), currency, 0, 0,
           sign * count(*), sign * sum(amount)
      FROM charge WHERE id = ANY (charge_ids) GROUP BY 1, 2, 3;
END;

-- Whether an invoice's month may still be running, in any time zone.
CREATE FUNCTION month_may_run(month date) RETURNS boolean
LANGUAGE sql STABLE SET search_path = public, pg_temp
RETURN month >= date_trunc('month', clock_now() - interval '1 day')::date;

-- Adding a charge to an invoice bills it: only an unbilled one of the draft's organization and
-- currency. Credits go on credit notes, and nothing else does.
CREATE FUNCTION bill_added_charges() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    billed bigint;
BEGIN
    PERFORM FROM invoice WHERE id IN (SELECT invoice_id FROM added) ORDER BY id FOR NO KEY UPDATE;
    -- The invoice is looked up row by row: as a join it would be planned for a handful of rows.
    UPDATE charge SET unbilled = false
      FROM added
     WHERE charge.id = added.charge_id AND charge.unbilled AND added.released_at IS NULL
       AND (charge.organization_id, charge.currency, charge.kind = 'credit') = (
           SELECT organization_id, currency, kind = 'credit_note' FROM invoice
            WHERE id = added.invoice_id AND status = 'draft');
    GET DIAGNOSTICS billed = ROW_COUNT;
    IF billed <> (SELECT count(*) FROM added) THEN
        RAISE EXCEPTION 'a draft gathers unbilled charges of its organization and currency'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'draft_gathers_its_own_unbilled_charges';
    END IF;
    IF EXISTS (SELECT FROM invoice WHERE id IN (SELECT invoice_id FROM added) AND month_may_run(month)) THEN
        PERFORM tally_unbilled(ARRAY(SELECT charge_id FROM added), -1);
    END IF;
    RETURN NULL;
END
$$;

-- Releasing a void invoice's charges makes them unbilled again; nothing else of the row changes.
CREATE FUNCTION release_voided_charges() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    released bigint;
BEGIN
    UPDATE charge SET unbilled = true
      FROM after
     WHERE charge.id = after.charge_id AND after.released_at IS NOT NULL
       AND (SELECT status FROM invoice WHERE id = after.invoice_id) = 'void';
    GET DIAGNOSTICS released = ROW_COUNT;
    IF released <> (SELECT count(*) FROM before WHERE released_at IS NULL)
       OR released <> (SELECT count(*) FROM after) THEN
        RAISE EXCEPTION 'only a void invoice releases its charges, once'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'void_invoice_releases_its_charges';
    END IF;
    IF EXISTS (SELECT FROM invoice WHERE id IN (SELECT invoice_id FROM after) AND month_may_run(month)) THEN
        PERFORM tally_unbilled(ARRAY(SELECT charge_id FROM after), 1);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER added_charges_are_billed AFTER INSERT ON invoice_charge
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION bill_added_charges();
CREATE TRIGGER voided_charges_are_released AFTER UPDATE ON invoice_charge
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION release_voided_charges();
CREATE TRIGGER invoice_keeps_its_charges
    BEFORE UPDATE OF invoice_id, line_id, charge_id OR DELETE ON invoice_charge
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_changing_an_invoice();


-- A charge and its credits, none of which was billed, and that come to nothing: they stand on no document.
-- So do charges of 0 where the seller makes no invoice of 0.
CREATE TABLE charge_cancelled_out (
    charge_id    bigint      PRIMARY KEY REFERENCES charge ON DELETE RESTRICT,
    cancelled_at timestamptz NOT NULL DEFAULT clock_now()
);

CREATE FUNCTION bill_nothing() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    settled bigint;
BEGIN
    UPDATE charge SET unbilled = false FROM added WHERE charge.id = added.charge_id AND charge.unbilled;
    GET DIAGNOSTICS settled = ROW_COUNT;
    IF settled <> (SELECT count(*) FROM added)
       OR EXISTS (SELECT FROM added JOIN charge ON charge.id IN (
                         SELECT coalesce(credits_id, id) FROM charge WHERE charge.id = added.charge_id)
                   WHERE charge.amount + coalesce((
                         SELECT sum(credit.amount) FROM charge AS credit
                           JOIN charge_cancelled_out ON charge_cancelled_out.charge_id = credit.id
                          WHERE credit.credits_id = charge.id), 0) <> 0) THEN
        RAISE EXCEPTION 'only unbilled charges and credits that come to nothing cancel out'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'cancelled_out_comes_to_nothing';
    END IF;
    PERFORM tally_unbilled(ARRAY(SELECT charge_id FROM added JOIN charge ON charge.id = charge_id
                                  WHERE occurred_at > clock_now() - interval '32 days'), -1);
    RETURN NULL;
END
$$;

CREATE TRIGGER cancelled_out_comes_to_nothing AFTER INSERT ON charge_cancelled_out
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION bill_nothing();
CREATE TRIGGER cancelled_out_stays_so BEFORE UPDATE OR DELETE ON charge_cancelled_out
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting_a_charge();


-- Telling others -----------------------------------------------------------------------------------

-- Where an organization wants to be told of what happens in it and below it, by types. pool_low and
-- pool_expiring_days say when a pool is. After failed attempts in a row an endpoint rests for a while,
-- so that what is dead or slow is not asked all the time; failing_since is the first of them. A paused one is
-- told nothing until it is resumed: by a person, or because it said that it is gone (paused_because).
CREATE TABLE endpoint (
    id                 bigint          GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id    bigint          NOT NULL REFERENCES organization ON DELETE RESTRICT,
    url                text            NOT NULL,
    types              delivery_type[] NOT NULL,
    pool_low           int             NOT NULL DEFAULT 100,
    pool_expiring_days int             NOT NULL DEFAULT 14,
    created_at         timestamptz     NOT NULL DEFAULT clock_now(),
    removed_at         timestamptz,
    failures           int             NOT NULL DEFAULT 0,
    rests_until        timestamptz,
    failing_since      timestamptz,
    paused_at          timestamptz,
    paused_because     text,

    CONSTRAINT endpoint_wants_something           CHECK (cardinality(types) > 0),
    CONSTRAINT endpoint_reason_is_of_a_pause      CHECK (paused_because IS NULL OR paused_at IS NOT NULL),
    CONSTRAINT endpoint_calls_a_pool_low          CHECK (pool_low BETWEEN 1 AND 1000000000),
    CONSTRAINT endpoint_calls_a_pool_expiring     CHECK (pool_expiring_days BETWEEN 1 AND 3650)
);

COMMENT ON CONSTRAINT endpoint_calls_a_pool_low ON endpoint
    IS 'invalid_input(pool_low): A pool is low below 1 to 1,000,000,000 keys.';
COMMENT ON CONSTRAINT endpoint_calls_a_pool_expiring ON endpoint
    IS 'invalid_input(pool_expiring_days): A pool is called expiring 1 to 3650 days ahead.';

-- Keeps "an organization has an address once"; read by whatever is told: who listens above.
CREATE UNIQUE INDEX endpoint_is_registered_once ON endpoint (organization_id, url) WHERE removed_at IS NULL;
COMMENT ON INDEX endpoint_is_registered_once
    IS 'already_exists(url): The organization has an endpoint at that address already; edit that one.';

CREATE FUNCTION note_failing() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.failing_since := CASE WHEN NEW.failures > 0 THEN clock_now() END;
    RETURN NEW;
END
$$;

CREATE TRIGGER endpoint_fails_since BEFORE UPDATE OF failures ON endpoint
    FOR EACH ROW WHEN ((OLD.failures > 0) <> (NEW.failures > 0)) EXECUTE FUNCTION note_failing();

-- A signing secret of an endpoint, encrypted; several sign while one replaces another.
CREATE TABLE endpoint_secret (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint_id bigint      NOT NULL REFERENCES endpoint ON DELETE RESTRICT,
    encrypted   bytea       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_now(),
    expires_at  timestamptz
);

-- Read by every delivery.
CREATE INDEX endpoint_secret_by_endpoint ON endpoint_secret (endpoint_id);

-- The outbox: one thing that happened, for one endpoint, written in the transaction in which it
-- happened. data is blanked after a while. due_at is when it is tried next: whoever tries it puts that
-- off first, so that a try that died comes back. identity makes its webhook-id, which counts nothing; those of
-- older releases have none. answers are the latest attempts, each with its answer: at, status, error, seconds.
-- event_id: whose decision it tells.
CREATE TABLE delivery (
    id                      bigint         GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint_id             bigint         NOT NULL REFERENCES endpoint ON DELETE RESTRICT,
    type                    delivery_type  NOT NULL,
    learner_organization_id bigint         REFERENCES organization ON DELETE RESTRICT,
    data                    jsonb,
    happened_at             timestamptz    NOT NULL DEFAULT clock_now(),
    state                   delivery_state NOT NULL DEFAULT 'waiting',
    due_at                  timestamptz    NOT NULL DEFAULT clock_now(),
    attempts                int            NOT NULL DEFAULT 0,
    tried_since             timestamptz,
    ended_at                timestamptz,
    error                   text,
    identity                uuid           DEFAULT gen_random_uuid(),
    answers                 jsonb,
    event_id                bigint         REFERENCES event ON DELETE RESTRICT,

    CONSTRAINT delivery_ends_once              CHECK ((state = 'waiting') = (ended_at IS NULL)),
    CONSTRAINT delivery_failure_has_its_error  CHECK (state <> 'failed' OR error IS NOT NULL),
    CONSTRAINT delivery_has_a_body_to_send     CHECK (state <> 'waiting' OR data IS NOT NULL)
);

-- Read by the deliverer: an endpoint's next.
CREATE INDEX delivery_due ON delivery (endpoint_id, due_at, id) WHERE state = 'waiting';
-- Read by an endpoint's list, newest first.
CREATE INDEX delivery_by_endpoint ON delivery (endpoint_id, id);
-- Read by lists of failed deliveries and by the metrics.
CREATE INDEX delivery_failed ON delivery (id) WHERE state = 'failed';
-- Read by an event's page: what went out because of it.
CREATE INDEX delivery_by_event ON delivery (event_id) WHERE event_id IS NOT NULL;
-- Read by the sweep that blanks old bodies.
CREATE INDEX delivery_to_blank ON delivery (ended_at) WHERE data IS NOT NULL;

-- What an endpoint was told of a pool: that it is low, until it is not; and that this end is near.
CREATE TABLE pool_alert (
    endpoint_id  bigint      NOT NULL REFERENCES endpoint ON DELETE RESTRICT,
    pool_id      bigint      NOT NULL REFERENCES pool     ON DELETE RESTRICT,
    is_low       boolean     NOT NULL DEFAULT false,
    told_end     timestamptz,

    PRIMARY KEY (endpoint_id, pool_id)
);

-- A learner's address as strangers read it (R5): enough to talk about it.
CREATE FUNCTION masked_address(email text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN left(split_part(email, '@', 1), 1) || '***@' || left(split_part(email, '@', 2), 1) || '***';

-- The decisions on redemptions, to those who listen at the pool's owner (or the source, where no key
-- was found) and at the source. A body names the learner, the source and the pool to whom may see
-- them; `reader` is what its sentence is made of, and is not sent. Where nobody wants this type, that
-- is all that it costs.
CREATE FUNCTION tell_redemptions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM endpoint WHERE removed_at IS NULL AND 'redemption.decided' = ANY (types)) THEN
        RETURN NULL;
    END IF;
    WITH decided AS MATERIALIZED (
        SELECT added.*, event.source_id, event.webhook_id, event.organization_id AS sender_id
          FROM added JOIN event ON event.id = added.event_id),
    listening AS MATERIALIZED (
        SELECT place.organization_id, endpoint.id AS endpoint_id, endpoint.organization_id AS listener_id
          FROM (SELECT organization_id FROM decided UNION SELECT sender_id FROM decided) AS place
          JOIN organization_ancestry AS above ON above.descendant_id = place.organization_id
          JOIN endpoint ON endpoint.organization_id = above.ancestor_id
         WHERE removed_at IS NULL AND 'redemption.decided' = ANY (endpoint.types)),
    told AS (
        SELECT event_id, endpoint_id, listener_id,
               bool_or(place = 'owner') AS sees_owner, bool_or(place = 'sender') AS sees_sender
          FROM (SELECT event_id, endpoint_id, listener_id, 'owner' AS place
                  FROM decided JOIN listening USING (organization_id)
                UNION ALL
                SELECT event_id, endpoint_id, listener_id, 'sender'
                  FROM decided JOIN listening ON listening.organization_id = sender_id) AS seen
         GROUP BY event_id, endpoint_id, listener_id)
    INSERT INTO delivery (endpoint_id, type, learner_organization_id, event_id, data)
    SELECT told.endpoint_id, 'redemption.decided', decided.learner_organization_id, decided.event_id,
           jsonb_build_object(
               'event', decided.event_id::text,
               'source', CASE WHEN sees_sender THEN source_id::text END,
               'webhook_id', CASE WHEN sees_sender THEN webhook_id END,
               'outcome', decided.outcome,
               'pool', CASE WHEN sees_owner THEN decided.pool_id::text END,
               'course', CASE WHEN sees_owner THEN course.code END,
               'learner', CASE WHEN known.distance IS NULL THEN masked_address(learner_email) ELSE learner_email END,
               'organization', CASE WHEN known.distance IS NOT NULL THEN organization.name END,
               'assignment', decided.assignment_id::text,
               'access_expires_at', iso_instant(assignment.expires_at),
               'received_at', iso_instant(decided.received_at),
               'reader', jsonb_build_object(
                   'time_zone', CASE WHEN known.distance IS NULL THEN listener.time_zone ELSE organization.time_zone END,
                   'locale', CASE WHEN known.distance IS NULL THEN listener.locale ELSE organization.locale END,
                   'limit', iso_instant(refusing_limit(decided.outcome::text, pool.starts_at, pool.expires_at))))
      FROM told
      JOIN decided USING (event_id)
      JOIN organization ON organization.id = decided.learner_organization_id
      JOIN organization AS listener ON listener.id = told.listener_id
      LEFT JOIN pool ON pool.id = decided.pool_id
      LEFT JOIN course ON course.id = pool.course_id
      LEFT JOIN assignment ON assignment.id = decided.assignment_id
      LEFT JOIN organization_ancestry AS known
             ON known.ancestor_id = told.listener_id AND known.descendant_id = decided.learner_organization_id
     ORDER BY decided.received_at, decided.event_id, told.endpoint_id;
    RETURN NULL;
END
$$;

CREATE TRIGGER redemptions_are_told AFTER INSERT ON redemption
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION tell_redemptions();

-- Assignments that expired, were cancelled or extended, to those who listen at the learner's
-- organization and at the pool's owner.
CREATE FUNCTION tell_assignments() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM endpoint WHERE removed_at IS NULL AND types
                   && '{assignment.expired,assignment.cancelled,assignment.extended}'::delivery_type[]) THEN
        RETURN NULL;
    END IF;
    WITH changed AS MATERIALIZED (
        SELECT after.*, pool.organization_id AS owner_id,
               CASE WHEN after.status = 'expired' AND before.status <> 'expired' THEN 'assignment.expired'
                    WHEN after.status = 'cancelled' AND before.status <> 'cancelled' THEN 'assignment.cancelled'
                    WHEN after.expires_at > before.expires_at THEN 'assignment.extended'
               END::delivery_type AS type
          FROM after JOIN before USING (id) JOIN pool ON pool.id = after.pool_id),
    listening AS MATERIALIZED (
        SELECT place.organization_id, endpoint.id AS endpoint_id, endpoint.organization_id AS listener_id,
               endpoint.types
          FROM (SELECT organization_id FROM changed UNION SELECT owner_id FROM changed) AS place
          JOIN organization_ancestry AS above ON above.descendant_id = place.organization_id
          JOIN endpoint ON endpoint.organization_id = above.ancestor_id
         WHERE removed_at IS NULL),
    told AS (
        SELECT id, endpoint_id, listener_id, bool_or(place = 'owner') AS sees_owner,
               bool_or(place = 'learner') AS known
          FROM (SELECT id, endpoint_id, listener_id, 'learner' AS place
                  FROM changed JOIN listening USING (organization_id) WHERE type = ANY (types)
                UNION ALL
                SELECT id, endpoint_id, listener_id, 'owner'
                  FROM changed JOIN listening ON listening.organization_id = owner_id
                 WHERE type = ANY (types)) AS seen
         GROUP BY id, endpoint_id, listener_id)
    INSERT INTO delivery (endpoint_id, type, learner_organization_id, data)
    SELECT told.endpoint_id, changed.type, changed.organization_id, jsonb_build_object(
               'id', changed.id::text,
               'learner', CASE WHEN known THEN learner.email ELSE masked_address(learner.email) END,
               'organization', CASE WHEN known THEN organization.name END,
               'course', course.code,
               'pool', CASE WHEN sees_owner THEN changed.pool_id::text END,
               'status', changed.status,
               'redeemed_at', iso_instant(changed.redeemed_at),
               'expires_at', iso_instant(changed.expires_at))
      FROM told
      JOIN changed USING (id)
      JOIN learner ON learner.id = changed.learner_id
      JOIN organization ON organization.id = changed.organization_id
      JOIN course ON course.id = changed.course_id
     ORDER BY changed.id, told.endpoint_id;
    RETURN NULL;
END
$$;

CREATE TRIGGER assignments_are_told AFTER UPDATE ON assignment
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION tell_assignments();

-- What became of an invoice, to those who listen at its buyer.
CREATE FUNCTION tell_invoice() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    told CONSTANT delivery_type := CASE
        WHEN NEW.kind = 'credit_note' THEN CASE WHEN OLD.status = 'draft' THEN 'credit_note.finalized' END
        WHEN NEW.status = OLD.status  THEN 'invoice.overdue'
        WHEN NEW.status = 'paid'      THEN 'invoice.paid'
        WHEN NEW.status = 'void'      THEN 'invoice.voided'
        WHEN OLD.status = 'draft'     THEN 'invoice.finalized'
        ELSE                               'invoice.payment_taken_back' END;
BEGIN
    INSERT INTO delivery (endpoint_id, type, data)
    SELECT endpoint.id, told, jsonb_build_object(
               'id', NEW.id::text, 'number', NEW.number, 'kind', NEW.kind, 'organization', organization.name,
               'month', to_char(NEW.month, 'YYYY-MM'), 'currency', NEW.currency, 'status', NEW.status,
               'subtotal', round(NEW.subtotal, minor_unit(NEW.currency))::text,
               'tax', round(NEW.tax, minor_unit(NEW.currency))::text,
               'total', round(NEW.total, minor_unit(NEW.currency))::text,
               'issued_on', NEW.issued_on, 'due_on', NEW.due_on, 'paid_on', NEW.paid_on,
               'open', round(invoice_open(NEW.id, NEW.status, NEW.total), minor_unit(NEW.currency))::text)
      FROM organization_ancestry AS above
      JOIN endpoint ON endpoint.organization_id = above.ancestor_id AND removed_at IS NULL
      JOIN organization ON organization.id = NEW.organization_id
     WHERE above.descendant_id = NEW.organization_id AND told = ANY (endpoint.types)
     ORDER BY endpoint.id;
    RETURN NULL;
END
$$;

CREATE TRIGGER invoice_is_told AFTER UPDATE OF status, told_overdue_at ON invoice
    FOR EACH ROW WHEN ((OLD.status, OLD.told_overdue_at) IS DISTINCT FROM (NEW.status, NEW.told_overdue_at))
    EXECUTE FUNCTION tell_invoice();


-- Mail ----------------------------------------------------------------------------------------------

-- An organization's own words for a mail. A row is never rewritten: editing adds one and marks the one
-- before as replaced, so that what waits is sent in the words in which it was asked for.
CREATE TABLE mail_template (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint      NOT NULL REFERENCES organization ON DELETE RESTRICT,
    name            text        NOT NULL,
    subject         text        NOT NULL,
    body            text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_now(),
    replaced_at     timestamptz,

    CONSTRAINT mail_template_has_a_name    CHECK (name = btrim(name) AND name <> '' AND length(name) <= 100),
    CONSTRAINT mail_template_has_a_subject CHECK (length(subject) BETWEEN 1 AND 300),
    CONSTRAINT mail_template_has_a_body    CHECK (length(body) BETWEEN 1 AND 20000)
);

COMMENT ON CONSTRAINT mail_template_has_a_name ON mail_template
    IS 'invalid_input(name): A template''s name has 1 to 100 characters.';
COMMENT ON CONSTRAINT mail_template_has_a_subject ON mail_template
    IS 'invalid_input(subject): A subject has 1 to 300 characters.';
COMMENT ON CONSTRAINT mail_template_has_a_body ON mail_template
    IS 'invalid_input(text): A mail''s text has 1 to 20,000 characters.';

-- Keeps "of each name, one is in force"; read by whoever asks for a template by its name.
CREATE UNIQUE INDEX mail_template_is_in_force_once ON mail_template (organization_id, name) WHERE replaced_at IS NULL;

-- One e-mail to one person in an organization's name, or in the seller's, written in the transaction of
-- what causes it.
-- data is what it is made of, beside the rows that it names; it is blanked after a while. due_at works
-- as a delivery's. Every retry has the same identity, which its Message-ID is made of. refused: the mail
-- server refused the address for good, so that no later message to it is tried. about and occasion: the
-- thing that a reminder is of, such as `invoice 17`, and the instant that makes its occasion.
CREATE TABLE message (
    id              bigint        GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint        REFERENCES organization ON DELETE RESTRICT,
    distribution_id bigint        REFERENCES distribution ON DELETE RESTRICT,
    template_id     bigint        REFERENCES mail_template ON DELETE RESTRICT,
    kind            text          NOT NULL,
    recipient       text          NOT NULL,
    recipient_lower text          NOT NULL GENERATED ALWAYS AS (lower(recipient)) STORED,
    data            jsonb,
    identity        uuid          NOT NULL DEFAULT gen_random_uuid(),
    happened_at     timestamptz   NOT NULL DEFAULT clock_now(),
    state           message_state NOT NULL DEFAULT 'waiting',
    due_at          timestamptz   NOT NULL DEFAULT clock_now(),
    attempts        int           NOT NULL DEFAULT 0,
    tried_since     timestamptz,
    ended_at        timestamptz,
    error           text,
    refused         boolean       NOT NULL DEFAULT false,
    about           text,
    occasion        timestamptz,

    CONSTRAINT message_ends_once             CHECK ((state = 'waiting') = (ended_at IS NULL)),
    CONSTRAINT message_failure_has_its_error CHECK (state <> 'failed' OR error IS NOT NULL),
    CONSTRAINT message_has_a_body_to_send    CHECK (state <> 'waiting' OR data IS NOT NULL),
    CONSTRAINT message_is_refused_for_good   CHECK (NOT refused OR state = 'failed'),
    CONSTRAINT message_reminds_of_a_thing    CHECK ((about IS NULL) = (occasion IS NULL))
);

-- Keeps "keys are mailed once, however often they are asked for": sending them again is an act.
CREATE UNIQUE INDEX message_gives_keys_once ON message (distribution_id) WHERE kind = 'keys';
-- Keeps "a reminder is sent once an occasion"; read for the reminders of a thing.
CREATE UNIQUE INDEX message_reminds_once ON message (about, recipient_lower, kind, occasion) WHERE about IS NOT NULL;
-- Read by the sender: what is next; first what somebody waits for at a page.
CREATE INDEX message_next ON message ((kind NOT IN ('code', 'reset')), due_at, id) WHERE state = 'waiting';
-- Read by an organization's list, newest first.
CREATE INDEX message_by_organization ON message (organization_id, id);
-- Read by a person's export and erasure, and by lists of one recipient.
CREATE INDEX message_by_recipient ON message (recipient_lower);
-- Read by the sender: the addresses that are not tried any more.
CREATE INDEX message_refused ON message (recipient_lower, organization_id) WHERE refused;
-- Read by lists of failed messages and by the metrics.
CREATE INDEX message_failed ON message (id) WHERE state = 'failed';
-- Read by the sweep that blanks old bodies.
CREATE INDEX message_to_blank ON message (ended_at) WHERE data IS NOT NULL;
-- Read by the sweep that blanks the mails of codes that are over.
CREATE INDEX message_code_to_blank ON message (ended_at) WHERE kind = 'code' AND data IS NOT NULL;

-- The mail server, which rests after failed attempts in a row, as an endpoint does.
CREATE TABLE mail_server (
    only_one    boolean     PRIMARY KEY DEFAULT true,
    failures    int         NOT NULL DEFAULT 0,
    rests_until timestamptz,

    CONSTRAINT mail_server_is_one CHECK (only_one)
);
INSERT INTO mail_server DEFAULT VALUES;

-- A reminder that an organization wants, for its own pools, invoices and reports. threshold is in days, or
-- in keys for pool_low; kinds that need none have none. recipient: who gets what is not for learners or
-- about invoices; where it is empty, the managers. looked_to: whatever comes with time, such as an end of
-- access, was looked for up to there.
CREATE TABLE reminder (
    organization_id bigint        NOT NULL REFERENCES organization ON DELETE RESTRICT,
    kind            reminder_kind NOT NULL,
    threshold       int,
    recipient       text          NOT NULL DEFAULT '',
    looked_to       timestamptz   NOT NULL,

    PRIMARY KEY (organization_id, kind),
    CONSTRAINT reminder_has_its_threshold
        CHECK ((threshold IS NULL) = (kind IN ('invoice_sent', 'report_made', 'trouble'))),
    CONSTRAINT reminder_comes_in_days CHECK (kind = 'pool_low' OR threshold BETWEEN 1 AND 3650),
    CONSTRAINT reminder_counts_keys   CHECK (kind <> 'pool_low' OR threshold BETWEEN 1 AND 1000000000)
);

COMMENT ON CONSTRAINT reminder_comes_in_days ON reminder
    IS 'invalid_input(days): A reminder comes 1 to 3650 days before or after.';
COMMENT ON CONSTRAINT reminder_counts_keys ON reminder
    IS 'invalid_input(keys): A pool is low below 1 to 1,000,000,000 keys.';

-- A pool that is low, by its organization's reminder, since when: the occasion of that reminder. The row
-- goes when the pool is low no longer.
CREATE TABLE pool_shortage (
    pool_id bigint      PRIMARY KEY REFERENCES pool ON DELETE RESTRICT,
    since   timestamptz NOT NULL DEFAULT clock_now()
);

-- Who wants no reminders in an organization's name any more. Keys, codes and invoices still come.
CREATE TABLE unsubscribed (
    organization_id bigint      NOT NULL REFERENCES organization ON DELETE RESTRICT,
    address         text        NOT NULL,
    since           timestamptz NOT NULL DEFAULT clock_now(),

    PRIMARY KEY (organization_id, address),
    CONSTRAINT unsubscribed_is_in_lower_case CHECK (address = lower(address))
);


-- Acts on many rows ---------------------------------------------------------------------------------

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


-- The redeem page -----------------------------------------------------------------------------------

-- One browser at a redeem page, known by the hash of a random id that its cookie has. organization_id: whose
-- page it is; null where it is nobody's, and until a key says so. needs_code: an address is proved by a code,
-- which message_id's mail brings; the code is made of the message's identity and kept nowhere. asked_encrypted:
-- the key and the name that were typed, until the key is judged. outcome: of a key that no inbox could take.
CREATE TABLE page_session (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash            bytea       NOT NULL,
    organization_id bigint      REFERENCES organization ON DELETE RESTRICT,
    email           text        NOT NULL,
    email_lower     text        NOT NULL GENERATED ALWAYS AS (lower(email)) STORED,
    client_hash     bytea       NOT NULL,
    language        text        NOT NULL,
    asked_encrypted bytea,
    needs_code      boolean     NOT NULL,
    message_id      bigint      REFERENCES message ON DELETE RESTRICT,
    tries           int         NOT NULL DEFAULT 0,
    began_at        timestamptz NOT NULL DEFAULT clock_now(),
    proved_at       timestamptz,
    event_id        bigint      REFERENCES event ON DELETE RESTRICT,
    outcome         text,

    CONSTRAINT page_session_is_known_by_its_hash UNIQUE (hash),
    CONSTRAINT page_session_has_five_tries       CHECK (tries BETWEEN 0 AND 5)
);

-- Read where a code is asked for: those of an address, and of a client, within a day.
CREATE INDEX page_session_by_address ON page_session (email_lower, began_at);
CREATE INDEX page_session_by_client ON page_session (client_hash, began_at);
-- Read by the sweep that removes old ones.
CREATE INDEX page_session_by_age ON page_session (began_at);


-- Reports that are kept -----------------------------------------------------------------------------

-- A report that is made again and again: a notebook, asked about each day, week (from Monday on) or month of
-- an organization and its descendants when that is over in its time zone; of all, in UTC, where it is none.
-- recipients get each by mail, as format, as long as the organization is in the tree of named_by_id, the
-- organization of whoever named them (no foreign key: it may be a stranger by now); it is none for the operator.
-- Periods that end after since are made, unless it was paused or removed.
CREATE TABLE report_schedule (
    id              bigint          GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint          REFERENCES organization ON DELETE RESTRICT,
    notebook        text            NOT NULL,
    every           report_rhythm   NOT NULL,
    format          schedule_format NOT NULL DEFAULT 'html',
    parameters      jsonb           NOT NULL DEFAULT '{}',
    recipients      text[]          NOT NULL DEFAULT '{}',
    asked_by        text            NOT NULL,
    created_at      timestamptz     NOT NULL DEFAULT clock_now(),
    since           timestamptz     NOT NULL DEFAULT clock_now(),
    paused_at       timestamptz,
    removed_at      timestamptz,
    named_by_id     bigint,

    CONSTRAINT schedule_names_a_notebook_without_a_path CHECK (notebook ~ '^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}$'),
    CONSTRAINT schedule_has_a_few_parameters            CHECK (jsonb_typeof(parameters) = 'object'
                                                           AND octet_length(parameters::text) <= 4000),
    CONSTRAINT schedule_mails_to_a_few                  CHECK (cardinality(recipients) <= 50),
    CONSTRAINT schedule_mails_to_somebody               CHECK (array_position(recipients, NULL) IS NULL),
    CONSTRAINT schedule_that_is_removed_mails_nobody    CHECK (removed_at IS NULL OR recipients = '{}')
);
COMMENT ON CONSTRAINT schedule_has_a_few_parameters ON report_schedule
    IS 'invalid_input(parameters): The parameters of a report have at most 4,000 characters in all.';
COMMENT ON CONSTRAINT schedule_mails_to_a_few ON report_schedule
    IS 'invalid_input(mail): A scheduled report is mailed to at most 50 addresses; give one of a list.';

-- Read by lists of an organization's schedules.
CREATE INDEX report_schedule_by_organization ON report_schedule (organization_id, id) WHERE removed_at IS NULL;

-- One report that is kept: a notebook that was asked about days, first and last included, of an
-- organization and its descendants (of all, where it is none), by a person, after an invoice was
-- finalized, or by a schedule; that one is tried again from retry_at on if it failed. worked of cells are done; worked_at tells whether somebody still works on it. page is
-- one HTML file, of the data as it was at data_at; pdf is that page printed, where that was asked
-- for. An erasure that changes the page takes the PDF away, until the page is printed anew.
CREATE TABLE report_run (
    id              bigint        GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint        REFERENCES organization ON DELETE RESTRICT,
    invoice_id      bigint        REFERENCES invoice      ON DELETE RESTRICT,
    notebook        text          NOT NULL,
    first_day       date          NOT NULL,
    last_day        date          NOT NULL,
    format          report_format NOT NULL DEFAULT 'html',
    asked_by        text          NOT NULL,
    state           report_state  NOT NULL DEFAULT 'queued',
    attempts        int           NOT NULL DEFAULT 0,
    worked          int           NOT NULL DEFAULT 0,
    cells           int           NOT NULL DEFAULT 0,
    created_at      timestamptz   NOT NULL DEFAULT clock_now(),
    worked_at       timestamptz,
    data_at         timestamptz,
    finished_at     timestamptz,
    page            text,
    pdf             bytea,
    traceback       text,
    parameters      jsonb         NOT NULL DEFAULT '{}',
    schedule_id     bigint        REFERENCES report_schedule ON DELETE RESTRICT,
    retry_at        timestamptz,

    -- The worker makes a file's name of it.
    CONSTRAINT report_names_a_notebook_without_a_path CHECK (notebook ~ '^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}$'),
    CONSTRAINT report_is_made_once_for_an_invoice     UNIQUE (invoice_id, notebook),
    CONSTRAINT report_is_made_once_for_a_period       UNIQUE (schedule_id, first_day, last_day),
    CONSTRAINT report_has_days_in_order               CHECK (first_day <= last_day),
    CONSTRAINT report_works_the_cells_it_has          CHECK (worked BETWEEN 0 AND cells),
    CONSTRAINT report_is_attended_while_it_runs       CHECK (state <> 'running' OR worked_at IS NOT NULL),
    CONSTRAINT report_ends_once                       CHECK ((state IN ('done', 'failed')) = (finished_at IS NOT NULL)),
    CONSTRAINT report_that_is_done_has_its_page       CHECK ((state = 'done') = (page IS NOT NULL)
                                                         AND (state <> 'done' OR data_at IS NOT NULL)),
    CONSTRAINT report_is_printed_where_that_was_asked CHECK (pdf IS NULL OR format = 'pdf' AND page IS NOT NULL),
    CONSTRAINT report_failure_has_its_traceback       CHECK (CASE state WHEN 'failed' THEN traceback IS NOT NULL
                                                                        WHEN 'done' THEN true  -- of cells that failed
                                                                        ELSE traceback IS NULL END),
    CONSTRAINT report_has_a_few_parameters            CHECK (jsonb_typeof(parameters) = 'object'
                                                         AND octet_length(parameters::text) <= 4000)
);
COMMENT ON CONSTRAINT report_has_a_few_parameters ON report_run
    IS 'invalid_input(parameters): The parameters of a report have at most 4,000 characters in all.';

-- Read by the worker that makes the next: people's first, then in the order in which they were asked.
CREATE INDEX report_run_unfinished ON report_run ((invoice_id IS NOT NULL OR schedule_id IS NOT NULL), id)
    WHERE state IN ('queued', 'running');
-- Read by the worker that prints anew what an erasure changed.
CREATE INDEX report_run_unprinted ON report_run (id) WHERE state = 'done' AND format = 'pdf' AND pdf IS NULL;
-- Read by lists of an organization's reports.
CREATE INDEX report_run_by_organization ON report_run (organization_id, id);

-- What became of a report that is kept, to those who listen at its organization or above. One on all
-- organizations is told to nobody.
CREATE FUNCTION tell_report() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    told CONSTANT delivery_type := CASE NEW.state WHEN 'done' THEN 'report.made' ELSE 'report.failed' END;
BEGIN
    INSERT INTO delivery (endpoint_id, type, data)
    SELECT endpoint.id, told, jsonb_build_object(
               'id', NEW.id::text, 'notebook', NEW.notebook, 'organization', organization.name,
               'from', NEW.first_day, 'to', NEW.last_day, 'format', NEW.format,
               'finished_at', iso_instant(NEW.finished_at))
      FROM organization_ancestry AS above
      JOIN endpoint ON endpoint.organization_id = above.ancestor_id AND removed_at IS NULL
      JOIN organization ON organization.id = NEW.organization_id
     WHERE above.descendant_id = NEW.organization_id AND told = ANY (endpoint.types)
     ORDER BY endpoint.id;
    RETURN NULL;
END
$$;

CREATE TRIGGER report_is_told AFTER UPDATE OF state ON report_run
    FOR EACH ROW WHEN (NEW.state IN ('done', 'failed') AND NEW.state <> OLD.state)
    EXECUTE FUNCTION tell_report();

-- Which scheduled report a mail brings, by what it is about; which stays when its body is blanked.
CREATE FUNCTION scheduled_report_of(kind text, about text) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN kind IN ('scheduled_report', 'scheduled_report_failed') THEN split_part(about, ' ', 2)::bigint END
$$;

-- Whether those whom somebody of an organization named may still get reports on another: whether that is in
-- the first one's tree now.
CREATE FUNCTION may_name_recipients(named_by bigint, about bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT named_by IS NULL
        OR EXISTS (SELECT FROM organization_ancestry WHERE ancestor_id = named_by AND descendant_id = about)
$$;

-- A scheduled report, or that it could not be made, is mailed to who is to get it. Recipients that were named
-- from above, by an organization that the report's has left, get none from then on, and the history says so.
CREATE FUNCTION mail_report() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    WITH foreign_recipients AS (
        SELECT id, recipients FROM report_schedule
         WHERE id = NEW.schedule_id AND recipients <> '{}'
           AND NOT may_name_recipients(named_by_id, organization_id) FOR UPDATE),
    stopped AS (
        UPDATE report_schedule SET recipients = '{}' FROM foreign_recipients
         WHERE report_schedule.id = foreign_recipients.id
        RETURNING report_schedule.id, organization_id, notebook, foreign_recipients.recipients AS mail)
    INSERT INTO history (actor, organization_id, action, thing, thing_id, detail)
    SELECT 'schedule ' || id, organization_id, 'report recipients stopped', 'schedule', id,
           jsonb_build_object('notebook', notebook, 'mail', to_jsonb(mail),
                              'reason', 'The organization left the tree of those who named them.')
      FROM stopped;
    INSERT INTO message (organization_id, kind, recipient, about, occasion, data)
    SELECT NEW.organization_id,
           CASE NEW.state WHEN 'done' THEN 'scheduled_report' ELSE 'scheduled_report_failed' END,
           recipient, 'report ' || NEW.id, NEW.finished_at,
           jsonb_build_object('report', NEW.id, 'schedule', NEW.schedule_id, 'notebook', NEW.notebook,
                              'first_day', NEW.first_day, 'last_day', NEW.last_day)
      FROM report_schedule CROSS JOIN unnest(recipients) WITH ORDINALITY AS of (recipient, nth)
     WHERE report_schedule.id = NEW.schedule_id
     ORDER BY nth;
    RETURN NULL;
END
$$;

CREATE TRIGGER report_is_mailed AFTER UPDATE OF state ON report_run
    FOR EACH ROW WHEN (NEW.schedule_id IS NOT NULL AND NEW.state IN ('done', 'failed') AND NEW.state <> OLD.state)
    EXECUTE FUNCTION mail_report();


-- The schedule and the history -------------------------------------------------------------------

-- A scheduled job's run for one period, written in the transaction of its work: a period is done
-- once, however many schedulers run, and a run that died is run again.
CREATE TABLE schedule_run (
    job    text        NOT NULL,
    period timestamptz NOT NULL,
    ran_at timestamptz NOT NULL DEFAULT clock_now(),

    PRIMARY KEY (job, period)
);

-- When a task of the schedule last ran: the one row.
CREATE TABLE schedule_beat (
    only_one    boolean     PRIMARY KEY DEFAULT true,
    last_run_at timestamptz NOT NULL DEFAULT clock_now(),

    CONSTRAINT schedule_beat_is_one CHECK (only_one)
);
INSERT INTO schedule_beat DEFAULT VALUES;

-- A job of the schedule: how often beat asks for it, since when it is planned, and its last success.
CREATE TABLE schedule_job (
    name         text        PRIMARY KEY,
    every        interval    NOT NULL,
    planned_at   timestamptz NOT NULL DEFAULT clock_now(),
    succeeded_at timestamptz
);

-- An audit of the ledger: of what was made or changed since a time, of everything where that is null. checked: the
-- rows that it went through, a row once for each rule about it. faults: those that break a rule. checks: how far
-- each rule came and what was found, so that whoever works it next goes on from there.
CREATE TABLE audit_run (
    id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    since    timestamptz,
    begun_at timestamptz NOT NULL DEFAULT clock_now(),
    ended_at timestamptz,
    checked  bigint      NOT NULL DEFAULT 0,
    faults   bigint      NOT NULL DEFAULT 0,
    checks   jsonb       NOT NULL DEFAULT '{}'
);

-- Who did what to which thing, and when. Append-only; what a setting calls old is removed.
CREATE TABLE history (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at              timestamptz NOT NULL DEFAULT clock_now(),
    actor           text        NOT NULL,
    organization_id bigint      REFERENCES organization ON DELETE RESTRICT,
    action          text        NOT NULL,
    thing           text        NOT NULL,
    thing_id        bigint      NOT NULL,
    detail          jsonb       NOT NULL DEFAULT '{}'
);

-- Read by a thing's page.
CREATE INDEX history_by_thing ON history (thing, thing_id, id);
-- Read by an organization's history.
CREATE INDEX history_by_organization ON history (organization_id, id);
-- Read by "what did they do?" and "who did this?".
CREATE INDEX history_by_actor ON history (actor, id);
CREATE INDEX history_by_action ON history (action, id);
-- Read by a pool's history: the acts on its keys, batches and distributions.
CREATE INDEX history_by_pool ON history ((detail ->> 'pool'), id) WHERE detail ->> 'pool' IS NOT NULL;
-- Read by the history of a period: see redemption_by_time.
CREATE INDEX history_by_time ON history USING brin (at) WITH (pages_per_range = 32);

CREATE FUNCTION refuse_rewriting_history() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    -- The sweep removes what is past its retention; it says so for its own transaction, and may delete.
    IF TG_OP = 'DELETE' AND current_setting('keypool.forgetting', true) = 'on' THEN
        RETURN NULL;
    END IF;
    -- Erasing a person's data replaces names inside detail; it says so for its own transaction.
    IF TG_OP = 'UPDATE' AND current_setting('keypool.erasing', true) = 'on'
       AND (NEW.id, NEW.at, NEW.organization_id, NEW.action, NEW.thing, NEW.thing_id)
           IS NOT DISTINCT FROM (OLD.id, OLD.at, OLD.organization_id, OLD.action, OLD.thing, OLD.thing_id) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'history is never rewritten'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'history_is_never_rewritten';
END
$$;

CREATE TRIGGER history_is_append_only BEFORE DELETE OR TRUNCATE ON history
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting_history();
CREATE TRIGGER history_keeps_what_happened BEFORE UPDATE ON history
    FOR EACH ROW EXECUTE FUNCTION refuse_rewriting_history();


-- The walls between organizations ------------------------------------------------------------------

-- Whose request a transaction of the web serves is what keypool.entered says: as whom it entered (a person, or a
-- door that knows nobody), the organization whose tree it sees (an id, or * for the operator), and the actor of
-- its history. Any SQL may write that setting, so it is sealed, with a secret that no login can read, and for
-- this transaction alone: only the functions that authenticate seal. Unset or forged, the web sees nothing.
CREATE TABLE wall (
    secret bytea NOT NULL
);

ALTER TABLE wall ENABLE ROW LEVEL SECURITY;
INSERT INTO wall VALUES (sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')));

CREATE FUNCTION seal_of(words text) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT encode(sha256(secret || sha256(secret || convert_to(
                extract(epoch FROM transaction_timestamp())::text || ' ' || words, 'UTF8'))), 'hex')
              FROM wall);
END
$$;

CREATE FUNCTION enter(as_whom text, organization text, actor text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    words text := as_whom || ' ' || organization || ' ' || actor;
BEGIN
    RETURN set_config('keypool.entered', seal_of(words) || ' ' || words, true) IS NOT NULL;
END
$$;

-- Whether the setting was sealed by this transaction; its words are: as whom, organization, actor.
CREATE FUNCTION is_sealed(setting text) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN split_part(setting, ' ', 1) = seal_of(substr(setting, length(split_part(setting, ' ', 1)) + 2));
END
$$;

-- A web proves to some functions that it holds KEYPOOL_SECRET_KEY, which no SQL knows: by HMAC-SHA256 (RFC
-- 2104) over the words of what it asks, a proof by each of its keys. A row is one of those keys, derived for
-- that alone, as HMAC's two blocks. The owner's processes write the rows.
CREATE TABLE web_key (
    inner_block bytea PRIMARY KEY,
    outer_block bytea NOT NULL
);

ALTER TABLE web_key ENABLE ROW LEVEL SECURITY;

-- The words are told as a JSON array. One proof after the other: it is enough that one is right.
CREATE FUNCTION require_proof(proofs bytea, VARIADIC words text[]) RETURNS void
LANGUAGE plpgsql STABLE AS $$
DECLARE
    asked bytea := convert_to(to_json(words)::text, 'UTF8');
BEGIN
    IF EXISTS (SELECT FROM web_key
                WHERE position(sha256(outer_block || sha256(inner_block || asked)) IN proofs) > 0) THEN
        RETURN;
    END IF;
    RAISE EXCEPTION 'no web that this database knows has proved that it asks this'
        USING ERRCODE = 'invalid_authorization_specification';
END
$$;

-- Whether a web's proofs count here, for its readiness.
CREATE FUNCTION knows_web(proofs bytea) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'ready');
    RETURN true;
EXCEPTION WHEN invalid_authorization_specification THEN
    RETURN false;
END
$$;

REVOKE ALL ON FUNCTION require_proof(bytea, text[]), knows_web(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION knows_web(bytea) TO keypool_web;

-- The seal is looked at where rows would be seen: a claim of everything here, of an organization below.
CREATE FUNCTION sees_everything() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE WHEN split_part(coalesce(current_setting('keypool.entered', true), ''), ' ', 3) = '*'
            THEN is_sealed(current_setting('keypool.entered', true)) ELSE false END;

-- Nobody sees a row by what these two say, so they look at no seal: what they read is part of what is sealed.
CREATE FUNCTION is_persons() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(split_part(current_setting('keypool.entered', true), ' ', 2) = 'person', false);

CREATE FUNCTION entered_actor() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN regexp_replace(current_setting('keypool.entered', true), '^\S* \S* \S* ', '');

CREATE FUNCTION entered_organization() RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    setting text := current_setting('keypool.entered', true);
    claimed text := split_part(setting, ' ', 3);
BEGIN
    RETURN CASE WHEN claimed ~ '^\d{1,18}$' AND is_sealed(setting) THEN claimed::bigint END;
END
$$;

CREATE FUNCTION visible_organization() RETURNS SETOF bigint
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT descendant_id FROM organization_ancestry WHERE ancestor_id = entered_organization()
$$;

REVOKE ALL ON FUNCTION seal_of(text), enter(text, text, text), is_sealed(text), entered_organization(),
    visible_organization() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION is_sealed(text), visible_organization() TO keypool_web;

-- The pools that are shared with an organization by those above it: what it may know of them. To the
-- web's login they are told of an organization in sight alone.
CREATE FUNCTION shared_pool(with_organization bigint)
RETURNS TABLE (pool_id bigint, name text, course text, starts_at timestamptz, expires_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT pool.id, pool.name, course.code, pool.starts_at, pool.expires_at
      FROM organization_ancestry AS above
      JOIN pool   ON pool.organization_id = above.ancestor_id AND pool.share_with_children
      JOIN course ON course.id = pool.course_id
     WHERE above.descendant_id = with_organization AND above.distance > 0
       AND (session_user <> 'keypool_web' OR sees_everything()
            OR with_organization IN (SELECT visible_organization()))
$$;

-- What learners of an organization, and of those below it, redeemed of such a pool, with their keys. An
-- undone redemption is left out: its key is somebody else's to redeem.
CREATE FUNCTION shared_redemption(with_organization bigint, of_pool bigint)
RETURNS TABLE (assignment_id bigint, code text, email text, organization text, status assignment_status,
               redeemed_at timestamptz, expires_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT assignment.id, key.code, learner.email, organization.name, assignment.status,
           assignment.redeemed_at, assignment.expires_at
      FROM organization_ancestry AS below
      JOIN assignment   ON assignment.organization_id = below.descendant_id
      JOIN key          ON key.id = assignment.key_id
      JOIN learner      ON learner.id = assignment.learner_id
      JOIN organization ON organization.id = assignment.organization_id
     WHERE below.ancestor_id = with_organization AND assignment.pool_id = of_pool
       AND NOT assignment.undone
       AND EXISTS (SELECT FROM shared_pool(with_organization) AS shared WHERE shared.pool_id = of_pool)
$$;

REVOKE ALL ON FUNCTION shared_pool(bigint), shared_redemption(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared_pool(bigint), shared_redemption(bigint, bigint) TO keypool_web;

-- Which of some canonical forms are keys' already, of any organization: of an import into a pool that
-- the caller sees. It tells what the import's report tells of each line, and no more: not whose key it is.
CREATE FUNCTION known_keys(into_pool bigint, canonicals text[]) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT canonical FROM key
     WHERE canonical = ANY (canonicals COLLATE "C")
       AND EXISTS (SELECT FROM pool
                    WHERE id = into_pool
                      AND (session_user <> 'keypool_web' OR sees_everything()
                           OR organization_id IN (SELECT visible_organization())))
$$;
REVOKE ALL ON FUNCTION known_keys(bigint, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION known_keys(bigint, text[]) TO keypool_web;

-- How many of some keys are others': in pools of organizations other than a pool's and its descendants.
CREATE FUNCTION count_keys_of_others(into_pool bigint, canonicals text[]) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT count(*) FROM key JOIN pool ON pool.id = key.pool_id
     WHERE canonical = ANY (canonicals COLLATE "C")
       AND NOT EXISTS (SELECT FROM pool AS own
                         JOIN organization_ancestry ON ancestor_id = own.organization_id
                        WHERE own.id = into_pool AND descendant_id = pool.organization_id)
       AND EXISTS (SELECT FROM pool AS own
                    WHERE own.id = into_pool
                      AND (session_user <> 'keypool_web' OR sees_everything()
                           OR organization_id IN (SELECT visible_organization())))
$$;
REVOKE ALL ON FUNCTION count_keys_of_others(bigint, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION count_keys_of_others(bigint, text[]) TO keypool_web;

ALTER TABLE organization   ENABLE ROW LEVEL SECURITY;
ALTER TABLE organization_ancestry ENABLE ROW LEVEL SECURITY;
ALTER TABLE tax_rate       ENABLE ROW LEVEL SECURITY;
ALTER TABLE seller         ENABLE ROW LEVEL SECURITY;
ALTER TABLE seller_bank    ENABLE ROW LEVEL SECURITY;
ALTER TABLE course         ENABLE ROW LEVEL SECURITY;
ALTER TABLE price          ENABLE ROW LEVEL SECURITY;
ALTER TABLE pool           ENABLE ROW LEVEL SECURITY;
ALTER TABLE distribution   ENABLE ROW LEVEL SECURITY;
ALTER TABLE batch          ENABLE ROW LEVEL SECURITY;
ALTER TABLE batch_chunk    ENABLE ROW LEVEL SECURITY;
ALTER TABLE batch_line     ENABLE ROW LEVEL SECURITY;
ALTER TABLE key            ENABLE ROW LEVEL SECURITY;
ALTER TABLE key_replacement ENABLE ROW LEVEL SECURITY;
ALTER TABLE lock           ENABLE ROW LEVEL SECURITY;
ALTER TABLE tree_lock      ENABLE ROW LEVEL SECURITY;
ALTER TABLE settler        ENABLE ROW LEVEL SECURITY;
ALTER TABLE pool_turn      ENABLE ROW LEVEL SECURITY;
ALTER TABLE pool_tally     ENABLE ROW LEVEL SECURITY;
ALTER TABLE label_tally    ENABLE ROW LEVEL SECURITY;
ALTER TABLE distribution_tally ENABLE ROW LEVEL SECURITY;
ALTER TABLE pool_growth    ENABLE ROW LEVEL SECURITY;
ALTER TABLE pool_charged   ENABLE ROW LEVEL SECURITY;
ALTER TABLE pool_unusual   ENABLE ROW LEVEL SECURITY;
ALTER TABLE token          ENABLE ROW LEVEL SECURITY;
ALTER TABLE token_network  ENABLE ROW LEVEL SECURITY;
ALTER TABLE console_user    ENABLE ROW LEVEL SECURITY;
ALTER TABLE console_session ENABLE ROW LEVEL SECURITY;
ALTER TABLE recovery_code  ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity_provider ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity_domain ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity_request ENABLE ROW LEVEL SECURITY;
ALTER TABLE sign_in_link   ENABLE ROW LEVEL SECURITY;
ALTER TABLE sign_in_throttle ENABLE ROW LEVEL SECURITY;
ALTER TABLE first_start    ENABLE ROW LEVEL SECURITY;
ALTER TABLE answer         ENABLE ROW LEVEL SECURITY;
ALTER TABLE source         ENABLE ROW LEVEL SECURITY;
ALTER TABLE source_secret  ENABLE ROW LEVEL SECURITY;
ALTER TABLE learner        ENABLE ROW LEVEL SECURITY;
ALTER TABLE assignment     ENABLE ROW LEVEL SECURITY;
ALTER TABLE event          ENABLE ROW LEVEL SECURITY;
ALTER TABLE settlement     ENABLE ROW LEVEL SECURITY;
ALTER TABLE redemption     ENABLE ROW LEVEL SECURITY;
ALTER TABLE attempt_tally  ENABLE ROW LEVEL SECURITY;
ALTER TABLE launch         ENABLE ROW LEVEL SECURITY;
ALTER TABLE invoice        ENABLE ROW LEVEL SECURITY;
ALTER TABLE invoice_serial ENABLE ROW LEVEL SECURITY;
ALTER TABLE journal_export ENABLE ROW LEVEL SECURITY;
ALTER TABLE payment        ENABLE ROW LEVEL SECURITY;
ALTER TABLE charge         ENABLE ROW LEVEL SECURITY;
ALTER TABLE invoice_line   ENABLE ROW LEVEL SECURITY;
ALTER TABLE invoice_share  ENABLE ROW LEVEL SECURITY;
ALTER TABLE invoice_tax    ENABLE ROW LEVEL SECURITY;
ALTER TABLE charge_cancelled_out ENABLE ROW LEVEL SECURITY;
ALTER TABLE invoice_charge ENABLE ROW LEVEL SECURITY;
ALTER TABLE bulk_act       ENABLE ROW LEVEL SECURITY;
ALTER TABLE bulk_act_row   ENABLE ROW LEVEL SECURITY;
ALTER TABLE endpoint       ENABLE ROW LEVEL SECURITY;
ALTER TABLE endpoint_secret ENABLE ROW LEVEL SECURITY;
ALTER TABLE delivery       ENABLE ROW LEVEL SECURITY;
ALTER TABLE pool_alert     ENABLE ROW LEVEL SECURITY;
ALTER TABLE message        ENABLE ROW LEVEL SECURITY;
ALTER TABLE organization_logo ENABLE ROW LEVEL SECURITY;
ALTER TABLE mail_template  ENABLE ROW LEVEL SECURITY;
ALTER TABLE mail_server    ENABLE ROW LEVEL SECURITY;
ALTER TABLE reminder       ENABLE ROW LEVEL SECURITY;
ALTER TABLE pool_shortage  ENABLE ROW LEVEL SECURITY;
ALTER TABLE unsubscribed   ENABLE ROW LEVEL SECURITY;
ALTER TABLE page_session   ENABLE ROW LEVEL SECURITY;
ALTER TABLE report_run     ENABLE ROW LEVEL SECURITY;
ALTER TABLE report_schedule ENABLE ROW LEVEL SECURITY;
ALTER TABLE schedule_run   ENABLE ROW LEVEL SECURITY;
ALTER TABLE schedule_beat  ENABLE ROW LEVEL SECURITY;
ALTER TABLE schedule_job   ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_run      ENABLE ROW LEVEL SECURITY;
ALTER TABLE history        ENABLE ROW LEVEL SECURITY;

-- By the row's own organization.
-- An organization stays below its parent, or goes below one in sight.
CREATE POLICY tenancy ON organization   TO keypool_web USING ((SELECT sees_everything()) OR id IN (SELECT visible_organization()))
    WITH CHECK ((SELECT sees_everything()) OR parent_id IN (SELECT visible_organization())
                OR id IN (SELECT visible_organization()) AND parent_id IS NOT DISTINCT FROM (
                    SELECT ancestor_id FROM organization_ancestry
                     WHERE descendant_id = organization.id AND distance = 1));
CREATE POLICY tenancy ON organization_ancestry TO keypool_web USING ((SELECT sees_everything()) OR descendant_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON organization_logo TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON tax_rate       TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON pool           TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON token          TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON console_user   TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON source         TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON learner        TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON assignment     TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON event          TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON redemption     TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON attempt_tally  TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON launch         TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON invoice        TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON charge         TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON endpoint       TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON message        TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON mail_template  TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON reminder       TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON unsubscribed   TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON report_run     TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON report_schedule TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON bulk_act       TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY tenancy ON history        TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));

-- By the row that it hangs on, whose own policy holds inside the sub-select.
CREATE POLICY tenancy ON key            TO keypool_web USING ((SELECT sees_everything()) OR pool_id IN (SELECT id FROM pool));
CREATE POLICY tenancy ON pool_turn      TO keypool_web USING ((SELECT sees_everything()) OR pool_id IN (SELECT id FROM pool));
CREATE POLICY tenancy ON pool_tally     TO keypool_web USING ((SELECT sees_everything()) OR pool_id IN (SELECT id FROM pool));
CREATE POLICY tenancy ON label_tally    TO keypool_web USING ((SELECT sees_everything()) OR pool_id IN (SELECT id FROM pool));
CREATE POLICY tenancy ON pool_growth    TO keypool_web USING ((SELECT sees_everything()) OR pool_id IN (SELECT id FROM pool));
CREATE POLICY tenancy ON pool_charged   TO keypool_web USING ((SELECT sees_everything()) OR pool_id IN (SELECT id FROM pool));
CREATE POLICY tenancy ON pool_unusual   TO keypool_web USING ((SELECT sees_everything()) OR pool_id IN (SELECT id FROM pool));
CREATE POLICY tenancy ON distribution   TO keypool_web USING ((SELECT sees_everything()) OR pool_id IN (SELECT id FROM pool));
CREATE POLICY tenancy ON batch          TO keypool_web USING ((SELECT sees_everything()) OR pool_id IN (SELECT id FROM pool));
CREATE POLICY tenancy ON distribution_tally TO keypool_web USING ((SELECT sees_everything()) OR EXISTS (SELECT FROM distribution WHERE distribution.id = distribution_id));
CREATE POLICY tenancy ON key_replacement TO keypool_web USING ((SELECT sees_everything()) OR EXISTS (SELECT FROM key WHERE key.id = old_key_id));
CREATE POLICY tenancy ON batch_chunk    TO keypool_web USING ((SELECT sees_everything()) OR EXISTS (SELECT FROM batch WHERE batch.id = batch_id));
CREATE POLICY tenancy ON batch_line     TO keypool_web USING ((SELECT sees_everything()) OR EXISTS (SELECT FROM batch WHERE batch.id = batch_id));
CREATE POLICY tenancy ON bulk_act_row   TO keypool_web USING ((SELECT sees_everything()) OR EXISTS (SELECT FROM bulk_act WHERE bulk_act.id = act_id));
CREATE POLICY tenancy ON recovery_code  TO keypool_web USING ((SELECT sees_everything()) OR user_id IN (SELECT id FROM console_user));
CREATE POLICY tenancy ON identity_provider TO keypool_web
    USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization())) WITH CHECK ((SELECT sees_everything()));
CREATE POLICY tenancy ON identity_domain TO keypool_web
    USING ((SELECT sees_everything()) OR provider_id IN (SELECT id FROM identity_provider)) WITH CHECK ((SELECT sees_everything()));
CREATE POLICY tenancy ON sign_in_link   TO keypool_web USING ((SELECT sees_everything()) OR user_id IN (SELECT id FROM console_user));
CREATE POLICY tenancy ON console_session TO keypool_web USING ((SELECT sees_everything()) OR user_id IN (SELECT id FROM console_user));
CREATE POLICY tenancy ON answer         TO keypool_web USING ((SELECT sees_everything()) OR token_id IN (SELECT id FROM token));
CREATE POLICY tenancy ON source_secret  TO keypool_web USING ((SELECT sees_everything()) OR source_id IN (SELECT id FROM source));
CREATE POLICY tenancy ON endpoint_secret TO keypool_web USING ((SELECT sees_everything()) OR endpoint_id IN (SELECT id FROM endpoint));
CREATE POLICY tenancy ON delivery       TO keypool_web USING ((SELECT sees_everything()) OR endpoint_id IN (SELECT id FROM endpoint));
CREATE POLICY tenancy ON payment        TO keypool_web USING ((SELECT sees_everything()) OR EXISTS (SELECT FROM invoice WHERE invoice.id = invoice_id));
CREATE POLICY tenancy ON invoice_line   TO keypool_web USING ((SELECT sees_everything()) OR EXISTS (SELECT FROM invoice WHERE invoice.id = invoice_id));
CREATE POLICY tenancy ON invoice_share  TO keypool_web USING ((SELECT sees_everything()) OR EXISTS (SELECT FROM invoice WHERE invoice.id = invoice_id));
CREATE POLICY tenancy ON charge_cancelled_out TO keypool_web USING ((SELECT sees_everything()) OR EXISTS (SELECT FROM charge WHERE charge.id = charge_id));
CREATE POLICY tenancy ON invoice_tax    TO keypool_web USING ((SELECT sees_everything()) OR EXISTS (SELECT FROM invoice WHERE invoice.id = invoice_id));
CREATE POLICY tenancy ON invoice_charge TO keypool_web USING ((SELECT sees_everything()) OR EXISTS (SELECT FROM invoice WHERE invoice.id = invoice_id));

-- Whether a source is an organization's, and a learner's organization it or a descendant. Asked by the policy
-- of events, for each message that comes: asking through the tables' own policies would take longer.
CREATE FUNCTION is_event_of(source_id bigint, organization_id bigint, learner_organization_id bigint)
RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM source WHERE id = is_event_of.source_id
                                        AND source.organization_id = is_event_of.organization_id)
       AND (is_event_of.learner_organization_id IS NULL
            OR EXISTS (SELECT FROM organization_ancestry
                        WHERE ancestor_id = is_event_of.organization_id
                          AND descendant_id = is_event_of.learner_organization_id));
END
$$;
REVOKE ALL ON FUNCTION is_event_of(bigint, bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION is_event_of(bigint, bigint, bigint) TO keypool_web;

-- A foreign key is checked without row level security, so each that a tenant's request may write is
-- checked here: it leads to a row in sight. What else a row refers to, it refers to by a column of its
-- first policy. An update is checked by the columns that it may write (below), since a child may change an
-- assignment whose key it does not see.
CREATE POLICY leads_to_rows_in_sight ON event AS RESTRICTIVE FOR INSERT TO keypool_web
    WITH CHECK (assignment_id IS NULL AND is_event_of(source_id, organization_id, learner_organization_id));
CREATE POLICY leads_to_rows_in_sight ON launch AS RESTRICTIVE FOR INSERT TO keypool_web
    WITH CHECK (source_id IS NULL
                AND EXISTS (SELECT FROM assignment WHERE assignment.id = assignment_id
                                                     AND assignment.organization_id = launch.organization_id));
-- Asked by the policy of charges, which cannot ask for charges itself.
CREATE FUNCTION is_charge_of(charge_id bigint, organization_id bigint) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM charge
                    WHERE id = charge_id AND charge.organization_id = is_charge_of.organization_id)
$$;
REVOKE ALL ON FUNCTION is_charge_of(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION is_charge_of(bigint, bigint) TO keypool_web;
CREATE POLICY leads_to_rows_in_sight ON charge AS RESTRICTIVE FOR INSERT TO keypool_web
    WITH CHECK (EXISTS (SELECT FROM assignment WHERE assignment.id = assignment_id
                                                 AND assignment.organization_id = learner_organization_id)
                AND EXISTS (SELECT FROM pool WHERE pool.id = pool_id AND pool.organization_id = charge.organization_id)
                AND (credits_id IS NULL OR is_charge_of(credits_id, organization_id)));
CREATE POLICY leads_to_rows_in_sight ON key AS RESTRICTIVE FOR INSERT TO keypool_web
    WITH CHECK (distribution_id IS NULL
                OR EXISTS (SELECT FROM distribution WHERE distribution.id = distribution_id
                                                      AND distribution.pool_id = key.pool_id));
CREATE POLICY keeps_to_rows_in_sight ON key AS RESTRICTIVE FOR UPDATE TO keypool_web USING (true)
    WITH CHECK (distribution_id IS NULL
                OR EXISTS (SELECT FROM distribution WHERE distribution.id = distribution_id
                                                      AND distribution.pool_id = key.pool_id));
CREATE POLICY leads_to_rows_in_sight ON key_replacement AS RESTRICTIVE FOR INSERT TO keypool_web
    WITH CHECK (EXISTS (SELECT FROM key WHERE key.id = new_key_id)
                AND (distribution_id IS NULL OR EXISTS (SELECT FROM distribution WHERE distribution.id = distribution_id)));
CREATE POLICY keeps_to_rows_in_sight ON assignment AS RESTRICTIVE FOR UPDATE TO keypool_web USING (true)
    WITH CHECK (EXISTS (SELECT FROM learner WHERE learner.id = learner_id
                                              AND learner.organization_id = assignment.organization_id));
CREATE POLICY leads_to_rows_in_sight ON message AS RESTRICTIVE FOR INSERT TO keypool_web
    WITH CHECK ((distribution_id IS NULL OR EXISTS (SELECT FROM distribution WHERE distribution.id = distribution_id))
                AND (template_id IS NULL OR EXISTS (SELECT FROM mail_template WHERE mail_template.id = template_id)));
CREATE POLICY leads_to_rows_in_sight ON report_run AS RESTRICTIVE FOR INSERT TO keypool_web
    WITH CHECK ((invoice_id IS NULL OR EXISTS (SELECT FROM invoice WHERE invoice.id = invoice_id))
                AND schedule_id IS NULL);

-- Tenants read these; the operator alone writes them.
CREATE POLICY operating_new ON tax_rate       AS RESTRICTIVE FOR INSERT TO keypool_web WITH CHECK ((SELECT sees_everything()));
CREATE POLICY operating_new ON invoice        AS RESTRICTIVE FOR INSERT TO keypool_web WITH CHECK ((SELECT sees_everything()));
CREATE POLICY operating_new ON invoice_line   AS RESTRICTIVE FOR INSERT TO keypool_web WITH CHECK ((SELECT sees_everything()));
CREATE POLICY operating_new ON invoice_share  AS RESTRICTIVE FOR INSERT TO keypool_web WITH CHECK ((SELECT sees_everything()));
CREATE POLICY operating_new ON invoice_tax    AS RESTRICTIVE FOR INSERT TO keypool_web WITH CHECK ((SELECT sees_everything()));
CREATE POLICY operating_new ON invoice_charge AS RESTRICTIVE FOR INSERT TO keypool_web WITH CHECK ((SELECT sees_everything()));
CREATE POLICY operating_new ON payment        AS RESTRICTIVE FOR INSERT TO keypool_web WITH CHECK ((SELECT sees_everything()));
CREATE POLICY operating ON tax_rate       AS RESTRICTIVE FOR UPDATE TO keypool_web USING (true) WITH CHECK ((SELECT sees_everything()));
CREATE POLICY operating ON invoice        AS RESTRICTIVE FOR UPDATE TO keypool_web USING (true) WITH CHECK ((SELECT sees_everything()));
CREATE POLICY operating ON invoice_line   AS RESTRICTIVE FOR UPDATE TO keypool_web USING (true) WITH CHECK ((SELECT sees_everything()));
CREATE POLICY operating ON invoice_share  AS RESTRICTIVE FOR UPDATE TO keypool_web USING (true) WITH CHECK ((SELECT sees_everything()));
CREATE POLICY operating ON invoice_tax    AS RESTRICTIVE FOR UPDATE TO keypool_web USING (true) WITH CHECK ((SELECT sees_everything()));
CREATE POLICY operating ON invoice_charge AS RESTRICTIVE FOR UPDATE TO keypool_web USING (true) WITH CHECK ((SELECT sees_everything()));
CREATE POLICY operating ON payment        AS RESTRICTIVE FOR UPDATE TO keypool_web USING (true) WITH CHECK ((SELECT sees_everything()));
-- Erasing a person writes these, and over the web the operator alone erases.
CREATE POLICY erasing ON history    AS RESTRICTIVE FOR UPDATE TO keypool_web USING (true) WITH CHECK ((SELECT sees_everything()));
CREATE POLICY erasing ON redemption AS RESTRICTIVE FOR UPDATE TO keypool_web USING (true) WITH CHECK ((SELECT sees_everything()));
CREATE POLICY erasing ON report_run AS RESTRICTIVE FOR UPDATE TO keypool_web USING (true) WITH CHECK ((SELECT sees_everything()));
CREATE POLICY erasing ON answer     AS RESTRICTIVE FOR UPDATE TO keypool_web USING ((SELECT sees_everything()) OR encrypted = '') WITH CHECK (true);  -- or it is begun

-- The receiver and the redeem page know no person. So they see an organization's sources, events, learners and
-- assignments, and nothing else of it.
CREATE POLICY persons ON pool                 AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON distribution         AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON batch                AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON batch_chunk          AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON batch_line           AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON key                  AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON key_replacement      AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON token                AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON answer               AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON console_user         AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON console_session      AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON source_secret        AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON endpoint             AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON endpoint_secret      AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON delivery             AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON invoice              AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON invoice_line         AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON invoice_share        AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON invoice_tax          AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON invoice_charge       AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON payment              AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON charge               AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON attempt_tally        AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON charge_cancelled_out AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON tax_rate             AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON history              AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON message              AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON mail_template        AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON report_run           AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON report_schedule      AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON reminder         AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON unsubscribed     AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON bulk_act         AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON bulk_act_row     AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON identity_provider AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY persons ON identity_domain  AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
CREATE POLICY own_actor ON history AS RESTRICTIVE FOR INSERT TO keypool_web
    WITH CHECK (actor = (SELECT entered_actor()));

-- Everybody may read courses and the prices that hold for them; the operator alone writes them.
CREATE POLICY reading ON course TO keypool_web USING (true) WITH CHECK ((SELECT sees_everything()));
CREATE POLICY reading ON price  TO keypool_web
    USING ((SELECT sees_everything()) OR organization_id IS NULL
           -- an ancestor's price is what its descendants pay
           OR organization_id IN (SELECT ancestor_id FROM organization_ancestry))
    WITH CHECK ((SELECT sees_everything()));
CREATE POLICY reading ON seller TO keypool_web USING (true) WITH CHECK ((SELECT sees_everything()));
CREATE POLICY operating ON schedule_beat FOR SELECT TO keypool_web USING ((SELECT sees_everything()));
CREATE POLICY operating ON audit_run FOR SELECT TO keypool_web USING ((SELECT sees_everything()));
CREATE POLICY operating ON first_start TO keypool_web USING ((SELECT sees_everything()));
CREATE POLICY reading ON seller_bank FOR SELECT TO keypool_web USING (true);
CREATE POLICY operating ON seller_bank TO keypool_web USING ((SELECT sees_everything()));
CREATE POLICY operating ON invoice_serial TO keypool_web USING ((SELECT sees_everything()));
CREATE POLICY operating ON journal_export TO keypool_web USING ((SELECT sees_everything()));
-- lock, tree_lock, settler, settlement, schedule_run, schedule_job, pool_alert, pool_shortage, mail_server,
-- page_session, sign_in_throttle, identity_request, token_network, wall and web_key: no policy, no row, no grant for
-- the web.

GRANT USAGE ON SCHEMA public TO keypool_web;
GRANT SELECT, INSERT, UPDATE ON
    organization, tax_rate, course, price, pool, pool_turn, distribution, batch, batch_chunk, batch_line, source,
    source_secret, invoice, invoice_serial, payment, invoice_line, invoice_share, invoice_tax, invoice_charge,
    charge_cancelled_out, endpoint, endpoint_secret, mail_template TO keypool_web;
GRANT SELECT, INSERT ON key, event, launch, charge, message TO keypool_web;
-- Only the worker makes learners, assignments and deliveries.
GRANT SELECT ON learner, assignment, delivery TO keypool_web;
-- Without the columns that refer to other rows, but for those that a policy above checks.
GRANT UPDATE (distribution_id, state, generated, labels) ON key TO keypool_web;
GRANT UPDATE (email, name, erased_at, joined_at) ON learner TO keypool_web;
GRANT UPDATE (learner_id, status, undone, expires_at, expired_at, cancelled_at, cancel_reason) ON assignment TO keypool_web;
GRANT UPDATE (data, status, waits_for, deaths, claim_limit, error) ON event TO keypool_web;
GRANT UPDATE (ended_at, completed, score) ON launch TO keypool_web;
GRANT UPDATE (reason) ON charge TO keypool_web;
GRANT UPDATE (data, state, due_at, attempts, tried_since, ended_at, error) ON delivery TO keypool_web;
GRANT UPDATE (recipient, data, identity, state, due_at, attempts, tried_since, ended_at, error, refused) ON message TO keypool_web;
GRANT SELECT, INSERT, UPDATE, DELETE ON organization_logo TO keypool_web;
GRANT UPDATE (ended_at) ON console_session TO keypool_web;
GRANT INSERT, UPDATE (ended_at) ON recovery_code TO keypool_web;
GRANT SELECT, INSERT, UPDATE ON identity_provider, identity_domain TO keypool_web;
GRANT SELECT, INSERT ON bulk_act, bulk_act_row TO keypool_web;
GRANT UPDATE (how, expected, requested, worked, done, state, failures, error, started_at, worked_at, finished_at) ON bulk_act TO keypool_web;
GRANT UPDATE (code, words) ON bulk_act_row TO keypool_web;
GRANT INSERT, UPDATE (used_at) ON sign_in_link TO keypool_web;
GRANT SELECT (only_one, samples_wanted_at, samples_made_at) ON first_start TO keypool_web;
GRANT UPDATE (samples_wanted_at) ON first_start TO keypool_web;
GRANT INSERT, UPDATE (revoked_at) ON token TO keypool_web;
GRANT INSERT, UPDATE (password_hash, disabled_at) ON console_user TO keypool_web;
-- Without the hashes by which somebody is known, and their second factors: the functions below compare them.
GRANT SELECT (id, organization_id, email, role, created_at, disabled_at, has_second_factor, vouched_by) ON console_user TO keypool_web;
GRANT SELECT (id, user_id, ended_at) ON recovery_code TO keypool_web;
GRANT SELECT (id, organization_id, name, role, created_at, expires_at, last_used_at, revoked_at, made_by) ON token TO keypool_web;
GRANT SELECT (id, user_id, client, browser, created_at, confirmed_at, last_seen_at, ends_at, ended_at, second_factor_at) ON console_session TO keypool_web;
GRANT SELECT (id, user_id, created_at, ends_at, used_at) ON sign_in_link TO keypool_web;
GRANT SELECT, INSERT, UPDATE, DELETE ON reminder TO keypool_web;
GRANT SELECT, UPDATE ON unsubscribed TO keypool_web;
GRANT SELECT, INSERT ON report_run, report_schedule, answer, journal_export TO keypool_web;
GRANT UPDATE (every, format, recipients, parameters, since, paused_at, removed_at, named_by_id)
    ON report_schedule TO keypool_web;
GRANT UPDATE ON seller TO keypool_web;
GRANT SELECT, INSERT, UPDATE ON seller_bank TO keypool_web;
GRANT SELECT ON schedule_beat, audit_run, currency, seller, organization_ancestry, pool_tally, label_tally, distribution_tally, pool_growth, pool_charged, redemption,
    attempt_tally, pool_unusual TO keypool_web;
GRANT SELECT, INSERT ON key_replacement TO keypool_web;
GRANT UPDATE (reason) ON key_replacement TO keypool_web;
GRANT SELECT, INSERT ON history TO keypool_web;
-- For erasing a person's data, which the operator alone does over the web: others see less of it.
GRANT UPDATE (learner_email) ON redemption TO keypool_web;
GRANT UPDATE (detail) ON history TO keypool_web;
GRANT UPDATE (page, pdf, traceback, parameters) ON report_run TO keypool_web;
GRANT UPDATE (encrypted) ON answer TO keypool_web;

-- What the web must know before it knows whose request this is: a token by its hash, a source's
-- live secrets by its id. Nothing else leaves these doors.
CREATE FUNCTION find_token(token_hash bytea, from_client text)
RETURNS TABLE (id bigint, name text, role role, organization_id bigint, to_note boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp ROWS 1 AS $$
    SELECT id, name, role, organization_id,
           coalesce(last_used_at <= clock_now() - interval '1 minute', true)
           OR NOT EXISTS (SELECT FROM token_network WHERE token_id = token.id AND client = from_client)
      FROM token
     WHERE hash = token_hash AND revoked_at IS NULL AND (expires_at IS NULL OR clock_now() < expires_at)
$$;

-- Note that a token is used: once a minute, or every request would write to its one row; and at once
-- where it comes from another network.
CREATE FUNCTION note_token(token_hash bytea, from_client text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE token SET last_used_at = clock_now()
     WHERE hash = token_hash AND coalesce(last_used_at <= clock_now() - interval '1 minute', true);
    WITH fresh AS (
        INSERT INTO token_network (token_id, client)
        SELECT id, from_client FROM token WHERE hash = token_hash
        ON CONFLICT DO NOTHING RETURNING token_id)
    INSERT INTO history (actor, organization_id, action, thing, thing_id, detail)
    SELECT 'token ' || id || ' (' || name || ')', organization_id, 'token used from a new address', 'token',
           id, jsonb_build_object('client', from_client)
      FROM token JOIN fresh ON token_id = id
$$;

CREATE FUNCTION find_source(source_id bigint)
RETURNS TABLE (organization_id bigint, encrypted bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp ROWS 2 AS $$
    SELECT source.organization_id, source_secret.encrypted
      FROM source JOIN source_secret ON source_secret.source_id = source.id
     WHERE source.id = find_source.source_id
       AND (source_secret.expires_at IS NULL OR clock_now() < source_secret.expires_at)
     ORDER BY source_secret.id DESC
$$;

-- In whose name a message came, and which scheduled report it brought, if any; and that its receiver wants
-- no more of that report, or no more reminders from there. Whoever asks holds the signed link of that message,
-- as the web proves.
CREATE FUNCTION sender_of(message_id bigint, proofs bytea)
RETURNS TABLE (organization text, locale text, notebook text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp ROWS 1 AS $$
BEGIN
    PERFORM require_proof(proofs, 'unsubscribe', message_id::text);
    RETURN QUERY
    SELECT coalesce(nullif(organization.sender_name, ''), organization.name, nullif(seller.name, ''), 'keypool'),
           coalesce(organization.locale, 'en'), report.notebook
      FROM message
     CROSS JOIN seller
      LEFT JOIN organization ON organization.id = message.organization_id
      LEFT JOIN report_run AS report ON report.id = scheduled_report_of(message.kind, message.about)
     WHERE message.id = message_id;
END
$$;

CREATE FUNCTION unsubscribe(message_id bigint, proofs bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'unsubscribe', message_id::text);
    INSERT INTO unsubscribed (organization_id, address)
    SELECT organization_id, recipient_lower FROM message
     WHERE id = message_id AND scheduled_report_of(kind, about) IS NULL
    ON CONFLICT DO NOTHING;
    UPDATE report_schedule
       SET recipients = ARRAY(SELECT recipient FROM unnest(recipients) WITH ORDINALITY AS of (recipient, nth)
                               WHERE lower(recipient) <> message.recipient_lower ORDER BY nth)
      FROM message JOIN report_run AS report ON report.id = scheduled_report_of(message.kind, message.about)
     WHERE message.id = message_id AND report_schedule.id = report.schedule_id;
END
$$;

-- Whether a user's organization, or one above it, has its people sign in at its identity provider alone.
CREATE FUNCTION signs_in_elsewhere(of_organization bigint) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM organization_ancestry
                     JOIN identity_provider ON identity_provider.organization_id = ancestor_id
                    WHERE descendant_id = of_organization AND is_only AND ended_at IS NULL)
$$;

-- How a user's password is hashed: all of the hash but its last part. Who knows the password makes the
-- same hash with that, and begin_session compares it: no hash leaves the database. Where there is no such
-- user, or no password, a salt is made up, always the same one, so that nobody is told; otherwise says how
-- new passwords are hashed.
CREATE FUNCTION password_salt(address text, otherwise text, proofs bytea) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    asked bytea := convert_to('salt ' || lower(address), 'UTF8');
BEGIN
    PERFORM require_proof(proofs, 'salt', address);
    RETURN coalesce(
        (SELECT regexp_replace(password_hash, '[^$]*$', '') FROM console_user
          WHERE lower(email) = lower(address)),
        (SELECT otherwise || rtrim(encode(substr(sha256(secret || sha256(secret || asked)), 1, 16), 'base64'), '=') || '$'
           FROM wall));
END
$$;

CREATE FUNCTION knows_device(address text, device_hash bytea) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM console_session
                     JOIN console_user ON console_user.id = user_id
                    WHERE lower(email) = lower(address) AND device = device_hash)
$$;

-- Remember in the history what happened at the door to a user's account: from a network, not an address.
-- What a stranger can repeat at will is told once a quarter of an hour for each network.
CREATE FUNCTION remember_access(address text, what text, from_client text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO history (actor, organization_id, action, thing, thing_id, detail)
    SELECT 'user ' || email, organization_id, what, 'user', id, jsonb_build_object('client', from_client)
      FROM console_user
     WHERE lower(email) = lower(address)
       AND what IN ('signed in', 'sign-in failed', 'sign-in locked', 'sign-in refused',
                    'password link asked for', 'password link refused')
       AND (what NOT IN ('sign-in locked', 'password link asked for', 'password link refused')
            OR NOT EXISTS (SELECT FROM history AS before
                            WHERE before.thing = 'user' AND before.thing_id = console_user.id
                              AND before.action = what AND before.detail ->> 'client' = from_client
                              AND before.at > clock_now() - interval '15 minutes'))
$$;

-- Remember an attempt that had to wait, which the web alone knows of.
CREATE FUNCTION remember_locked(address text, from_client text, proofs bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'locked', address, from_client);
    PERFORM remember_access(address, 'sign-in locked', from_client);
END
$$;

-- Begin a session of whoever knows the hash of a user's password; says whether it began. The history tells a right
-- password of a user who may not sign in with it from a wrong one; who asks is told neither.
CREATE FUNCTION begin_session(
    address text, known_hash text, session_hash bytea, device_hash bytea, from_client text, in_browser text,
    lasting interval, proofs bytea
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    whose console_user;
    outcome text := 'signed in';
BEGIN
    -- The web has counted the attempt: SQL alone could guess without end.
    PERFORM require_proof(proofs, 'sign in', address, known_hash, encode(session_hash, 'hex'));
    SELECT * INTO whose FROM console_user WHERE lower(email) = lower(address);
    IF (whose.password_hash = known_hash) IS NOT TRUE THEN
        outcome := 'sign-in failed';
    ELSIF whose.disabled_at IS NOT NULL OR signs_in_elsewhere(whose.organization_id) THEN
        outcome := 'sign-in refused';
    ELSE
        INSERT INTO console_session (user_id, hash, device, client, browser, ends_at)
        VALUES (whose.id, session_hash, device_hash, from_client, in_browser, clock_now() + lasting);
    END IF;
    PERFORM remember_access(address, outcome, from_client);
    RETURN outcome = 'signed in';
END
$$;

-- Go on with a session, unless it is over or its user was disabled. That it was seen is noted once a
-- minute, or every request would write to its row. lacks: what it needs before it opens anything:
-- 'code' of the second factor; or 'second factor', where its user has none and one is demanded, of operators as
-- the caller says, of others as their organization or one above it does.
CREATE FUNCTION resume_session(session_hash bytea, idle interval, of_operators boolean)
RETURNS TABLE (id bigint, user_id bigint, email text, role role, organization_id bigint,
               since_confirmed interval, lacks text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp ROWS 1 AS $$
BEGIN
    UPDATE console_session SET last_seen_at = clock_now()
     WHERE hash = session_hash AND ended_at IS NULL
       AND last_seen_at BETWEEN clock_now() - idle AND clock_now() - interval '1 minute';
    RETURN QUERY
    SELECT console_session.id, console_user.id, console_user.email, console_user.role,
           console_user.organization_id, clock_now() - console_session.confirmed_at,
           CASE WHEN second_factor_at IS NOT NULL THEN NULL
                WHEN totp_encrypted IS NOT NULL THEN 'code'
                WHEN console_user.role = 'operator' AND of_operators
                  OR EXISTS (SELECT FROM organization_ancestry
                               JOIN organization AS above ON above.id = ancestor_id
                              WHERE descendant_id = console_user.organization_id AND above.second_factor)
                THEN 'second factor' END
      FROM console_session JOIN console_user ON console_user.id = console_session.user_id
     WHERE hash = session_hash AND ended_at IS NULL AND disabled_at IS NULL
       AND clock_now() < ends_at AND last_seen_at > clock_now() - idle;
END
$$;

-- Note that the password of a session's user was asked for again; says whether its hash is the right one.
-- The history tells why not, as after begin_session: a right one is refused where the session is over or its
-- user signs in elsewhere.
CREATE FUNCTION confirm_session(
    session_hash bytea, known_hash text, from_client text, what_for text, proofs bytea
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    whose console_user;
    outcome text := 'confirmation failed';
BEGIN
    PERFORM require_proof(proofs, 'confirm', encode(session_hash, 'hex'), known_hash);
    SELECT console_user.* INTO whose
      FROM console_session JOIN console_user ON console_user.id = user_id WHERE hash = session_hash;
    IF whose.password_hash = known_hash THEN
        UPDATE console_session SET confirmed_at = clock_now()
         WHERE hash = session_hash AND ended_at IS NULL
           AND whose.disabled_at IS NULL AND NOT signs_in_elsewhere(whose.organization_id);
        IF FOUND THEN
            RETURN true;
        END IF;
        outcome := 'confirmation refused';
    END IF;
    INSERT INTO history (actor, organization_id, action, thing, thing_id, detail)
    SELECT 'user ' || whose.email, whose.organization_id, outcome, 'user', whose.id,
           jsonb_build_object('client', from_client, 'for', what_for)
     WHERE whose.id IS NOT NULL;
    RETURN false;
END
$$;

-- End a session, since its user signs out.
CREATE FUNCTION end_session(session_hash bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH ended AS (
        UPDATE console_session SET ended_at = clock_now() WHERE hash = session_hash AND ended_at IS NULL
        RETURNING user_id, client)
    INSERT INTO history (actor, organization_id, action, thing, thing_id, detail)
    SELECT 'user ' || email, organization_id, 'signed out', 'user', id, jsonb_build_object('client', client)
      FROM ended JOIN console_user ON id = user_id
$$;

-- The secret of the second factor of whose session this is, sealed: the web opens it and judges codes.
CREATE FUNCTION sealed_second_factor(session_hash bytea) RETURNS bytea
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT totp_encrypted FROM console_session JOIN console_user ON console_user.id = user_id
     WHERE hash = session_hash AND ended_at IS NULL AND disabled_at IS NULL AND clock_now() < ends_at
$$;

-- Set up the second factor of whose session this is, or another one where it was given; says whether it is.
CREATE FUNCTION set_up_second_factor(session_hash bytea, sealed bytea, step bigint, proofs bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'set up', encode(session_hash, 'hex'), encode(sealed, 'hex'), step::text);
    UPDATE console_user SET totp_encrypted = sealed, totp_step = step FROM console_session
     WHERE console_user.id = user_id AND hash = session_hash AND ended_at IS NULL AND disabled_at IS NULL
       AND (second_factor_at IS NOT NULL OR NOT has_second_factor);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE console_session SET second_factor_at = clock_now() WHERE hash = session_hash;
    RETURN true;
END
$$;

-- Take a code of a user's app, or a recovery code, each once; says whether one was right. step: the time step of
-- the app's code, or null where that code is wrong: the web judges it, and proves that it did. Of two requests at
-- once with the same code, the second finds it used.
CREATE FUNCTION give_second_factor(session_hash bytea, step bigint, code_hash bytea, proofs bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    whose   console_user;
    outcome text := 'failed';
BEGIN
    PERFORM require_proof(proofs, 'second factor', encode(session_hash, 'hex'), step::text, encode(code_hash, 'hex'));
    SELECT console_user.* INTO whose
      FROM console_session JOIN console_user ON console_user.id = user_id
     WHERE hash = session_hash AND ended_at IS NULL AND disabled_at IS NULL AND has_second_factor
       FOR NO KEY UPDATE OF console_user;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF whose.totp_step < step THEN
        UPDATE console_user SET totp_step = step WHERE id = whose.id;
        outcome := 'given';
    ELSE
        UPDATE recovery_code SET ended_at = clock_now()
         WHERE user_id = whose.id AND hash = code_hash AND ended_at IS NULL;
        outcome := CASE WHEN FOUND THEN 'replaced by a recovery code' ELSE outcome END;
    END IF;
    IF outcome <> 'failed' THEN
        UPDATE console_session SET second_factor_at = clock_now() WHERE hash = session_hash;
    END IF;
    INSERT INTO history (actor, organization_id, action, thing, thing_id)
    VALUES ('user ' || whose.email, whose.organization_id, 'second factor ' || outcome, 'user', whose.id);
    RETURN outcome <> 'failed';
END
$$;

-- Remove the second factor of a user in sight.
CREATE FUNCTION remove_second_factor(of_user bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE console_user SET totp_encrypted = NULL
     WHERE id = of_user
       AND (session_user <> 'keypool_web' OR sees_everything()
            OR is_persons() AND organization_id IN (SELECT visible_organization()))
$$;

-- What was given in a user's sessions counts no more, once their second factor is removed.
CREATE FUNCTION ask_for_second_factor_again() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE console_session SET second_factor_at = NULL WHERE user_id = NEW.id;
    RETURN NULL;
END
$$;

CREATE TRIGGER removed_second_factor_counts_nowhere AFTER UPDATE OF totp_encrypted ON console_user
    FOR EACH ROW WHEN (NEW.totp_encrypted IS NULL) EXECUTE FUNCTION ask_for_second_factor_again();

-- The identity provider of a domain, and its client's secret, encrypted.
CREATE FUNCTION find_identity_provider(of_domain text)
RETURNS TABLE (id bigint, issuer text, client_id text, secret_encrypted bytea, role_claim text, roles jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp ROWS 1 AS $$
    SELECT identity_provider.id, issuer, client_id, secret_encrypted, role_claim, roles
      FROM identity_domain JOIN identity_provider ON identity_provider.id = provider_id
     WHERE domain = of_domain AND ended_at IS NULL
$$;

CREATE FUNCTION ask_identity_provider(
    asked bigint, state_hash bytea, with_nonce text, with_verifier text, lasting interval
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO identity_request (state, provider_id, nonce, verifier, ends_at)
    VALUES (state_hash, asked, with_nonce, with_verifier, clock_now() + lasting)
$$;

-- Take what was asked of an identity provider, once: who comes second finds nothing.
CREATE FUNCTION take_identity_request(state_hash bytea)
RETURNS TABLE (provider_id bigint, issuer text, client_id text, secret_encrypted bytea, role_claim text, roles jsonb,
               nonce text, verifier text)
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp ROWS 1 AS $$
    WITH taken AS (DELETE FROM identity_request WHERE state = state_hash RETURNING *)
    SELECT taken.provider_id, issuer, client_id, secret_encrypted, role_claim, roles, nonce, verifier
      FROM taken JOIN identity_provider ON identity_provider.id = taken.provider_id
     WHERE clock_now() < ends_at AND ended_at IS NULL
$$;

-- Begin the session of whom an identity provider vouches for; else says why not. It speaks for its domains and its
-- organization's tree alone. A user is known by the provider's own name for them once they signed in there.
-- Whoever is new is made, where the provider says their role; a role that it says replaces the one before. The web
-- judges what the provider signed, and proves that it says so: of that user and role, for that session.
CREATE FUNCTION begin_vouched_session(
    vouching bigint, vouched_subject text, address text, vouched_role role, session_hash bytea, device_hash bytea,
    from_client text, in_browser text, lasting interval, proofs bytea
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    provider identity_provider;
    whose    console_user;
    subject  text;
BEGIN
    PERFORM require_proof(proofs, 'vouched', vouching::text, vouched_subject, address, vouched_role::text,
                          encode(session_hash, 'hex'));
    SELECT * INTO provider FROM identity_provider WHERE id = vouching;
    subject := provider.issuer || ' ' || vouched_subject;
    IF NOT EXISTS (SELECT FROM identity_domain WHERE provider_id = provider.id
                      AND domain = lower(split_part(address, '@', 2))) THEN
        RETURN 'domain';
    END IF;
    SELECT * INTO whose FROM console_user WHERE lower(email) = lower(address) FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        IF vouched_role IS NULL OR vouched_role = 'operator' THEN
            RETURN 'unknown';
        END IF;
        INSERT INTO console_user (organization_id, email, role, vouched_by)
        VALUES (provider.organization_id, address, vouched_role, subject) RETURNING * INTO whose;
        INSERT INTO history (actor, organization_id, action, thing, thing_id, detail)
        VALUES ('user ' || whose.email, whose.organization_id, 'user added', 'user', whose.id,
                jsonb_build_object('role', whose.role, 'by', provider.issuer));
    ELSIF NOT EXISTS (SELECT FROM organization_ancestry WHERE descendant_id = whose.organization_id
                         AND ancestor_id = provider.organization_id) THEN
        RETURN 'unknown';
    ELSIF whose.disabled_at IS NOT NULL OR whose.vouched_by <> subject THEN
        PERFORM remember_access(address, 'sign-in refused', from_client);
        RETURN 'refused';
    END IF;
    UPDATE console_user SET vouched_by = subject, role = coalesce(nullif(vouched_role, 'operator'), role)
     WHERE id = whose.id;
    INSERT INTO console_session (user_id, hash, device, client, browser, ends_at, second_factor_at)
    VALUES (whose.id, session_hash, device_hash, from_client, in_browser, clock_now() + lasting,
            clock_now());
    PERFORM remember_access(address, 'signed in', from_client);
    RETURN 'began';
END
$$;

-- Mail a one-time link to the user of an address that somebody typed at the sign-in. Who asks is told nothing, not
-- even whether there is such a user. Users who may not sign in with a password get none; others one a quarter of
-- an hour and five a day at most, so that nobody fills another's mailbox. Links that were sent before hold.
CREATE FUNCTION mail_sign_in_link(address text, from_client text, lasting_days int, proofs bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    whose console_user;
BEGIN
    PERFORM require_proof(proofs, 'mail link', address, from_client);  -- the web has counted who asks
    -- Of two at once, one waits and finds the other's mail.
    SELECT * INTO whose FROM console_user WHERE lower(email) = lower(address) FOR NO KEY UPDATE;
    IF whose.disabled_at IS NOT NULL OR signs_in_elsewhere(whose.organization_id) THEN
        PERFORM remember_access(address, 'password link refused', from_client);
        RETURN;
    END IF;
    INSERT INTO message (organization_id, kind, recipient, data)
    SELECT whose.organization_id, 'reset', whose.email,
           jsonb_build_object('user', whose.id, 'days', lasting_days)
      FROM (SELECT count(*) AS today, max(happened_at) AS last_at FROM message
             WHERE kind = 'reset' AND recipient_lower = lower(whose.email)
               AND happened_at > clock_now() - interval '1 day') AS before
     WHERE whose.id IS NOT NULL
       AND today < 5 AND (last_at IS NULL OR last_at <= clock_now() - interval '15 minutes');
    PERFORM remember_access(address, 'password link asked for', from_client);
END
$$;

-- Whose one-time link this is; no row where it is unknown, used or over, or its user was disabled.
CREATE FUNCTION find_sign_in_link(link_hash bytea) RETURNS TABLE (user_id bigint, email text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp ROWS 1 AS $$
    SELECT console_user.id, console_user.email
      FROM sign_in_link JOIN console_user ON console_user.id = sign_in_link.user_id
     WHERE hash = link_hash AND used_at IS NULL AND clock_now() < ends_at AND disabled_at IS NULL
$$;

-- Choose a password by a one-time link; says whether it held. Every session and every other link of the
-- user ends. Of two at once, one waits and finds it used.
CREATE FUNCTION use_sign_in_link(link_hash bytea, new_hash text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    whose console_user;
BEGIN
    SELECT console_user.* INTO whose
      FROM sign_in_link JOIN console_user ON console_user.id = user_id
     WHERE hash = link_hash AND used_at IS NULL AND clock_now() < ends_at AND disabled_at IS NULL
       FOR NO KEY UPDATE OF sign_in_link, console_user;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE console_user SET password_hash = new_hash WHERE id = whose.id;
    UPDATE sign_in_link SET used_at = clock_now() WHERE user_id = whose.id AND used_at IS NULL;
    UPDATE console_session SET ended_at = clock_now() WHERE user_id = whose.id AND ended_at IS NULL;
    INSERT INTO history (actor, organization_id, action, thing, thing_id)
    VALUES ('user ' || whose.email, whose.organization_id, 'password chosen', 'user', whose.id);
    RETURN true;
END
$$;

-- Whether anybody can sign in: somebody chose a password, or is vouched for by an identity provider.
CREATE FUNCTION somebody_can_sign_in() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM console_user
                    WHERE disabled_at IS NULL AND (password_hash IS NOT NULL OR vouched_by IS NOT NULL))
$$;

-- Whether the first start's link holds.
CREATE FUNCTION first_start_holds(link_hash bytea) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT NOT somebody_can_sign_in()
       AND EXISTS (SELECT FROM first_start WHERE hash = link_hash AND clock_now() < ends_at)
$$;

-- Make the first operator by the first start's link; says whether it held. An operator who was invited and
-- chose no password yet is the same person. Of two at once, one waits and finds the link used.
CREATE FUNCTION make_first_operator(link_hash bytea, address text, new_hash text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    made bigint;
BEGIN
    PERFORM FROM first_start FOR UPDATE;
    IF NOT first_start_holds(link_hash) THEN
        RETURN false;
    END IF;
    UPDATE console_user SET password_hash = new_hash
     WHERE lower(email) = lower(address) AND role = 'operator' AND disabled_at IS NULL
    RETURNING id INTO made;
    IF made IS NULL THEN
        INSERT INTO console_user (email, role, password_hash) VALUES (address, 'operator', new_hash)
        RETURNING id INTO made;
    END IF;
    UPDATE first_start SET hash = NULL, ends_at = NULL;
    INSERT INTO history (actor, action, thing, thing_id, detail)
    VALUES ('user ' || address, 'first operator made', 'user', made, '{}');
    RETURN true;
END
$$;

-- Count an attempt of a subject, unless it has to wait; gives for how long, else 0. After some failures the
-- pauses grow: 1 s, 2 s, 4 s, up to the longest. An attempt that has to wait counts nothing, so that nobody
-- keeps another out by trying on; and failures wear off, one at a time.
CREATE FUNCTION throttle_sign_in(of_subject bytea, free int, longest interval, worn_off interval)
RETURNS interval
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    known sign_in_throttle;
    pause interval;
BEGIN
    INSERT INTO sign_in_throttle VALUES (of_subject, 1) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        RETURN interval '0';
    END IF;
    SELECT * INTO known FROM sign_in_throttle WHERE subject = of_subject FOR NO KEY UPDATE;
    known.failures := greatest(0, known.failures - extract(epoch FROM now() - known.last_at)
                                                 / extract(epoch FROM worn_off));
    IF known.failures >= free THEN
        pause := least(longest, interval '1 second' * power(2, least(known.failures - free, 30)));
        IF known.last_at + pause > now() THEN
            RETURN known.last_at + pause - now();
        END IF;
    END IF;
    UPDATE sign_in_throttle SET failures = known.failures + 1, last_at = greatest(now(), known.last_at)
     WHERE subject = of_subject;
    RETURN interval '0';
END
$$;

-- Take an attempt back that succeeded; with the failures before it.
CREATE FUNCTION forgive_sign_ins(subjects bytea[], proofs bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, VARIADIC array_prepend(
        'forgive', ARRAY(SELECT encode(one, 'hex') FROM unnest(subjects) AS one)));
    DELETE FROM sign_in_throttle WHERE subject = ANY (subjects);
END
$$;

-- Take an attempt back that succeeded, and nothing else: of a network that many people share.
CREATE FUNCTION uncount_sign_in(of_subject bytea, proofs bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'uncount', encode(of_subject, 'hex'));
    UPDATE sign_in_throttle SET failures = greatest(0, failures - 1) WHERE subject = of_subject;
END
$$;

-- What the redeem page must know before it knows for whom: an organization by its slug, or by a key of its
-- pools, where it has a page. Nobody learns of the others; and of keys, nobody but a web, which counts guesses.
CREATE FUNCTION page_of_slug(of_slug text) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT id FROM organization WHERE slug = of_slug AND redeem_page <> 'off'
$$;

CREATE FUNCTION page_of_key(canonical text, proofs bytea) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'key', canonical);
    RETURN (SELECT organization.id
              FROM meant_key(page_of_key.canonical) AS meant
              JOIN pool ON pool.id = meant.pool_id
              JOIN organization ON organization.id = pool.organization_id
             WHERE redeem_page <> 'off');
END
$$;

-- The source that an organization's redeem page records its events for: made when it is first needed.
CREATE FUNCTION page_source(of_organization bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    known bigint;
BEGIN
    SELECT id INTO known FROM source WHERE organization_id = of_organization AND kind = 'page';
    IF known IS NULL THEN
        -- A source of a person's may have that name.
        INSERT INTO source (organization_id, name, kind)
        SELECT id, CASE WHEN taken THEN 'Redeem page ' || gen_random_uuid() ELSE 'Redeem page' END, 'page'
          FROM organization
         CROSS JOIN (SELECT EXISTS (SELECT FROM source WHERE organization_id = of_organization
                                                         AND name = 'Redeem page') AS taken) AS names
         WHERE id = of_organization AND redeem_page <> 'off'
        ON CONFLICT DO NOTHING;  -- another visitor was first
        SELECT id INTO known FROM source WHERE organization_id = of_organization AND kind = 'page';
    END IF;
    RETURN known;
END
$$;

-- Begin a page's session; with a code, and its mail where there is somebody to send it. False: too many
-- codes were asked for within a day and not typed in, for that address or by that client. One at a time, so
-- that a hundred at once are counted one after the other; those of a page that does not exist are counted too.
CREATE FUNCTION begin_page_session(
    of_hash bytea, of_organization bigint, of_email text, of_client bytea, in_language text, asked bytea,
    with_code boolean, with_mail boolean, per_address bigint, per_client bigint, proofs bytea
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    since timestamptz := clock_now() - interval '1 day';
    mail  bigint;
BEGIN
    PERFORM require_proof(proofs, 'begin', encode(of_hash, 'hex'), of_organization::text, of_email, with_code::text,
                          with_mail::text);
    IF with_code THEN
        PERFORM FROM lock WHERE name = 'proving' FOR UPDATE;
        IF per_address <= (SELECT count(*) FROM page_session
                            WHERE email_lower = lower(of_email) AND began_at > since
                              AND needs_code AND proved_at IS NULL)
           OR per_client <= (SELECT count(*) FROM page_session
                              WHERE client_hash = of_client AND began_at > since
                                AND needs_code AND proved_at IS NULL) THEN
            RETURN false;
        END IF;
    END IF;
    IF with_mail THEN
        INSERT INTO message (organization_id, kind, recipient, data)
        VALUES (of_organization, 'code', of_email, jsonb_build_object('language', in_language))
        RETURNING id INTO mail;
    END IF;
    INSERT INTO page_session (hash, organization_id, email, client_hash, language, asked_encrypted,
                              needs_code, message_id)
    VALUES (of_hash, of_organization, of_email, of_client, in_language, asked, with_code, mail);
    RETURN true;
END
$$;

-- A page's session by its hash. over: its code is not good any more: five tries are used up, or ten minutes
-- are over since its mail was sent; a mail that waits for the mail server brings a code that is good. late:
-- the mail server is away. Where no mail is sent, the answers are those of one that was sent at once.
CREATE FUNCTION find_page_session(of_hash bytea)
RETURNS TABLE (
    id bigint, organization_id bigint, email text, language text, asked_encrypted bytea, identity text,
    needs_code boolean, proved boolean, tries int, over boolean, late boolean, event_id bigint, outcome text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp ROWS 1 AS $$
    SELECT it.id, it.organization_id, it.email, it.language, it.asked_encrypted, message.identity::text,
           it.needs_code, it.proved_at IS NOT NULL, it.tries,
           it.tries >= 5 OR CASE
               WHEN message.id IS NULL
               THEN mail_server.failures = 0 AND clock_now() >= it.began_at + interval '10 minutes'
               ELSE message.state <> 'waiting' AND clock_now() >= message.ended_at + interval '10 minutes' END,
           mail_server.failures > 0, it.event_id, it.outcome
      FROM page_session AS it
     CROSS JOIN mail_server
      LEFT JOIN message ON message.id = it.message_id
     WHERE it.hash = of_hash
       AND clock_now() < CASE WHEN it.needs_code AND it.proved_at IS NULL THEN it.began_at + interval '4 days'
                              ELSE coalesce(it.proved_at, it.began_at) + interval '2 hours' END
$$;

-- Take one of a code's five tries; false where none is left.
CREATE FUNCTION try_page_code(of_hash bytea) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH tried AS (
        UPDATE page_session SET tries = tries + 1
         WHERE hash = of_hash AND needs_code AND proved_at IS NULL AND tries < 5
        RETURNING id)
    SELECT EXISTS (SELECT FROM tried)
$$;

-- The code was right, as the web alone knows: the address is proved, and the code's mail says it no more.
CREATE FUNCTION prove_page_session(of_hash bytea, proofs bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'prove', encode(of_hash, 'hex'));
    UPDATE message SET data = NULL FROM page_session
     WHERE page_session.hash = of_hash AND message.id = page_session.message_id AND message.state <> 'waiting';
    UPDATE page_session SET proved_at = clock_now() WHERE hash = of_hash AND proved_at IS NULL;
END
$$;

-- The key that a session asked for is before the settler, or no inbox could take it.
CREATE FUNCTION note_page_key(
    of_hash bytea, of_organization bigint, of_event bigint, of_outcome text, proofs bytea
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'note', encode(of_hash, 'hex'), of_organization::text, of_event::text, of_outcome);
    UPDATE page_session
       SET asked_encrypted = NULL, event_id = of_event, outcome = of_outcome,
           organization_id = coalesce(organization_id, of_organization)
     WHERE hash = of_hash;
END
$$;

CREATE FUNCTION end_page_session(of_hash bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DELETE FROM page_session WHERE hash = of_hash AND (proved_at IS NOT NULL OR NOT needs_code)
$$;

-- The sessions of a person, for the export of all that is kept on them: those in the caller's sight.
CREATE FUNCTION page_sessions_of(addresses text[])
RETURNS TABLE (organization text, began_at timestamptz, proved_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT organization.name, page_session.began_at, page_session.proved_at
      FROM page_session LEFT JOIN organization ON organization.id = page_session.organization_id
     WHERE page_session.email_lower = ANY (addresses)
       AND (session_user <> 'keypool_web' OR sees_everything()
            OR page_session.organization_id IN (SELECT visible_organization()))
     ORDER BY page_session.id
$$;

-- Remove the sessions of a person who is erased; over the web the operator alone does so.
CREATE FUNCTION forget_page_sessions(address text, organization_ids bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DELETE FROM page_session
     WHERE email_lower = lower(address)
       AND (organization_id IS NULL OR organization_id = ANY (organization_ids))
       AND (session_user <> 'keypool_web' OR sees_everything())
$$;

-- Enter as who holds a token or a session, for this transaction; without one, nobody enters. A session whose
-- user has a second factor enters once that was given in it.
CREATE FUNCTION enter_token(token_hash bytea) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT enter('person', coalesce(organization_id::text, '*'), format('token %s (%s)', id, name))
      FROM token
     WHERE hash = token_hash AND revoked_at IS NULL AND (expires_at IS NULL OR clock_now() < expires_at)
$$;

CREATE FUNCTION enter_session(session_hash bytea, idle interval) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT enter('person', coalesce(organization_id::text, '*'), 'user ' || email)
      FROM console_session JOIN console_user ON console_user.id = console_session.user_id
     WHERE hash = session_hash AND ended_at IS NULL AND disabled_at IS NULL
       AND clock_now() < ends_at AND last_seen_at > clock_now() - idle
       AND (second_factor_at IS NOT NULL OR NOT has_second_factor)
$$;

-- Enter as a door that knows nobody: the receiver of a source, an organization's redeem page.
CREATE FUNCTION enter_source(source_id bigint, proofs bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'source', source_id::text);
    RETURN (SELECT enter('door', organization_id::text, 'source ' || id)
              FROM source WHERE id = enter_source.source_id);
END
$$;

CREATE FUNCTION enter_page(of_organization bigint, proofs bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'page', of_organization::text);
    RETURN (SELECT enter('door', id::text, 'redeem page') FROM organization
             WHERE id = of_organization AND redeem_page <> 'off');
END
$$;

-- Which of some events are decided: told of ids alone, to whoever waits for them.
CREATE FUNCTION decided_events(event_ids bigint[]) RETURNS SETOF bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT id FROM event WHERE id = ANY (event_ids) AND status IN ('settled', 'failed')
$$;

-- For how many seconds the inbox, deliveries and the schedule have stood still.
CREATE FUNCTION standstill()
RETURNS TABLE (inbox double precision, deliveries double precision, schedule double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT (SELECT coalesce(extract(epoch FROM clock_now() - min(received_at)), 0)
              FROM event WHERE is_undecided(status, waits_for)),
           (SELECT coalesce(extract(epoch FROM clock_now() - min(head.due_at)), 0)
              FROM endpoint CROSS JOIN LATERAL (
                   SELECT delivery.due_at FROM delivery
                    WHERE delivery.endpoint_id = endpoint.id AND delivery.state = 'waiting'
                      AND delivery.due_at <= clock_now()
                    ORDER BY delivery.due_at, delivery.id LIMIT 1) AS head
             WHERE endpoint.removed_at IS NULL AND endpoint.paused_at IS NULL
               AND coalesce(endpoint.rests_until <= clock_now(), true)),
           (SELECT coalesce(extract(epoch FROM clock_now() - min(last_run_at)), 0) FROM schedule_beat)
$$;

-- The whole system's figures, for its metrics; each reads a partial index of what waits, failed or goes on.
CREATE FUNCTION figures() RETURNS TABLE (name text, value double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT 'keypool_events_waiting', count(*) FROM event WHERE is_undecided(status, waits_for)
    UNION ALL
    SELECT 'keypool_events_waiting_oldest_seconds', inbox FROM standstill()
    UNION ALL
    SELECT 'keypool_deliveries_due_oldest_seconds', deliveries FROM standstill()
    UNION ALL
    SELECT 'keypool_schedule_last_run_seconds', schedule FROM standstill()
    UNION ALL
    SELECT 'keypool_events_waiting_for_a_launch', count(*) FROM event WHERE waits_for IS NOT NULL
    UNION ALL
    SELECT 'keypool_events_failed', count(*) FROM event WHERE status = 'failed'
    UNION ALL
    SELECT 'keypool_deliveries_waiting', count(*) FROM delivery WHERE state = 'waiting'
    UNION ALL
    SELECT 'keypool_deliveries_waiting_oldest_seconds',
           coalesce(extract(epoch FROM clock_now() - min(happened_at)), 0)
      FROM delivery WHERE state = 'waiting'
    UNION ALL
    SELECT 'keypool_deliveries_failed', count(*) FROM delivery WHERE state = 'failed'
    UNION ALL
    SELECT 'keypool_batches_unfinished', count(*) FROM batch WHERE state IN ('queued', 'running')
    UNION ALL
    SELECT 'keypool_messages_waiting', count(*) FROM message WHERE state = 'waiting'
    UNION ALL
    SELECT 'keypool_messages_failed', count(*) FROM message WHERE state = 'failed'
    UNION ALL
    SELECT 'keypool_invoices_held_up', count(*)
      FROM invoice JOIN organization ON organization.id = organization_id
     WHERE status = 'draft' AND NOT by_hand AND cardinality(seller_lacks()) > 0
       AND day_start((month + interval '1 month')::date, time_zone) <= clock_now()
    UNION ALL
    SELECT 'keypool_invoices_by_hand', count(*) FROM invoice WHERE status = 'draft' AND by_hand
    UNION ALL
    SELECT 'keypool_assignments_overdue', count(*) FROM assignment
     WHERE is_overdue(status, expires_at, clock_now())
$$;

-- What stands behind the system's figures: jobs, locks, connections, the audit, delays, each by a label.
-- A lock's holder has its row's transaction id; other logins' transactions have no start that we may read,
-- so the longest wait for such a holder counts. Delays are those of the latest thousand, as far as they ended
-- within fifteen minutes.
CREATE FUNCTION labelled_figures() RETURNS TABLE (name text, label text, value double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH job AS (
        SELECT schedule_job.name, extract(epoch FROM every) AS every,
               extract(epoch FROM clock_now() - coalesce(succeeded_at, planned_at)) AS age FROM schedule_job),
    locks AS MATERIALIZED (
        SELECT pid, transactionid AS xid, granted, waitstart FROM pg_locks WHERE locktype = 'transactionid'),
    held AS (
        SELECT taken.name, holder.pid, extract(epoch FROM clock_timestamp() - coalesce(
                   (SELECT xact_start FROM pg_stat_activity AS holding WHERE holding.pid = holder.pid),
                   (SELECT min(waitstart) FROM locks AS waiting WHERE waiting.xid = holder.xid))) AS age
          FROM (SELECT lock.name, xmax AS xid FROM lock
                UNION ALL
                SELECT 'tree', xmax FROM tree_lock) AS taken
          LEFT JOIN locks AS holder ON holder.xid = taken.xid AND holder.granted),
    lock_age AS (
        SELECT DISTINCT ON (held.name) held.name, coalesce(age, 0) AS age, coalesce(pid, 0) AS pid
          FROM held ORDER BY held.name, age DESC NULLS LAST),
    latest_audit AS (
        SELECT faults, extract(epoch FROM ended_at - begun_at) AS seconds,
               extract(epoch FROM clock_now() - ended_at) AS age
          FROM audit_run WHERE ended_at IS NOT NULL AND since IS NULL ORDER BY id DESC LIMIT 1),
    settled AS (
        SELECT percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY seconds) AS seconds
          FROM (SELECT extract(epoch FROM settled_at - event.received_at)::float8 AS seconds
                  FROM (SELECT event_id FROM redemption ORDER BY event_id DESC LIMIT 1000) AS latest
                  JOIN event ON event.id = event_id
                 WHERE settled_at > clock_now() - interval '15 minutes') AS delay),
    delivered AS (
        SELECT percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY seconds) AS seconds
          FROM (SELECT extract(epoch FROM ended_at - happened_at)::float8 AS seconds
                  FROM (SELECT id FROM delivery ORDER BY id DESC LIMIT 1000) AS latest
                  JOIN delivery USING (id)
                 WHERE state = 'delivered' AND ended_at > clock_now() - interval '15 minutes') AS delay)
    SELECT 'keypool_job_interval_seconds', job.name, every FROM job
    UNION ALL
    SELECT 'keypool_job_last_success_seconds', job.name, age FROM job
    UNION ALL
    SELECT 'keypool_lock_held_seconds', lock_age.name, age FROM lock_age
    UNION ALL
    SELECT 'keypool_lock_holder_pid', lock_age.name, pid FROM lock_age
    UNION ALL
    SELECT 'keypool_connections',
           CASE WHEN usename = current_user THEN 'owner'
                WHEN usename = 'keypool_web' THEN 'web'
                WHEN usename = 'keypool_analyst' OR starts_with(usename, 'keypool_report_') THEN 'analyst'
                ELSE 'other' END, count(*)
      FROM pg_stat_activity  -- of other logins it tells no type
     WHERE datid IS NOT NULL AND usename IS NOT NULL AND backend_type IS DISTINCT FROM 'parallel worker'
     GROUP BY 2
    UNION ALL
    SELECT 'keypool_connections_limit', '', current_setting('max_connections')::int
           - current_setting('superuser_reserved_connections')::int
           - coalesce(current_setting('reserved_connections', true)::int, 0)
    UNION ALL
    SELECT 'keypool_audit_ok', '', (faults = 0)::int FROM latest_audit
    UNION ALL
    SELECT 'keypool_audit_last_result_seconds', '', age FROM latest_audit
    UNION ALL
    SELECT 'keypool_audit_seconds', '', seconds FROM latest_audit
    UNION ALL
    SELECT 'keypool_endpoints_failing', '', count(*) FROM endpoint WHERE removed_at IS NULL AND failures > 0
    UNION ALL
    SELECT 'keypool_settling_delay_seconds', quantile::text, quantiles.seconds
      FROM settled, unnest(ARRAY[0.5, 0.95, 0.99], settled.seconds) AS quantiles (quantile, seconds)
     WHERE quantiles.seconds IS NOT NULL
    UNION ALL
    SELECT 'keypool_delivery_delay_seconds', quantile::text, quantiles.seconds
      FROM delivered, unnest(ARRAY[0.5, 0.95, 0.99], delivered.seconds) AS quantiles (quantile, seconds)
     WHERE quantiles.seconds IS NOT NULL
$$;

CREATE FUNCTION recent_outcomes(latest bigint) RETURNS TABLE (outcome text, attempts bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT outcome::text, count(*)
      FROM (SELECT outcome FROM redemption ORDER BY event_id DESC LIMIT latest) AS recent GROUP BY outcome
$$;

REVOKE ALL ON FUNCTION enter_token(bytea), enter_session(bytea, interval), enter_source(bigint, bytea), enter_page(bigint, bytea),
    decided_events(bigint[]), standstill(), figures(), labelled_figures(), recent_outcomes(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION enter_token(bytea), enter_session(bytea, interval), enter_source(bigint, bytea), enter_page(bigint, bytea),
    decided_events(bigint[]), standstill(), figures(), labelled_figures(), recent_outcomes(bigint) TO keypool_web;

-- The last migration that this database has had, which the web tells when asked whether it is
-- ready. Null: the database was not made by “keypool db init”.
CREATE FUNCTION schema_revision() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT version_num FROM alembic_version);
EXCEPTION WHEN undefined_table THEN
    RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION signs_in_elsewhere(bigint), find_identity_provider(text),
    ask_identity_provider(bigint, bytea, text, text, interval), take_identity_request(bytea),
    begin_vouched_session(bigint, text, text, role, bytea, bytea, text, text, interval, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_identity_provider(text),
    ask_identity_provider(bigint, bytea, text, text, interval), take_identity_request(bytea),
    begin_vouched_session(bigint, text, text, role, bytea, bytea, text, text, interval, bytea) TO keypool_web;
REVOKE ALL ON FUNCTION find_token(bytea, text), note_token(bytea, text), find_source(bigint), sender_of(bigint, bytea), unsubscribe(bigint, bytea), password_salt(text, text, bytea), knows_device(text, bytea),
    remember_access(text, text, text), remember_locked(text, text, bytea), begin_session(text, text, bytea, bytea, text, text, interval, bytea),
    resume_session(bytea, interval, boolean), confirm_session(bytea, text, text, text, bytea), end_session(bytea), sealed_second_factor(bytea), set_up_second_factor(bytea, bytea, bigint, bytea),
    give_second_factor(bytea, bigint, bytea, bytea), remove_second_factor(bigint), throttle_sign_in(bytea, int, interval, interval),
    forgive_sign_ins(bytea[], bytea), uncount_sign_in(bytea, bytea),
    mail_sign_in_link(text, text, int, bytea), find_sign_in_link(bytea), use_sign_in_link(bytea, text),
    somebody_can_sign_in(), first_start_holds(bytea), make_first_operator(bytea, text, text), schema_revision() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_token(bytea, text), note_token(bytea, text), find_source(bigint), sender_of(bigint, bytea), unsubscribe(bigint, bytea), password_salt(text, text, bytea), knows_device(text, bytea),
    remember_locked(text, text, bytea), begin_session(text, text, bytea, bytea, text, text, interval, bytea),
    resume_session(bytea, interval, boolean), confirm_session(bytea, text, text, text, bytea), end_session(bytea), sealed_second_factor(bytea), set_up_second_factor(bytea, bytea, bigint, bytea),
    give_second_factor(bytea, bigint, bytea, bytea), remove_second_factor(bigint), throttle_sign_in(bytea, int, interval, interval),
    forgive_sign_ins(bytea[], bytea), uncount_sign_in(bytea, bytea),
    mail_sign_in_link(text, text, int, bytea), find_sign_in_link(bytea), use_sign_in_link(bytea, text),
    somebody_can_sign_in(), first_start_holds(bytea), make_first_operator(bytea, text, text), schema_revision() TO keypool_web;
REVOKE ALL ON FUNCTION page_of_slug(text), page_of_key(text, bytea), page_source(bigint),
    begin_page_session(bytea, bigint, text, bytea, text, bytea, boolean, boolean, bigint, bigint, bytea),
    find_page_session(bytea), try_page_code(bytea), prove_page_session(bytea, bytea),
    note_page_key(bytea, bigint, bigint, text, bytea), end_page_session(bytea),
    forget_page_sessions(text, bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION page_of_slug(text), page_of_key(text, bytea), page_source(bigint),
    begin_page_session(bytea, bigint, text, bytea, text, bytea, boolean, boolean, bigint, bigint, bytea),
    find_page_session(bytea), try_page_code(bytea), prove_page_session(bytea, bytea),
    note_page_key(bytea, bigint, bigint, text, bytea), end_page_session(bytea),
    forget_page_sessions(text, bigint[]) TO keypool_web;
REVOKE ALL ON FUNCTION page_sessions_of(text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION page_sessions_of(text[]) TO keypool_web;


-- The lake: closed months of the report's facts as Parquet files ------------------------------------

-- The one lake, if it was ever begun. Months before `written` are in it. Late facts of months before
-- `announced` are noted: the months between are being written.
CREATE TABLE lake (
    single    boolean PRIMARY KEY DEFAULT true,
    announced date    NOT NULL,
    written   date    NOT NULL,

    CONSTRAINT lake_is_one                     CHECK (single),
    CONSTRAINT lake_announces_before_it_writes CHECK (written <= announced)
);

-- A month of an organization that has files in the lake; the manifest beside them has the same version.
CREATE TABLE lake_month (
    organization_id bigint NOT NULL REFERENCES organization ON DELETE RESTRICT,
    month           date   NOT NULL,
    version         uuid   NOT NULL,

    PRIMARY KEY (organization_id, month),
    CONSTRAINT lake_month_begins_on_its_first_day CHECK (extract(day FROM month) = 1)
);

-- A fact of an announced month came late or changed: until its files are written anew, reports read that
-- month from the tables. Several rows say the same, so that nobody waits for another's transaction.
CREATE TABLE lake_change (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint NOT NULL REFERENCES organization ON DELETE RESTRICT,
    month           date   NOT NULL,
    transaction     xid8   NOT NULL DEFAULT pg_current_xact_id()
);

-- Read by each question, and by the build.
CREATE INDEX lake_change_by_organization ON lake_change (organization_id, month);

-- The labels that facts of an organization carry, numbered: labels are free text, and no file has any.
CREATE TABLE lake_labels (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint NOT NULL REFERENCES organization ON DELETE RESTRICT,
    labels          text[] NOT NULL,

    CONSTRAINT lake_labels_are_numbered_once UNIQUE (organization_id, labels)
);

-- The pools that facts of an organization name; of others than its own it may know the name, as its facts tell it.
CREATE TABLE lake_pool (
    organization_id bigint NOT NULL REFERENCES organization ON DELETE RESTRICT,
    pool_id         bigint NOT NULL REFERENCES pool         ON DELETE RESTRICT,

    PRIMARY KEY (organization_id, pool_id)
);

ALTER TABLE lake        ENABLE ROW LEVEL SECURITY;
ALTER TABLE lake_month  ENABLE ROW LEVEL SECURITY;
ALTER TABLE lake_change ENABLE ROW LEVEL SECURITY;
ALTER TABLE lake_labels ENABLE ROW LEVEL SECURITY;
ALTER TABLE lake_pool   ENABLE ROW LEVEL SECURITY;

-- Notes that facts of these organizations, of these instants, came late or changed. One transaction notes a
-- month once. A month begins at the latest 14 hours after its first UTC midnight.
CREATE FUNCTION note_late(organizations bigint[], instants timestamptz[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    INSERT INTO lake_change (organization_id, month)
    SELECT DISTINCT late.organization_id, late.month
      FROM (SELECT fact.organization_id,
                   date_trunc('month', fact.at AT TIME ZONE organization.time_zone)::date AS month
              FROM unnest(organizations, instants) AS fact (organization_id, at)
              JOIN organization ON organization.id = fact.organization_id) AS late
      JOIN lake ON late.month < lake.announced
     WHERE NOT EXISTS (SELECT FROM lake_change AS noted
                        WHERE noted.organization_id = late.organization_id AND noted.month = late.month
                          AND noted.transaction = pg_current_xact_id());
END;

CREATE FUNCTION note_late_facts() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    upto constant timestamptz := (
        SELECT announced::timestamp AT TIME ZONE 'UTC' + interval '14 hours' FROM lake);
    organizations bigint[];
    instants      timestamptz[];
BEGIN
    IF upto IS NULL THEN
        RETURN NULL;
    ELSIF TG_TABLE_NAME = 'redemption' OR TG_TABLE_NAME = 'event' THEN
        SELECT array_agg(organization_id), array_agg(received_at) INTO organizations, instants
          FROM after WHERE received_at < upto;
    ELSIF TG_TABLE_NAME = 'launch' THEN
        SELECT array_agg(organization_id), array_agg(launched_at) INTO organizations, instants
          FROM after WHERE launched_at < upto;
    ELSIF TG_TABLE_NAME = 'charge' THEN
        SELECT array_agg(organization_id), array_agg(occurred_at) INTO organizations, instants
          FROM after WHERE occurred_at < upto;
    ELSIF TG_OP = 'INSERT' THEN
        SELECT array_agg(organization_id), array_agg(redeemed_at) INTO organizations, instants
          FROM after WHERE redeemed_at < upto;
    ELSE  -- an assignment that only expired is none other in the lake; over its access its charges are earned
        SELECT array_agg(fact.organization_id), array_agg(fact.at) INTO organizations, instants
          FROM after JOIN before USING (id)
         CROSS JOIN LATERAL (
               SELECT after.organization_id, after.redeemed_at AS at
               UNION ALL
               SELECT charge.organization_id, charge.occurred_at FROM charge WHERE charge.assignment_id = after.id
               UNION ALL
               SELECT pool.organization_id, distribution.distributed_at
                 FROM key JOIN distribution ON distribution.id = key.distribution_id
                 JOIN pool ON pool.id = distribution.pool_id
                WHERE key.id = after.key_id) AS fact
         WHERE fact.at < upto
           AND (after.learner_id, after.undone, after.expires_at, after.cancelled_at)
               IS DISTINCT FROM (before.learner_id, before.undone, before.expires_at, before.cancelled_at);
    END IF;
    IF organizations IS NOT NULL THEN
        PERFORM note_late(organizations, instants);
    END IF;
    RETURN NULL;
END
$$;

-- A distributed key that is retired, replaced or distributed anew, and a key whose labels change.
CREATE FUNCTION note_changed_key() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    organizations bigint[];
    instants      timestamptz[];
BEGIN
    IF NOT EXISTS (SELECT FROM lake) THEN
        RETURN NULL;
    END IF;
    SELECT array_agg(organization_id), array_agg(at) INTO organizations, instants
      FROM (SELECT pool.organization_id, distributed_at AS at FROM distribution JOIN pool ON pool.id = pool_id
             WHERE distribution.id IN (OLD.distribution_id, NEW.distribution_id)
            UNION ALL
            SELECT organization_id, received_at FROM redemption WHERE key_id = NEW.id
            UNION ALL
            SELECT organization_id, redeemed_at FROM assignment WHERE key_id = NEW.id) AS fact;
    IF organizations IS NOT NULL THEN
        PERFORM note_late(organizations, instants);
    END IF;
    RETURN NULL;
END
$$;

-- A distribution that is recalled says when its keys were.
CREATE FUNCTION note_recalled_distribution() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM note_late(ARRAY[pool.organization_id], ARRAY[NEW.distributed_at]) FROM pool WHERE pool.id = NEW.pool_id;
    RETURN NULL;
END
$$;

-- Another time zone has other days and months.
CREATE FUNCTION note_changed_time_zone() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO lake_change (organization_id, month)
    SELECT DISTINCT organization_id, (month + shift * interval '1 month')::date
      FROM lake_month, generate_series(-1, 1) AS shift, lake
     WHERE organization_id = NEW.id AND month + shift * interval '1 month' < announced;
    RETURN NULL;
END
$$;

CREATE TRIGGER late_redemptions_are_noted AFTER INSERT ON redemption
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION note_late_facts();
CREATE TRIGGER late_settled_events_are_noted AFTER UPDATE ON event
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION note_late_facts();
CREATE TRIGGER late_assignments_are_noted AFTER INSERT ON assignment
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION note_late_facts();
CREATE TRIGGER changed_assignments_are_noted AFTER UPDATE ON assignment
    REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION note_late_facts();
CREATE TRIGGER late_launches_are_noted AFTER INSERT ON launch
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION note_late_facts();
CREATE TRIGGER changed_launches_are_noted AFTER UPDATE ON launch
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION note_late_facts();
CREATE TRIGGER late_charges_are_noted AFTER INSERT ON charge
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION note_late_facts();
CREATE TRIGGER changed_charges_are_noted AFTER UPDATE ON charge
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION note_late_facts();
CREATE TRIGGER changed_keys_are_noted AFTER UPDATE OF state, distribution_id, labels ON key
    FOR EACH ROW WHEN (OLD.labels IS DISTINCT FROM NEW.labels
                       OR OLD.distribution_id IS NOT NULL
                          AND (OLD.distribution_id IS DISTINCT FROM NEW.distribution_id
                               OR OLD.state <> NEW.state AND NEW.state = 'retired'))
    EXECUTE FUNCTION note_changed_key();
CREATE TRIGGER recalled_distributions_are_noted AFTER UPDATE OF recalled_at ON distribution
    FOR EACH ROW WHEN (OLD.recalled_at IS DISTINCT FROM NEW.recalled_at)
    EXECUTE FUNCTION note_recalled_distribution();
CREATE TRIGGER changed_time_zone_is_noted AFTER UPDATE OF time_zone ON organization
    FOR EACH ROW WHEN (OLD.time_zone <> NEW.time_zone) EXECUTE FUNCTION note_changed_time_zone();

REVOKE ALL ON FUNCTION note_late(bigint[], timestamptz[]), note_late_facts(), note_changed_key(),
    note_recalled_distribution(), note_changed_time_zone() FROM PUBLIC;


-- Schema "report": what analysts read --------------------------------------------------------------

CREATE SCHEMA report;

-- A database login, and the one organization (with descendants) that it may read: a report's own for one
-- run, or one that lasts until somebody ends it.
CREATE TABLE report_login (
    login           name        PRIMARY KEY,
    organization_id bigint      NOT NULL REFERENCES organization ON DELETE RESTRICT,
    lasting         boolean     NOT NULL DEFAULT false,
    made_by         text        NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT clock_now()
);

ALTER TABLE report_login ENABLE ROW LEVEL SECURITY;

-- Whose rows a login may read. It hangs on session_user, which no SQL of a notebook can change:
-- a report's login reads its organization's tree, the web what its request may see, the analyst
-- and the owner everything.
CREATE FUNCTION report.visible_organization() RETURNS SETOF bigint
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT id FROM organization
     WHERE session_user = 'keypool_analyst'
        OR session_user = current_user  -- inside this function: the owner
        OR session_user = 'keypool_web' AND sees_everything()
    UNION
    SELECT visible_organization() WHERE session_user = 'keypool_web'
    UNION
    SELECT descendant_id FROM organization_ancestry
      JOIN report_login ON report_login.organization_id = ancestor_id AND login = session_user
$$;

-- Its views: what a row is and what each column means stands in their comments, which
-- “keypool reports dictionary” prints. A new column goes to the end, so that views keep their shape.

CREATE VIEW report.organization WITH (security_barrier) AS
SELECT organization.id, organization.name, parent.name AS parent, organization.time_zone,
       organization.currency, organization.locale,
       organization.id AS organization_id, organization.parent_id
  FROM organization LEFT JOIN organization AS parent ON parent.id = organization.parent_id
 WHERE organization.id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.organization IS
    'Every organization in sight.';
COMMENT ON COLUMN report.organization.id IS 'The organization''s id.';
COMMENT ON COLUMN report.organization.name IS 'Its name, unique in the system.';
COMMENT ON COLUMN report.organization.parent IS 'The name of its parent; null without one.';
COMMENT ON COLUMN report.organization.time_zone IS 'The time zone of its days and months.';
COMMENT ON COLUMN report.organization.currency IS 'The currency in which it is invoiced by default.';
COMMENT ON COLUMN report.organization.locale IS 'The language and region of its reports and mails.';
COMMENT ON COLUMN report.organization.organization_id IS 'The organization''s id; the same as id.';
COMMENT ON COLUMN report.organization.parent_id IS 'The parent''s organization_id; null without one.';

CREATE VIEW report.family WITH (security_barrier) AS
SELECT organization.name AS organization, member.name AS member,
       organization.id AS organization_id, member.id AS member_id
  FROM organization_ancestry
  JOIN organization ON organization.id = ancestor_id
  JOIN organization AS member ON member.id = descendant_id
 WHERE ancestor_id IN (SELECT report.visible_organization())
   AND descendant_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.family IS
    'Every organization in sight with each of its descendants in sight, itself too: what a question about one organization is about.';
COMMENT ON COLUMN report.family.organization IS 'The name of the organization.';
COMMENT ON COLUMN report.family.member IS 'The name of the organization or of a descendant.';
COMMENT ON COLUMN report.family.organization_id IS 'The organization''s id.';
COMMENT ON COLUMN report.family.member_id IS 'The member''s organization_id.';

-- The price in force now, for an organization in sight, or the list price where none is named. The views
-- ask a function, because one that analysts may not call would run with their rights.
CREATE FUNCTION report.price_now(of_course bigint, for_organization bigint)
RETURNS TABLE (amount numeric, currency char(3))
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT price.amount, price.currency FROM price_in_force(of_course, for_organization, clock_now()) AS price
     WHERE for_organization IS NULL OR for_organization IN (SELECT report.visible_organization())
$$;

CREATE VIEW report.course WITH (security_barrier) AS
SELECT course.id AS course_id, course.code AS course, course.title, course.archived_at IS NOT NULL AS archived,
       course.archived_at, course.created_at,
       (SELECT amount FROM report.price_now(course.id, NULL)) AS price,
       (SELECT currency FROM report.price_now(course.id, NULL)) AS currency
  FROM course;
COMMENT ON VIEW report.course IS
    'Every course, archived ones too.';
COMMENT ON COLUMN report.course.course_id IS 'The course''s id.';
COMMENT ON COLUMN report.course.course IS 'The course''s code, unique in the system.';
COMMENT ON COLUMN report.course.title IS 'Its title.';
COMMENT ON COLUMN report.course.archived IS 'Whether it is archived: then no key of its pools can be redeemed.';
COMMENT ON COLUMN report.course.archived_at IS 'When it was archived; null if it was not.';
COMMENT ON COLUMN report.course.created_at IS 'When it was added.';
COMMENT ON COLUMN report.course.price IS 'The list price in force now; null before the first.';
COMMENT ON COLUMN report.course.currency IS 'The list price''s currency.';

CREATE VIEW report.price WITH (security_barrier) AS
SELECT price.id AS price_id, course.code AS course, organization.name AS organization, price.amount AS price,
       price.currency, price.valid_from, price.valid_until, price.course_id, price.organization_id
  FROM price
  JOIN course ON course.id = price.course_id
  LEFT JOIN organization ON organization.id = price.organization_id
 WHERE (price.valid_until > price.valid_from) IS NOT FALSE
   AND (price.organization_id IS NULL OR price.organization_id IN (SELECT report.visible_organization()));
COMMENT ON VIEW report.price IS
    'One row a price of a course: list prices, and the own prices of organizations in sight. Prices that were withdrawn before they began are left out.';
COMMENT ON COLUMN report.price.price_id IS 'The price''s id.';
COMMENT ON COLUMN report.price.course IS 'The course''s code.';
COMMENT ON COLUMN report.price.organization IS
    'Whose own price it is, for itself and its descendants; null for a list price.';
COMMENT ON COLUMN report.price.price IS 'The price of one redemption.';
COMMENT ON COLUMN report.price.currency IS 'The price''s currency.';
COMMENT ON COLUMN report.price.valid_from IS 'From when it holds, until a later one begins or it is withdrawn.';
COMMENT ON COLUMN report.price.valid_until IS 'When it was withdrawn; null if it was not.';
COMMENT ON COLUMN report.price.course_id IS 'The course''s id, as in report.course.';
COMMENT ON COLUMN report.price.organization_id IS 'The organization''s id; null for a list price.';

CREATE VIEW report.pool WITH (security_barrier) AS
SELECT pool.id, pool.name, organization.name AS organization, course.code AS course,
       pool.starts_at, pool.expires_at, pool.content_availability_days, pool.share_with_children,
       last_day(pool.expires_at, organization.time_zone) AS last_day,
       life.state, figures.issued, figures.distributed, figures.redeemed, figures.retired,
       figures.issued - figures.distributed AS undistributed,
       CASE WHEN life.state IN ('archived', 'expired') THEN figures.issued ELSE 0 END AS breakage,
       pool.id AS pool_id, pool.organization_id, pool.course_id, course.title AS course_title,
       pool.created_at,
       (SELECT amount FROM report.price_now(pool.course_id, pool.organization_id)) AS price,
       (SELECT currency FROM report.price_now(pool.course_id, pool.organization_id)) AS currency
  FROM pool
  JOIN organization ON organization.id = pool.organization_id
  JOIN course ON course.id = pool.course_id
 CROSS JOIN LATERAL pool_state(
       course.archived_at, pool.paused_at, pool.starts_at, pool.expires_at, clock_now()) AS life (state)
 CROSS JOIN LATERAL (
       SELECT coalesce(sum(issued), 0)::bigint AS issued, coalesce(sum(distributed), 0)::bigint AS distributed,
              coalesce(sum(redeemed), 0)::bigint AS redeemed, coalesce(sum(retired), 0)::bigint AS retired
         FROM pool_tally WHERE pool_tally.pool_id = pool.id) AS figures
 WHERE pool.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.pool IS
    'One row a pool, with its figures as they are now: issued + redeemed + retired = all its keys.';
COMMENT ON COLUMN report.pool.id IS 'The pool''s id.';
COMMENT ON COLUMN report.pool.name IS 'Its name, unique in its organization.';
COMMENT ON COLUMN report.pool.organization IS 'The pool''s owner, who pays for redemptions.';
COMMENT ON COLUMN report.pool.course IS 'The course''s code.';
COMMENT ON COLUMN report.pool.starts_at IS 'From when its keys can be redeemed.';
COMMENT ON COLUMN report.pool.expires_at IS 'The instant from which they cannot.';
COMMENT ON COLUMN report.pool.content_availability_days IS 'How many times 24 hours access lasts after redemption.';
COMMENT ON COLUMN report.pool.share_with_children IS
    'Whether learners of the owner''s descendants may redeem its keys.';
COMMENT ON COLUMN report.pool.last_day IS 'The last day on which its keys work, in its organization''s time zone.';
COMMENT ON COLUMN report.pool.state IS 'The first that holds of archived, paused, scheduled, expired, active.';
COMMENT ON COLUMN report.pool.issued IS 'Keys that are neither redeemed nor retired.';
COMMENT ON COLUMN report.pool.distributed IS 'Issued keys that were distributed.';
COMMENT ON COLUMN report.pool.redeemed IS 'Redeemed keys.';
COMMENT ON COLUMN report.pool.retired IS 'Retired keys.';
COMMENT ON COLUMN report.pool.undistributed IS 'Issued keys that were not distributed.';
COMMENT ON COLUMN report.pool.breakage IS
    'Issued keys that can no longer be redeemed: the pool expired, or its course is archived.';
COMMENT ON COLUMN report.pool.pool_id IS 'The pool''s id; the same as id.';
COMMENT ON COLUMN report.pool.organization_id IS 'The owner''s organization_id.';
COMMENT ON COLUMN report.pool.course_id IS 'The course''s id, as in report.course.';
COMMENT ON COLUMN report.pool.course_title IS 'The course''s title.';
COMMENT ON COLUMN report.pool.created_at IS 'When the pool was made.';
COMMENT ON COLUMN report.pool.price IS
    'What its owner pays for a redemption at the price in force now; null where there is none.';
COMMENT ON COLUMN report.pool.currency IS 'The price''s currency.';

CREATE VIEW report.pool_label WITH (security_barrier) AS
SELECT pool.id AS pool_id, pool.name AS pool, organization.name AS organization, course.code AS course,
       figures.*, pool.organization_id, pool.course_id
  FROM pool
  JOIN organization ON organization.id = pool.organization_id
  JOIN course ON course.id = pool.course_id
 CROSS JOIN LATERAL (
       SELECT label, sum(issued)::bigint AS issued, sum(distributed)::bigint AS distributed,
              sum(redeemed)::bigint AS redeemed, sum(retired)::bigint AS retired
         FROM label_tally WHERE label_tally.pool_id = pool.id
        GROUP BY label HAVING sum(issued + redeemed + retired) > 0) AS figures
 WHERE pool.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.pool_label IS
    'One row a pool and a label that some of its keys carry, with the figures of those keys as they are now. A key with two labels counts under both.';
COMMENT ON COLUMN report.pool_label.pool_id IS 'The pool''s id, as in report.pool.';
COMMENT ON COLUMN report.pool_label.pool IS 'The pool''s name, unique in its organization.';
COMMENT ON COLUMN report.pool_label.organization IS 'The pool''s owner.';
COMMENT ON COLUMN report.pool_label.course IS 'The course''s code.';
COMMENT ON COLUMN report.pool_label.label IS 'The label.';
COMMENT ON COLUMN report.pool_label.issued IS 'Keys with the label that are neither redeemed nor retired.';
COMMENT ON COLUMN report.pool_label.distributed IS 'Issued keys with the label that were distributed.';
COMMENT ON COLUMN report.pool_label.redeemed IS 'Redeemed keys with the label.';
COMMENT ON COLUMN report.pool_label.retired IS 'Retired keys with the label.';
COMMENT ON COLUMN report.pool_label.organization_id IS 'The owner''s organization_id.';
COMMENT ON COLUMN report.pool_label.course_id IS 'The course''s id, as in report.course.';

CREATE VIEW report.growth WITH (security_barrier) AS
SELECT pool.name AS pool, organization.name AS organization, course.code AS course,
       pool_growth.made_at, (pool_growth.made_at AT TIME ZONE organization.time_zone)::date AS day,
       pool_growth.keys, pool.id AS pool_id, pool.organization_id, pool.course_id
  FROM pool_growth
  JOIN pool ON pool.id = pool_growth.pool_id
  JOIN organization ON organization.id = pool.organization_id
  JOIN course ON course.id = pool.course_id
 WHERE pool.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.growth IS
    'One row a quarter of an hour in which keys were added to a pool.';
COMMENT ON COLUMN report.growth.pool IS 'The pool''s name, unique in its organization.';
COMMENT ON COLUMN report.growth.organization IS 'The pool''s owner.';
COMMENT ON COLUMN report.growth.course IS 'The course''s code.';
COMMENT ON COLUMN report.growth.made_at IS 'When the keys were added.';
COMMENT ON COLUMN report.growth.day IS 'That day, in the time zone of the pool''s owner.';
COMMENT ON COLUMN report.growth.keys IS 'How many keys were added.';
COMMENT ON COLUMN report.growth.pool_id IS 'The pool''s id, as in report.pool.';
COMMENT ON COLUMN report.growth.organization_id IS 'The owner''s organization_id.';
COMMENT ON COLUMN report.growth.course_id IS 'The course''s id, as in report.course.';

CREATE VIEW report.handed_out WITH (security_barrier) AS
SELECT key.id AS key, pool.name AS pool, organization.name AS organization, course.code AS course,
       distribution.distributed_at,
       (distribution.distributed_at AT TIME ZONE organization.time_zone)::date AS day,
       (SELECT min(assignment.redeemed_at) FROM assignment
         WHERE assignment.key_id = key.id AND NOT assignment.undone) AS redeemed_at,
       least(clock_now(), pool.expires_at) AS until, key.state = 'retired' AS retired, key.labels,
       key.id AS key_id, pool.id AS pool_id, pool.organization_id, pool.course_id,
       (SELECT assignment.id FROM assignment
         WHERE assignment.key_id = key.id AND assignment.status <> 'cancelled') AS assignment_id,
       distribution.id AS distribution_id, distribution.recipient, distribution.recipient_name,
       distribution.reference,
       CASE WHEN key.state = 'retired' THEN coalesce(
           least(distribution.recalled_at,
                 (SELECT min(history.at) FROM history
                   WHERE history.thing = 'key' AND history.thing_id = key.id AND history.action = 'key retired')),
           (SELECT max(assignment.cancelled_at) FROM assignment WHERE assignment.key_id = key.id),
           distribution.distributed_at) END AS retired_at,
       CASE WHEN pool.expires_at <= clock_now() THEN pool.expires_at END AS pool_ended_at,
       (key.created_at AT TIME ZONE organization.time_zone)::date AS made_on
  FROM distribution
  JOIN key ON key.distribution_id = distribution.id
  JOIN pool ON pool.id = distribution.pool_id
  JOIN organization ON organization.id = pool.organization_id
  JOIN course ON course.id = pool.course_id
 WHERE pool.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.handed_out IS
    'One row a key that was distributed. A key that replaced another is in the place of that one.';
COMMENT ON COLUMN report.handed_out.key IS 'The key''s id; the same as key_id.';
COMMENT ON COLUMN report.handed_out.pool IS 'The pool''s name, unique in its organization.';
COMMENT ON COLUMN report.handed_out.organization IS 'The pool''s owner.';
COMMENT ON COLUMN report.handed_out.course IS 'The course''s code.';
COMMENT ON COLUMN report.handed_out.distributed_at IS 'When the key was distributed.';
COMMENT ON COLUMN report.handed_out.day IS 'That day, in the time zone of the pool''s owner.';
COMMENT ON COLUMN report.handed_out.redeemed_at IS
    'When the key was redeemed; null if it was not (or that was undone) until now or the pool''s end.';
COMMENT ON COLUMN report.handed_out.until IS 'Until when it was observed: now, or the pool''s end.';
COMMENT ON COLUMN report.handed_out.retired IS 'Whether the key is retired: it can be redeemed no more.';
COMMENT ON COLUMN report.handed_out.labels IS 'The labels of the row''s key; null where it has none.';
COMMENT ON COLUMN report.handed_out.key_id IS 'The key''s id. No view shows a key''s code.';
COMMENT ON COLUMN report.handed_out.pool_id IS 'The pool''s id, as in report.pool.';
COMMENT ON COLUMN report.handed_out.organization_id IS 'The owner''s organization_id.';
COMMENT ON COLUMN report.handed_out.course_id IS 'The course''s id, as in report.course.';
COMMENT ON COLUMN report.handed_out.assignment_id IS
    'The assignment that its redemption made, as in report.assignment; null without one that is not cancelled.';
COMMENT ON COLUMN report.handed_out.distribution_id IS 'The distribution''s id.';
COMMENT ON COLUMN report.handed_out.recipient IS 'Whom the key was distributed to: an e-mail address or a name.';
COMMENT ON COLUMN report.handed_out.recipient_name IS
    'The recipient''s name, where the recipient is an address; empty if unknown.';
COMMENT ON COLUMN report.handed_out.reference IS
    'The reference of the distribution, such as an order number; empty without one.';
COMMENT ON COLUMN report.handed_out.retired_at IS
    'When the key was retired, by a recall too; where that is not known any more, when it was distributed.';
COMMENT ON COLUMN report.handed_out.pool_ended_at IS 'When the pool''s keys stopped working; null while they do.';
COMMENT ON COLUMN report.handed_out.made_on IS 'The day on which the key was made, in the time zone of the pool''s owner.';

CREATE VIEW report.learner WITH (security_barrier) AS
SELECT learner.id AS learner_id, organization.name AS organization, learner.organization_id,
       learner.email, learner.name, learner.created_at, learner.erased_at IS NOT NULL AS erased,
       learner.duplicate_of AS duplicate_of_learner_id
  FROM learner JOIN organization ON organization.id = learner.organization_id
 WHERE learner.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.learner IS
    'One row a learner. An erased one has a pseudonym in place of the address, and no name.';
COMMENT ON COLUMN report.learner.learner_id IS 'The learner''s id.';
COMMENT ON COLUMN report.learner.organization IS 'The organization in which the learner is known.';
COMMENT ON COLUMN report.learner.organization_id IS 'The organization''s id, as in report.organization.';
COMMENT ON COLUMN report.learner.email IS 'The learner''s address; a pseudonym once erased.';
COMMENT ON COLUMN report.learner.name IS 'The learner''s name; empty if unknown or erased.';
COMMENT ON COLUMN report.learner.created_at IS 'When the learner was first met.';
COMMENT ON COLUMN report.learner.erased IS 'Whether the learner was erased.';
COMMENT ON COLUMN report.learner.duplicate_of_learner_id IS
    'The learner_id of another learner of the organization who is the same person; null if there is none.';

CREATE VIEW report.source WITH (security_barrier) AS
SELECT source.id AS source_id, source.name, source.kind::text AS kind, organization.name AS organization,
       source.organization_id, source.created_at
  FROM source JOIN organization ON organization.id = source.organization_id
 WHERE source.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.source IS
    'One row a source: an external system that posts webhooks, or an organization''s redeem page.';
COMMENT ON COLUMN report.source.source_id IS 'The source''s id.';
COMMENT ON COLUMN report.source.name IS 'Its name, unique in its organization.';
COMMENT ON COLUMN report.source.kind IS 'system, or page for a redeem page.';
COMMENT ON COLUMN report.source.organization IS 'The organization that it may post for, with its descendants.';
COMMENT ON COLUMN report.source.organization_id IS 'The organization''s id, as in report.organization.';
COMMENT ON COLUMN report.source.created_at IS 'When it was added.';

-- Of the large tables a period is read, found by its time: IS TRUE keeps the planner from reading, for
-- each organization, all that it ever had.

CREATE VIEW report.redemption WITH (security_barrier) AS
SELECT redemption.event_id AS event, organization.name AS organization,
       learner_organization.name AS learner_organization, pool.id AS pool_id, pool.name AS pool,
       course.code AS course, redemption.outcome::text AS outcome,
       CASE redemption.outcome WHEN 'redeemed' THEN 'redeemed' WHEN 'already_yours' THEN 'repeated'
            ELSE 'refused' END AS answer,
       redemption.received_at,
       (redemption.received_at AT TIME ZONE organization.time_zone)::date AS day,
       key.created_at AS key_created_at, distribution.distributed_at,
       round(extract(epoch FROM redemption.received_at - key.created_at) / 86400, 6)
           AS days_since_creation,
       round(extract(epoch FROM redemption.received_at - distribution.distributed_at) / 86400, 6)
           AS days_since_distribution,
       EXISTS (SELECT FROM launch WHERE launch.assignment_id = redemption.assignment_id
                                    AND launch.outcome = 'launched') AS launched,
       EXISTS (SELECT FROM launch WHERE launch.assignment_id = redemption.assignment_id
                                    AND launch.completed) AS completed,
       key.labels,
       redemption.organization_id, learner_organization.id AS learner_organization_id,
       redemption.key_id, redemption.assignment_id, pool.course_id,
       (SELECT learner.id FROM learner
         WHERE learner.organization_id = learner_organization.id
           AND learner.email_lower = redemption.learner_email_lower) AS learner_id,
       (SELECT source.id FROM event JOIN source ON source.id = event.source_id
         WHERE event.id = redemption.event_id
           AND source.organization_id IN (SELECT report.visible_organization())) AS source_id,
       CASE WHEN redemption.outcome = 'redeemed' THEN (
           SELECT charge.id FROM charge WHERE charge.assignment_id = redemption.assignment_id
              AND CASE WHEN charge.kind = 'redemption' THEN true END) END AS charge_id,
       CASE WHEN redemption.outcome = 'redeemed' THEN (
           SELECT charge.amount FROM charge WHERE charge.assignment_id = redemption.assignment_id
              AND CASE WHEN charge.kind = 'redemption' THEN true END) END AS price,
       CASE WHEN redemption.outcome = 'redeemed' THEN (
           SELECT charge.currency FROM charge WHERE charge.assignment_id = redemption.assignment_id
              AND CASE WHEN charge.kind = 'redemption' THEN true END) END AS currency,
       distribution.recipient, distribution.recipient_name, distribution.reference,
       (key.created_at AT TIME ZONE organization.time_zone)::date AS key_made_on,
       (SELECT assignment.undone FROM assignment WHERE assignment.id = redemption.assignment_id) AS undone,
       (SELECT gives_access(assignment.status, assignment.expires_at, clock_now())
          FROM assignment WHERE assignment.id = redemption.assignment_id) AS live
  FROM redemption
  JOIN organization ON organization.id = redemption.organization_id
  LEFT JOIN organization AS learner_organization
         ON learner_organization.id = redemption.learner_organization_id
        AND learner_organization.id IN (SELECT report.visible_organization())
  LEFT JOIN key ON key.id = redemption.key_id
  LEFT JOIN distribution ON distribution.id = key.distribution_id
  LEFT JOIN pool ON pool.id = redemption.pool_id
  LEFT JOIN course ON course.id = pool.course_id
 WHERE (redemption.organization_id IN (SELECT report.visible_organization())) IS TRUE;
COMMENT ON VIEW report.redemption IS
    'One row an attempt to redeem a key, refused ones too, of the organization that sees it: the pool''s owner; where the key is unknown, the source''s organization.';
COMMENT ON COLUMN report.redemption.event IS 'The id of the event that requested it.';
COMMENT ON COLUMN report.redemption.organization IS
    'The pool''s owner; where the key is unknown, the source''s organization.';
COMMENT ON COLUMN report.redemption.learner_organization IS 'The learner''s organization; null for a stranger.';
COMMENT ON COLUMN report.redemption.pool_id IS 'The pool''s id, as in report.pool.';
COMMENT ON COLUMN report.redemption.pool IS 'The pool''s name; null where the key is unknown.';
COMMENT ON COLUMN report.redemption.course IS 'The course''s code; null where the key is unknown.';
COMMENT ON COLUMN report.redemption.outcome IS
    'The outcome''s code, such as redeemed, already_yours or pool_expired: for refusals the reason.';
COMMENT ON COLUMN report.redemption.answer IS
    'What the outcome means for figures: redeemed (it spent a key), repeated (the learner had redeemed that key before) or refused.';
COMMENT ON COLUMN report.redemption.received_at IS
    'When the event was received, which is also when the key counts as redeemed.';
COMMENT ON COLUMN report.redemption.day IS 'That day, in the organization''s time zone.';
COMMENT ON COLUMN report.redemption.key_created_at IS 'When the key was made.';
COMMENT ON COLUMN report.redemption.distributed_at IS 'When the key was distributed; null if it was not.';
COMMENT ON COLUMN report.redemption.days_since_creation IS 'Days from the key''s making to the attempt.';
COMMENT ON COLUMN report.redemption.days_since_distribution IS 'Days from the key''s distribution to the attempt.';
COMMENT ON COLUMN report.redemption.launched IS 'Whether training was launched under the assignment, ever since.';
COMMENT ON COLUMN report.redemption.completed IS 'Whether training was completed under the assignment, ever since.';
COMMENT ON COLUMN report.redemption.labels IS 'The labels of the row''s key; null where it has none.';
COMMENT ON COLUMN report.redemption.organization_id IS 'The organization''s id, as in report.organization.';
COMMENT ON COLUMN report.redemption.learner_organization_id IS 'The learner''s organization_id; null for a stranger.';
COMMENT ON COLUMN report.redemption.key_id IS
    'The key''s id; null where the key is unknown. No view shows a key''s code.';
COMMENT ON COLUMN report.redemption.assignment_id IS
    'The assignment that it made or met, as in report.assignment; null without one.';
COMMENT ON COLUMN report.redemption.course_id IS 'The course''s id, as in report.course.';
COMMENT ON COLUMN report.redemption.learner_id IS
    'The learner''s id, as in report.learner; null for a stranger, and for who is not known.';
COMMENT ON COLUMN report.redemption.source_id IS
    'The id of the source that posted it, as in report.source; null if it is not in sight or a person did it.';
COMMENT ON COLUMN report.redemption.charge_id IS
    'The charge for it, as in report.charge; null where nothing was charged.';
COMMENT ON COLUMN report.redemption.price IS 'What was charged for it: the price in force when it was received.';
COMMENT ON COLUMN report.redemption.currency IS 'The price''s currency.';
COMMENT ON COLUMN report.redemption.recipient IS
    'Whom the key was distributed to: an e-mail address or a name. Null if it was not distributed.';
COMMENT ON COLUMN report.redemption.recipient_name IS
    'The recipient''s name, where the recipient is an address; empty if unknown.';
COMMENT ON COLUMN report.redemption.reference IS
    'The reference of the distribution, such as an order number; empty without one.';
COMMENT ON COLUMN report.redemption.key_made_on IS
    'The day on which the key was made, in the organization''s time zone.';
COMMENT ON COLUMN report.redemption.undone IS
    'Whether the assignment was undone within 24 hours, so that its key was not spent; null without one.';
COMMENT ON COLUMN report.redemption.live IS 'Whether the assignment''s access goes on now; null without one.';

CREATE VIEW report.assignment WITH (security_barrier) AS
SELECT assignment.id, organization.name AS organization, course.code AS course, pool.name AS pool,
       (SELECT learner.email FROM learner WHERE learner.id = assignment.learner_id) AS email,
       (SELECT learner.name FROM learner WHERE learner.id = assignment.learner_id) AS name,
       assignment.status::text AS status, assignment.undone,
       gives_access(assignment.status, assignment.expires_at, clock_now()) AS live,
       assignment.redeemed_at, assignment.expires_at,
       (assignment.redeemed_at AT TIME ZONE organization.time_zone)::date AS day,
       last_day(assignment.expires_at, organization.time_zone) AS last_day,
       taken.launches, taken.first_launched_at, taken.completed,
       (SELECT key.labels FROM key WHERE key.id = assignment.key_id) AS labels,
       assignment.id AS assignment_id, assignment.organization_id, assignment.key_id,
       assignment.pool_id, assignment.course_id, assignment.learner_id,
       (SELECT charge.id FROM charge
         WHERE charge.assignment_id = assignment.id AND CASE WHEN charge.kind = 'redemption' THEN true END
           AND charge.organization_id IN (SELECT report.visible_organization())) AS charge_id,
       (SELECT max(launch.score) FROM launch
         WHERE launch.assignment_id = assignment.id AND launch.outcome = 'launched') AS score,
       assignment.cancel_reason AS reason, assignment.cancelled_at,
       (SELECT distribution.recipient FROM key JOIN distribution ON distribution.id = key.distribution_id
         WHERE key.id = assignment.key_id AND pool.organization_id IN (SELECT report.visible_organization()))
           AS recipient,
       (SELECT distribution.recipient_name FROM key JOIN distribution ON distribution.id = key.distribution_id
         WHERE key.id = assignment.key_id AND pool.organization_id IN (SELECT report.visible_organization()))
           AS recipient_name,
       (SELECT distribution.reference FROM key JOIN distribution ON distribution.id = key.distribution_id
         WHERE key.id = assignment.key_id AND pool.organization_id IN (SELECT report.visible_organization()))
           AS reference
  FROM assignment
  JOIN organization ON organization.id = assignment.organization_id
  JOIN course ON course.id = assignment.course_id
  JOIN pool ON pool.id = assignment.pool_id
  LEFT JOIN LATERAL (
       SELECT count(*) AS launches, min(launch.launched_at) AS first_launched_at,
              coalesce(bool_or(launch.completed), false) AS completed
         FROM launch WHERE launch.assignment_id = assignment.id AND launch.outcome = 'launched') AS taken ON true
 WHERE (assignment.organization_id IN (SELECT report.visible_organization())) IS TRUE;
COMMENT ON VIEW report.assignment IS
    'One row a course assignment, of the learner''s organization. Its launches are those that were let in.';
COMMENT ON COLUMN report.assignment.id IS 'The assignment''s id.';
COMMENT ON COLUMN report.assignment.organization IS 'The learner''s organization.';
COMMENT ON COLUMN report.assignment.course IS 'The course''s code.';
COMMENT ON COLUMN report.assignment.pool IS 'The pool''s name, unique in its organization.';
COMMENT ON COLUMN report.assignment.email IS 'The learner''s address; a pseudonym once erased.';
COMMENT ON COLUMN report.assignment.name IS 'The learner''s name; empty if unknown or erased.';
COMMENT ON COLUMN report.assignment.status IS 'active, expired or cancelled.';
COMMENT ON COLUMN report.assignment.undone IS
    'Whether it was cancelled within 24 hours of redemption and before any launch: then the charge was credited.';
COMMENT ON COLUMN report.assignment.live IS 'Whether access goes on now.';
COMMENT ON COLUMN report.assignment.redeemed_at IS 'When the key was redeemed.';
COMMENT ON COLUMN report.assignment.expires_at IS 'The instant at which access ends or ended.';
COMMENT ON COLUMN report.assignment.day IS 'The day of redemption, in the time zone of the learner''s organization.';
COMMENT ON COLUMN report.assignment.last_day IS
    'The last day of access, in the time zone of the learner''s organization.';
COMMENT ON COLUMN report.assignment.launches IS 'How often the training was launched.';
COMMENT ON COLUMN report.assignment.first_launched_at IS 'When it was first launched; null if never.';
COMMENT ON COLUMN report.assignment.completed IS 'Whether it was ever completed.';
COMMENT ON COLUMN report.assignment.labels IS 'The labels of the row''s key; null where it has none.';
COMMENT ON COLUMN report.assignment.assignment_id IS 'The assignment''s id; the same as id.';
COMMENT ON COLUMN report.assignment.organization_id IS 'The organization_id of the learner''s organization.';
COMMENT ON COLUMN report.assignment.key_id IS 'The key''s id. No view shows a key''s code.';
COMMENT ON COLUMN report.assignment.pool_id IS 'The pool''s id, as in report.pool.';
COMMENT ON COLUMN report.assignment.course_id IS 'The course''s id, as in report.course.';
COMMENT ON COLUMN report.assignment.learner_id IS 'The learner''s id, as in report.learner.';
COMMENT ON COLUMN report.assignment.charge_id IS
    'The charge for its redemption, as in report.charge; null if the pool''s owner is not in sight.';
COMMENT ON COLUMN report.assignment.score IS 'The highest score of its launches; null without any.';
COMMENT ON COLUMN report.assignment.reason IS 'Why it was cancelled; null if it was not, or nobody said.';
COMMENT ON COLUMN report.assignment.cancelled_at IS 'When it was cancelled; null if it was not.';
COMMENT ON COLUMN report.assignment.recipient IS
    'Whom the key was distributed to; null if it was not distributed, or the pool''s owner is not in sight.';
COMMENT ON COLUMN report.assignment.recipient_name IS
    'The recipient''s name, where the recipient is an address; empty if unknown.';
COMMENT ON COLUMN report.assignment.reference IS
    'The reference of the distribution, such as an order number; empty without one.';

CREATE VIEW report.launch WITH (security_barrier) AS
SELECT launch.id, launch.assignment_id, organization.name AS organization,
       (SELECT course.code FROM assignment JOIN course ON course.id = assignment.course_id
         WHERE assignment.id = launch.assignment_id) AS course,
       launch.launched_at, there.launched::date AS day,
       extract(isodow FROM there.launched)::int AS weekday, extract(hour FROM there.launched)::int AS hour,
       round(extract(epoch FROM launch.ended_at - launch.launched_at) / 3600, 6) AS hours,
       launch.completed,
       (SELECT assignment.redeemed_at FROM assignment WHERE assignment.id = launch.assignment_id) AS redeemed_at,
       (SELECT key.labels FROM assignment JOIN key ON key.id = assignment.key_id
         WHERE assignment.id = launch.assignment_id) AS labels,
       launch.organization_id,
       (SELECT assignment.key_id FROM assignment WHERE assignment.id = launch.assignment_id) AS key_id,
       (SELECT assignment.pool_id FROM assignment WHERE assignment.id = launch.assignment_id) AS pool_id,
       (SELECT assignment.course_id FROM assignment WHERE assignment.id = launch.assignment_id) AS course_id,
       (SELECT assignment.learner_id FROM assignment WHERE assignment.id = launch.assignment_id) AS learner_id,
       (SELECT source.id FROM source
         WHERE source.id = launch.source_id
           AND source.organization_id IN (SELECT report.visible_organization())) AS source_id,
       launch.ended_at, launch.score
  FROM launch
  JOIN organization ON organization.id = launch.organization_id
 CROSS JOIN LATERAL (SELECT launch.launched_at AT TIME ZONE organization.time_zone AS launched) AS there
 WHERE launch.outcome = 'launched' AND (launch.organization_id IN (SELECT report.visible_organization())) IS TRUE;
COMMENT ON VIEW report.launch IS
    'One row a launch of the training that was let in, of the learner''s organization.';
COMMENT ON COLUMN report.launch.id IS 'The launch''s id.';
COMMENT ON COLUMN report.launch.assignment_id IS 'The assignment''s id, as in report.assignment.';
COMMENT ON COLUMN report.launch.organization IS 'The learner''s organization.';
COMMENT ON COLUMN report.launch.course IS 'The course''s code.';
COMMENT ON COLUMN report.launch.launched_at IS 'When the training was launched.';
COMMENT ON COLUMN report.launch.day IS 'That day, in the time zone of the learner''s organization.';
COMMENT ON COLUMN report.launch.weekday IS 'That day of the week: 1 is Monday, 7 is Sunday.';
COMMENT ON COLUMN report.launch.hour IS 'The hour of that day, 0 to 23.';
COMMENT ON COLUMN report.launch.hours IS 'How many hours the training was taken; null while it goes on.';
COMMENT ON COLUMN report.launch.completed IS 'Whether the training was completed; null if nobody said.';
COMMENT ON COLUMN report.launch.redeemed_at IS 'When the key of its assignment was redeemed.';
COMMENT ON COLUMN report.launch.labels IS 'The labels of the row''s key; null where it has none.';
COMMENT ON COLUMN report.launch.organization_id IS 'The organization_id of the learner''s organization.';
COMMENT ON COLUMN report.launch.key_id IS 'The key''s id. No view shows a key''s code.';
COMMENT ON COLUMN report.launch.pool_id IS 'The pool''s id, as in report.pool.';
COMMENT ON COLUMN report.launch.course_id IS 'The course''s id, as in report.course.';
COMMENT ON COLUMN report.launch.learner_id IS 'The learner''s id, as in report.learner.';
COMMENT ON COLUMN report.launch.source_id IS
    'The id of the source that posted it, as in report.source; null if it is not in sight or a person did it.';
COMMENT ON COLUMN report.launch.ended_at IS 'When it ended; null while it goes on.';
COMMENT ON COLUMN report.launch.score IS 'The score that was reported; null if none was.';

CREATE VIEW report.charge WITH (security_barrier) AS
SELECT charge.id, charge.kind::text AS kind, organization.name AS organization,
       learner_organization.name AS learner_organization, course.code AS course, pool.name AS pool,
       charge.assignment_id, charge.amount, charge.currency, charge.occurred_at,
       there.occurred::date AS day, date_trunc('month', there.occurred)::date AS service_month,
       charge.unbilled,
       (SELECT invoice_charge.invoice_id FROM invoice_charge
         WHERE invoice_charge.charge_id = charge.id AND invoice_charge.released_at IS NULL) AS invoice_id,
       (SELECT key.labels FROM assignment JOIN key ON key.id = assignment.key_id
         WHERE assignment.id = charge.assignment_id) AS labels,
       EXISTS (SELECT FROM charge_cancelled_out WHERE charge_id = charge.id) AS cancelled_out,
       charge.id AS charge_id, charge.credits_id AS credits_charge_id, charge.reason,
       charge.organization_id, charge.learner_organization_id, charge.pool_id, charge.course_id,
       course.title AS course_title,
       (SELECT assignment.key_id FROM assignment WHERE assignment.id = charge.assignment_id) AS key_id,
       (SELECT assignment.learner_id FROM assignment WHERE assignment.id = charge.assignment_id) AS learner_id,
       (SELECT distribution.recipient FROM assignment JOIN key ON key.id = assignment.key_id
          JOIN distribution ON distribution.id = key.distribution_id
         WHERE assignment.id = charge.assignment_id) AS recipient,
       (SELECT distribution.recipient_name FROM assignment JOIN key ON key.id = assignment.key_id
          JOIN distribution ON distribution.id = key.distribution_id
         WHERE assignment.id = charge.assignment_id) AS recipient_name,
       (SELECT distribution.reference FROM assignment JOIN key ON key.id = assignment.key_id
          JOIN distribution ON distribution.id = key.distribution_id
         WHERE assignment.id = charge.assignment_id) AS reference
  FROM charge
  JOIN organization ON organization.id = charge.organization_id
  JOIN organization AS learner_organization ON learner_organization.id = charge.learner_organization_id
  JOIN course ON course.id = charge.course_id
  JOIN pool ON pool.id = charge.pool_id
 CROSS JOIN LATERAL (SELECT charge.occurred_at AT TIME ZONE organization.time_zone AS occurred) AS there
 WHERE (charge.organization_id IN (SELECT report.visible_organization())) IS TRUE;
COMMENT ON VIEW report.charge IS
    'One row a charge or credit, of the organization that owes it: the pool''s owner.';
COMMENT ON COLUMN report.charge.id IS 'The charge''s id.';
COMMENT ON COLUMN report.charge.kind IS 'redemption, extension or credit.';
COMMENT ON COLUMN report.charge.organization IS 'Who owes it: the pool''s owner.';
COMMENT ON COLUMN report.charge.learner_organization IS 'The learner''s organization.';
COMMENT ON COLUMN report.charge.course IS 'The course''s code.';
COMMENT ON COLUMN report.charge.pool IS 'The pool''s name, unique in its organization.';
COMMENT ON COLUMN report.charge.assignment_id IS 'The assignment''s id, as in report.assignment.';
COMMENT ON COLUMN report.charge.amount IS
    'The amount: the price in force when it occurred; of a credit, zero or less.';
COMMENT ON COLUMN report.charge.currency IS 'The amounts'' currency, by its ISO 4217 code.';
COMMENT ON COLUMN report.charge.occurred_at IS 'When it occurred: for a redemption, when that was received.';
COMMENT ON COLUMN report.charge.day IS 'That day, in the organization''s time zone.';
COMMENT ON COLUMN report.charge.service_month IS 'The first day of that month.';
COMMENT ON COLUMN report.charge.unbilled IS 'Whether it is on no unreleased invoice.';
COMMENT ON COLUMN report.charge.invoice_id IS
    'The invoice that it is on, as in report.invoice; null while it is unbilled.';
COMMENT ON COLUMN report.charge.labels IS 'The labels of the row''s key; null where it has none.';
COMMENT ON COLUMN report.charge.cancelled_out IS
    'Whether it and its credit cancelled out before they were billed, so that neither is on a document.';
COMMENT ON COLUMN report.charge.charge_id IS 'The charge''s id; the same as id.';
COMMENT ON COLUMN report.charge.credits_charge_id IS
    'The charge_id of the charge that a credit undoes; null for others.';
COMMENT ON COLUMN report.charge.reason IS 'Why it was credited or extended; null if nobody said.';
COMMENT ON COLUMN report.charge.organization_id IS 'The owner''s organization_id.';
COMMENT ON COLUMN report.charge.learner_organization_id IS 'The organization_id of the learner''s organization.';
COMMENT ON COLUMN report.charge.pool_id IS 'The pool''s id, as in report.pool.';
COMMENT ON COLUMN report.charge.course_id IS 'The course''s id, as in report.course.';
COMMENT ON COLUMN report.charge.course_title IS 'The course''s title.';
COMMENT ON COLUMN report.charge.key_id IS 'The key''s id. No view shows a key''s code.';
COMMENT ON COLUMN report.charge.learner_id IS 'The learner''s id, as in report.learner.';
COMMENT ON COLUMN report.charge.recipient IS
    'Whom the key was distributed to: an e-mail address or a name. Null if it was not distributed.';
COMMENT ON COLUMN report.charge.recipient_name IS
    'The recipient''s name, where the recipient is an address; empty if unknown.';
COMMENT ON COLUMN report.charge.reference IS
    'The reference of the distribution, such as an order number; empty without one.';

CREATE VIEW report.invoice WITH (security_barrier) AS
SELECT invoice.id, invoice.number, organization.name AS organization, invoice.month, invoice.currency,
       invoice.status::text AS status, invoice.subtotal, invoice.tax, invoice.total,
       invoice.finalized_at, invoice.due_on, invoice.paid_on,
       invoice.status = 'finalized' AND invoice.total > 0
           AND invoice.due_on < (clock_now() AT TIME ZONE (SELECT time_zone FROM seller))::date AS overdue,
       (SELECT coalesce(sum(invoice_line.amount), 0) FROM invoice_line
         WHERE invoice_line.invoice_id = invoice.id) AS lines,
       (SELECT coalesce(sum(charge.amount), 0) FROM invoice_charge JOIN charge ON charge.id = charge_id
         WHERE invoice_charge.invoice_id = invoice.id) AS charges,
       invoice.id AS invoice_id, invoice.organization_id, invoice.kind::text AS kind, invoice.issued_on,
       invoice.void_reason AS reason
  FROM invoice JOIN organization ON organization.id = invoice.organization_id
 WHERE invoice.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.invoice IS
    'One row an invoice or credit note.';
COMMENT ON COLUMN report.invoice.id IS 'The invoice''s id.';
COMMENT ON COLUMN report.invoice.number IS 'Its number; null while it is a draft.';
COMMENT ON COLUMN report.invoice.organization IS 'Whose it is: the buyer.';
COMMENT ON COLUMN report.invoice.month IS 'The first day of the billing month.';
COMMENT ON COLUMN report.invoice.currency IS 'The amounts'' currency, by its ISO 4217 code.';
COMMENT ON COLUMN report.invoice.status IS 'draft, finalized, paid or void.';
COMMENT ON COLUMN report.invoice.subtotal IS 'Its total without tax.';
COMMENT ON COLUMN report.invoice.tax IS 'The tax.';
COMMENT ON COLUMN report.invoice.total IS 'subtotal + tax.';
COMMENT ON COLUMN report.invoice.finalized_at IS 'When it was finalized; null for a draft.';
COMMENT ON COLUMN report.invoice.due_on IS 'The day on which it is due; null for a draft.';
COMMENT ON COLUMN report.invoice.paid_on IS 'The day on which it was paid; null before.';
COMMENT ON COLUMN report.invoice.overdue IS
    'Whether it is an invoice that is finalized, not wholly paid, and past its due day in the seller''s time zone.';
COMMENT ON COLUMN report.invoice.lines IS 'What its lines add up to.';
COMMENT ON COLUMN report.invoice.charges IS
    'What the charges on it add up to, or those that were on it if it is void.';
COMMENT ON COLUMN report.invoice.invoice_id IS 'The invoice''s id; the same as id.';
COMMENT ON COLUMN report.invoice.organization_id IS 'The organization''s id, as in report.organization.';
COMMENT ON COLUMN report.invoice.kind IS 'invoice or credit_note.';
COMMENT ON COLUMN report.invoice.issued_on IS 'The day of issue, in the seller''s time zone; null for a draft.';
COMMENT ON COLUMN report.invoice.reason IS 'Why it was voided; null if it was not.';

CREATE VIEW report.invoice_line WITH (security_barrier) AS
SELECT invoice_line.id, invoice_line.invoice_id, organization.name AS organization,
       course.code AS course, coalesce(invoice_line.pool_name, pool.name) AS pool,
       invoice_line.kind::text AS kind, invoice_line.service_month, invoice_line.unit_price,
       invoice_line.quantity, invoice_line.amount, invoice.currency,
       invoice.organization_id, invoice_line.course_id, invoice_line.pool_id
  FROM invoice_line
  JOIN invoice ON invoice.id = invoice_line.invoice_id
  JOIN organization ON organization.id = invoice.organization_id
  JOIN course ON course.id = invoice_line.course_id
  JOIN pool ON pool.id = invoice_line.pool_id
 WHERE invoice.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.invoice_line IS
    'One row a line of an invoice or credit note.';
COMMENT ON COLUMN report.invoice_line.id IS 'The line''s id.';
COMMENT ON COLUMN report.invoice_line.invoice_id IS 'The invoice''s id, as in report.invoice.';
COMMENT ON COLUMN report.invoice_line.organization IS 'Whose invoice it is: the buyer.';
COMMENT ON COLUMN report.invoice_line.course IS 'The course''s code.';
COMMENT ON COLUMN report.invoice_line.pool IS 'The pool''s name, as on the invoice.';
COMMENT ON COLUMN report.invoice_line.kind IS 'redemption, extension or credit.';
COMMENT ON COLUMN report.invoice_line.service_month IS 'The first day of the month in which its charges occurred.';
COMMENT ON COLUMN report.invoice_line.unit_price IS 'The amount of one of its charges.';
COMMENT ON COLUMN report.invoice_line.quantity IS 'How many charges it has.';
COMMENT ON COLUMN report.invoice_line.amount IS 'unit_price x quantity.';
COMMENT ON COLUMN report.invoice_line.currency IS 'The amounts'' currency, by its ISO 4217 code.';
COMMENT ON COLUMN report.invoice_line.organization_id IS 'The buyer''s organization_id.';
COMMENT ON COLUMN report.invoice_line.course_id IS 'The course''s id, as in report.course.';
COMMENT ON COLUMN report.invoice_line.pool_id IS 'The pool''s id, as in report.pool.';

-- Of pauses that ended, history knows, as far back as it is kept.
CREATE VIEW report.pool_pause WITH (security_barrier) AS
SELECT pool.id AS pool_id, pool.name AS pool, organization.name AS organization,
       pause.paused_at, pause.resumed_at, pool.organization_id
  FROM (SELECT resumed.thing_id AS pool_id, resumed.at AS resumed_at,
               (SELECT max(paused.at) FROM history AS paused
                 WHERE paused.thing = 'pool' AND paused.thing_id = resumed.thing_id
                   AND paused.id < resumed.id AND paused.action = 'pool paused') AS paused_at
          FROM history AS resumed WHERE resumed.thing = 'pool' AND resumed.action = 'pool resumed'
         UNION ALL
        SELECT id, NULL::timestamptz AS resumed_at, paused_at FROM pool WHERE paused_at IS NOT NULL) AS pause
  JOIN pool ON pool.id = pause.pool_id
  JOIN organization ON organization.id = pool.organization_id
 WHERE pause.paused_at IS NOT NULL AND pool.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.pool_pause IS 'One row a time during which a pool was paused.';
COMMENT ON COLUMN report.pool_pause.pool_id IS 'The pool''s id, as in report.pool.';
COMMENT ON COLUMN report.pool_pause.pool IS 'The pool''s name, unique in its organization.';
COMMENT ON COLUMN report.pool_pause.organization IS 'The pool''s owner.';
COMMENT ON COLUMN report.pool_pause.paused_at IS 'When it was paused.';
COMMENT ON COLUMN report.pool_pause.resumed_at IS 'When it was resumed; null while it is paused.';
COMMENT ON COLUMN report.pool_pause.organization_id IS 'The owner''s organization_id.';

CREATE VIEW report.pool_unusual WITH (security_barrier) AS
SELECT pool_unusual.id AS pool_unusual_id, pool.name AS pool, organization.name AS organization,
       course.code AS course, pool_unusual.rule::text AS rule, pool_unusual.seen, pool_unusual.among,
       pool_unusual.usual, pool_unusual.most, pool_unusual.began_at,
       (pool_unusual.began_at AT TIME ZONE organization.time_zone)::date AS day,
       pool_unusual.held_at, pool_unusual.ended_at, pool.id AS pool_id, pool.organization_id, pool.course_id
  FROM pool_unusual
  JOIN pool ON pool.id = pool_unusual.pool_id
  JOIN organization ON organization.id = pool.organization_id
  JOIN course ON course.id = pool.course_id
 WHERE pool.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.pool_unusual IS
    'One row a spell in which a pool was unusual against its own past, by one rule; its figures are of the 24 hours before held_at.';
COMMENT ON COLUMN report.pool_unusual.pool_unusual_id IS 'The spell''s id.';
COMMENT ON COLUMN report.pool_unusual.pool IS 'The pool''s name, unique in its organization.';
COMMENT ON COLUMN report.pool_unusual.organization IS 'The pool''s owner.';
COMMENT ON COLUMN report.pool_unusual.course IS 'The course''s code.';
COMMENT ON COLUMN report.pool_unusual.rule IS 'sudden_pace, strangers or shared_keys.';
COMMENT ON COLUMN report.pool_unusual.seen IS
    'sudden_pace: redeemed keys. strangers: those redeemed by somebody else than the address that they were distributed to. shared_keys: people, once a key, who tried a key that somebody else had redeemed.';
COMMENT ON COLUMN report.pool_unusual.among IS
    'strangers: the redeemed keys that had been distributed to an address; null for the other rules.';
COMMENT ON COLUMN report.pool_unusual.usual IS
    'The same in up to 28 days before: the mean a day; strangers: the share, from 0 to 1.';
COMMENT ON COLUMN report.pool_unusual.most IS 'The highest of those days; null for strangers.';
COMMENT ON COLUMN report.pool_unusual.began_at IS 'When the rule was first found to hold.';
COMMENT ON COLUMN report.pool_unusual.day IS 'That day, in the time zone of the pool''s owner.';
COMMENT ON COLUMN report.pool_unusual.held_at IS 'When it was last found to hold.';
COMMENT ON COLUMN report.pool_unusual.ended_at IS 'When the spell ended, a day after that; null while it goes on.';
COMMENT ON COLUMN report.pool_unusual.pool_id IS 'The pool''s id, as in report.pool.';
COMMENT ON COLUMN report.pool_unusual.organization_id IS 'The owner''s organization_id.';
COMMENT ON COLUMN report.pool_unusual.course_id IS 'The course''s id, as in report.course.';

-- What a question that is answered from the lake has to know ----------------------------------------

CREATE VIEW report.lake WITH (security_barrier) AS SELECT written, clock_now() AS now FROM lake;
COMMENT ON VIEW report.lake IS
    'Up to when the lake has been written; no row where there is no lake.';
COMMENT ON COLUMN report.lake.written IS 'The first day of the first month that the lake does not have.';
COMMENT ON COLUMN report.lake.now IS 'This moment, by the one clock.';

CREATE VIEW report.lake_month WITH (security_barrier) AS
SELECT lake_month.organization_id, lake_month.month, lake_month.version
  FROM lake_month
 WHERE lake_month.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.lake_month IS
    'One row a month of an organization in sight of which the lake has files.';
COMMENT ON COLUMN report.lake_month.organization_id IS 'The organization''s id, as in report.organization.';
COMMENT ON COLUMN report.lake_month.month IS 'The month, by its first day, in the organization''s time zone.';
COMMENT ON COLUMN report.lake_month.version IS 'The version of its files, as in their manifest.';

CREATE VIEW report.lake_change WITH (security_barrier) AS
SELECT DISTINCT lake_change.organization_id, lake_change.month
  FROM lake_change
 WHERE lake_change.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.lake_change IS
    'One row a month of an organization in sight that has changed since the lake''s files were written.';
COMMENT ON COLUMN report.lake_change.organization_id IS 'The organization''s id, as in report.organization.';
COMMENT ON COLUMN report.lake_change.month IS 'The month, by its first day, in the organization''s time zone.';

CREATE VIEW report.lake_labels WITH (security_barrier) AS
SELECT lake_labels.id AS label_set, lake_labels.labels
  FROM lake_labels
 WHERE lake_labels.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.lake_labels IS
    'The labels behind each number that the lake''s files have in their place.';
COMMENT ON COLUMN report.lake_labels.label_set IS 'The number in the lake''s files.';
COMMENT ON COLUMN report.lake_labels.labels IS 'The labels.';

CREATE VIEW report.lake_pool WITH (security_barrier) AS
SELECT DISTINCT pool.id AS pool_id, pool.name AS pool, course.code AS course, course.title AS course_title,
       pool.expires_at
  FROM lake_pool
  JOIN pool ON pool.id = lake_pool.pool_id
  JOIN course ON course.id = pool.course_id
 WHERE lake_pool.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.lake_pool IS
    'The names behind the ids of pools in the lake''s files, also of a pool that others share.';
COMMENT ON COLUMN report.lake_pool.pool_id IS 'The pool''s id, as in report.pool.';
COMMENT ON COLUMN report.lake_pool.pool IS 'The pool''s name.';
COMMENT ON COLUMN report.lake_pool.course IS 'The course''s code.';
COMMENT ON COLUMN report.lake_pool.course_title IS 'The course''s title.';
COMMENT ON COLUMN report.lake_pool.expires_at IS 'The instant from which its keys cannot be redeemed.';

-- What of a charge is earned by the end of a day: in equal parts over its days of access, in the minor unit,
-- so that the last day takes the rest. Nothing before the day on which it is booked; all once it is over.
CREATE FUNCTION report.earned(
    amount numeric, decimals int, day date, first_day date, days int, earned_by date, until date) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN until < day THEN 0
            WHEN until >= earned_by THEN amount
            WHEN until < first_day THEN 0
            ELSE round(amount * (until - first_day + 1) / days, decimals) END;

-- The days are the owner's. A redemption is earned from its day over the access that it gave, an extension over
-- what it added; what a later extension or edit of the pool changed is left out (the history knows), so that a
-- day's part stays what it was. A credit is earned as its charge is, what is past at once.
CREATE VIEW report.deferral WITH (security_barrier) AS
SELECT charge.id AS charge_id, charge.credits_id AS credits_charge_id, charge.kind::text AS kind,
       organization.name AS organization, course.code AS course, charge.amount, charge.currency,
       minor_unit(charge.currency) AS decimals,
       (charge.occurred_at AT TIME ZONE zone)::date AS day, began.first_day, spell.days,
       greatest((charge.occurred_at AT TIME ZONE zone)::date,
                least(began.first_day + spell.days - 1, (assignment.cancelled_at AT TIME ZONE zone)::date))
           AS earned_by,
       charge.organization_id, charge.course_id, charge.assignment_id, charge.occurred_at
  FROM charge
  JOIN charge AS owed ON owed.id = coalesce(charge.credits_id, charge.id)
  JOIN organization ON organization.id = charge.organization_id
  JOIN course ON course.id = charge.course_id
  JOIN pool ON pool.id = charge.pool_id
  JOIN assignment ON assignment.id = charge.assignment_id
 CROSS JOIN LATERAL (SELECT organization.time_zone AS zone) AS there
  LEFT JOIN LATERAL (
       SELECT (history.detail ->> 'from')::timestamptz AS was, (history.detail ->> 'to')::timestamptz AS became
         FROM history
        WHERE history.thing = 'assignment' AND history.thing_id = assignment.id
          AND history.action = 'assignment extended'
          AND CASE WHEN owed.kind = 'extension' THEN history.at = owed.occurred_at
                   ELSE assignment.expires_at
                        <> assignment.redeemed_at + pool.content_availability_days * interval '24 hours' END
        ORDER BY history.id LIMIT 1) AS extended ON true
 CROSS JOIN LATERAL (
       SELECT greatest(owed.occurred_at, CASE WHEN owed.kind = 'extension' THEN extended.was END) AS begins,
              coalesce(CASE WHEN owed.kind = 'extension' THEN extended.became ELSE extended.was END,
                       assignment.expires_at) AS ends) AS lasting
 CROSS JOIN LATERAL (SELECT (begins AT TIME ZONE zone)::date AS first_day) AS began
 CROSS JOIN LATERAL (
       SELECT greatest(1, ceil(extract(epoch FROM ends - begins) / 86400))::int AS days) AS spell
 WHERE charge.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.deferral IS
    'One row a charge or credit, with the days of access over which it is earned, in the owner''s time zone. '
    'report.earned(amount, decimals, day, first_day, days, earned_by, until) is what is earned by the end of a day.';
COMMENT ON COLUMN report.deferral.charge_id IS 'The charge''s id, as in report.charge.';
COMMENT ON COLUMN report.deferral.credits_charge_id IS 'The charge that it credits, if it is a credit.';
COMMENT ON COLUMN report.deferral.kind IS 'redemption, extension or credit.';
COMMENT ON COLUMN report.deferral.organization IS 'Who owes it: the pool''s owner.';
COMMENT ON COLUMN report.deferral.course IS 'The course''s code.';
COMMENT ON COLUMN report.deferral.amount IS 'The amount without tax; 0 or negative for a credit.';
COMMENT ON COLUMN report.deferral.currency IS 'The amount''s currency, by its ISO 4217 code.';
COMMENT ON COLUMN report.deferral.decimals IS 'How many decimals the currency has.';
COMMENT ON COLUMN report.deferral.day IS 'The day on which it occurred: it is deferred from then on.';
COMMENT ON COLUMN report.deferral.first_day IS 'The first day of the access, of a credit that of its charge.';
COMMENT ON COLUMN report.deferral.days IS
    'How many days of access it paid for; a day takes an equal part in the minor unit, the last one the rest.';
COMMENT ON COLUMN report.deferral.earned_by IS
    'The day by which it is wholly earned: the last of the access, or when that was cancelled or this credited later.';
COMMENT ON COLUMN report.deferral.organization_id IS 'The owner''s organization_id.';
COMMENT ON COLUMN report.deferral.course_id IS 'The course''s id, as in report.course.';
COMMENT ON COLUMN report.deferral.assignment_id IS 'The assignment''s id, as in report.assignment.';
COMMENT ON COLUMN report.deferral.occurred_at IS 'When it occurred.';

-- The sum of an invoice's rows up to a day is what was open of it then; below zero, it stands to the buyer's credit.
CREATE VIEW report.receivable WITH (security_barrier) AS
SELECT change.event, change.day, organization.name AS organization, invoice.number, invoice.kind::text AS kind,
       change.amount, invoice.currency, invoice.due_on, invoice.id AS invoice_id, invoice.organization_id
  FROM invoice JOIN organization ON organization.id = invoice.organization_id
 CROSS JOIN LATERAL (
       SELECT 'issued' AS event, invoice.issued_on AS day, invoice.total AS amount
       UNION ALL
       SELECT 'voided' AS event, (invoice.voided_at AT TIME ZONE (SELECT time_zone FROM seller))::date AS day,
              -invoice.total AS amount
        WHERE invoice.status = 'void'
       UNION ALL
       SELECT 'paid' AS event, payment.paid_on AS day, -payment.amount AS amount
         FROM payment WHERE payment.invoice_id = invoice.id AND payment.taken_back_at IS NULL
       UNION ALL
       SELECT 'credited' AS event, note.issued_on AS day, tax.subtotal + tax.tax AS amount
         FROM invoice_tax AS tax JOIN invoice AS note ON note.id = tax.invoice_id
        WHERE tax.credits_invoice_id = invoice.id AND note.status IN ('finalized', 'paid')
       UNION ALL
       SELECT 'set_off' AS event, invoice.issued_on AS day, -(tax.subtotal + tax.tax) AS amount
         FROM invoice_tax AS tax
        WHERE tax.invoice_id = invoice.id AND tax.credits_invoice_id IS NOT NULL AND invoice.status <> 'void')
       AS change
 WHERE invoice.status <> 'draft' AND invoice.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.receivable IS
    'One row a change of what is open of an issued document; its rows up to a day add up to what was open then, '
    'below zero what stands to the buyer''s credit.';
COMMENT ON COLUMN report.receivable.event IS
    'issued, paid, credited (by a credit note), set_off (a credit note against its invoices) or voided.';
COMMENT ON COLUMN report.receivable.day IS 'The day on which it changed.';
COMMENT ON COLUMN report.receivable.organization IS 'Whose document it is: the buyer.';
COMMENT ON COLUMN report.receivable.number IS 'The document''s number.';
COMMENT ON COLUMN report.receivable.kind IS 'invoice or credit_note.';
COMMENT ON COLUMN report.receivable.amount IS 'What was added to the open amount, tax included; negative for a payment.';
COMMENT ON COLUMN report.receivable.currency IS 'The amount''s currency, by its ISO 4217 code.';
COMMENT ON COLUMN report.receivable.due_on IS 'The last day to pay the document.';
COMMENT ON COLUMN report.receivable.invoice_id IS 'The document''s id, as in report.invoice.';
COMMENT ON COLUMN report.receivable.organization_id IS 'The buyer''s organization_id.';

GRANT USAGE ON SCHEMA report TO keypool_analyst, keypool_web;
GRANT SELECT ON ALL TABLES IN SCHEMA report TO keypool_analyst, keypool_web;
REVOKE ALL ON FUNCTION report.visible_organization(), report.price_now(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION report.visible_organization(), report.price_now(bigint, bigint)
    TO keypool_analyst, keypool_web;
REVOKE ALL ON FUNCTION report.earned(numeric, int, date, date, int, date, date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION report.earned(numeric, int, date, date, int, date, date) TO keypool_analyst, keypool_web;
