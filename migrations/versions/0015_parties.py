"""Seller and buyer have structured addresses, and the seller a bank account for each currency (B7)."""

from alembic import op

revision = "0015"
down_revision = "0014"
oldest_code = "0010"
changes = {"seller.name": "“keypool operator” is no seller's name: it stood there by default."}


def upgrade() -> None:
    op.execute(PARTIES)
    op.execute(BANKS)
    op.execute(LACKS)


PARTIES = """
ALTER TABLE organization
    ADD COLUMN street             text NOT NULL DEFAULT '',
    ADD COLUMN postcode           text NOT NULL DEFAULT '',
    ADD COLUMN city               text NOT NULL DEFAULT '',
    ADD COLUMN country            text NOT NULL DEFAULT '',
    ADD COLUMN electronic_address text NOT NULL DEFAULT '',
    ADD COLUMN buyer_reference    text NOT NULL DEFAULT '',
    ADD COLUMN purchase_order     text NOT NULL DEFAULT '',
    ADD COLUMN billing_email      text NOT NULL DEFAULT '',
    ADD CONSTRAINT organization_country_is_a_code CHECK (country ~ '^([A-Z]{2})?$');
ALTER TABLE seller
    ALTER COLUMN name SET DEFAULT '',
    ADD COLUMN street             text NOT NULL DEFAULT '',
    ADD COLUMN postcode           text NOT NULL DEFAULT '',
    ADD COLUMN city               text NOT NULL DEFAULT '',
    ADD COLUMN country            text NOT NULL DEFAULT '',
    ADD COLUMN electronic_address text NOT NULL DEFAULT '',
    ADD COLUMN contact            text NOT NULL DEFAULT '',
    ADD COLUMN phone              text NOT NULL DEFAULT '',
    ADD COLUMN email              text NOT NULL DEFAULT '',
    ADD CONSTRAINT seller_country_is_a_code CHECK (country ~ '^([A-Z]{2})?$');
UPDATE seller SET name = '' WHERE name = 'keypool operator';
"""

BANKS = """
CREATE TABLE seller_bank (
    currency char(3) PRIMARY KEY REFERENCES currency ON DELETE RESTRICT,
    iban     text    NOT NULL,
    bic      text    NOT NULL DEFAULT '',

    CONSTRAINT bank_account_has_an_iban CHECK (iban ~ '^([A-Z]{2}[0-9]{2}[A-Z0-9]{10,30})?$'),
    CONSTRAINT bank_has_a_bic_or_none   CHECK (bic ~ '^([A-Z0-9]{8}([A-Z0-9]{3})?)?$')
);
ALTER TABLE seller_bank ENABLE ROW LEVEL SECURITY;
CREATE POLICY reading ON seller_bank FOR SELECT TO keypool_web USING (true);
CREATE POLICY operating ON seller_bank TO keypool_web USING ((SELECT sees_everything()));
GRANT SELECT, INSERT, UPDATE ON seller_bank TO keypool_web;
"""

LACKS = """
CREATE FUNCTION seller_lacks() RETURNS text[]
LANGUAGE sql STABLE BEGIN ATOMIC
    SELECT array_remove(ARRAY[
               CASE WHEN name = '' THEN 'name' END,
               CASE WHEN address = '' AND '' = ANY (ARRAY[street, city, country]) THEN 'address' END,
               CASE WHEN tax_id = '' THEN 'tax id' END], NULL)
      FROM seller;
END;
"""
