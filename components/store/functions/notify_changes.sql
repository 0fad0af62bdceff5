-- Triggers: one notification a statement, its payload a JSON array of the ids that changed. Postgres takes payloads
-- of less than 8,000 bytes: an empty one stands for more ids than that. 1,976 ids take more, however short they are.
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
