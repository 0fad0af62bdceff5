-- Triggers that send one notification per statement. The payload is a JSON array of the changed ids; Postgres limits
-- it to less than 8,000 bytes. An empty payload means more ids than fit. 1,976 ids never fit, however short they are.
CREATE OR REPLACE FUNCTION tell_users() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids text := (SELECT json_agg(id) FROM (SELECT DISTINCT user_id AS id FROM changed LIMIT 1976) AS few);
BEGIN
    IF octet_length(ids) > 7900 THEN
        PERFORM pg_notify(TG_ARGV[0], '');
    ELSIF ids IS NOT NULL THEN
        PERFORM pg_notify(TG_ARGV[0], ids);
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION tell_items() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids text := (SELECT json_agg(id) FROM (SELECT DISTINCT item_id AS id FROM changed LIMIT 1976) AS few);
BEGIN
    IF octet_length(ids) > 7900 THEN
        PERFORM pg_notify(TG_ARGV[0], '');
    ELSIF ids IS NOT NULL THEN
        PERFORM pg_notify(TG_ARGV[0], ids);
    END IF;
    RETURN NULL;
END $$;
