-- Takes shared locks on the users' buckets, then returns the users and items whose events may not be stored, and the
-- store's privacy key.
CREATE OR REPLACE FUNCTION admission(space int, buckets int[], users_asked text[], items_asked text[])
RETURNS TABLE (what text, said text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(space, bucket) FROM unnest(buckets) AS bucket;
    RETURN QUERY  -- sees everything committed before the locks were acquired
        SELECT 'no_consent', user_id FROM users WHERE user_id = ANY(users_asked) AND NOT consent
        UNION ALL SELECT 'key', key_id FROM privacy_key
        UNION ALL SELECT 'unknown_item', asked FROM unnest(items_asked) AS asked
        WHERE NOT EXISTS (SELECT FROM items WHERE item_id = asked);
END $$;
