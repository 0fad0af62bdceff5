-- Inserts impressions in one statement, without those of users who refused consent or were erased.
-- If the caller's privacy key differs from the store's, it stores nothing and returns the id of the store's key.
CREATE OR REPLACE FUNCTION note_answers(
    space int, buckets int[], key_held text, hashes text[], requests text[], users_given text[], versions text[],
    variants text[], seconds float8[], lists text
) RETURNS SETOF text LANGUAGE plpgsql AS $$  -- the store's privacy key, if the caller's differs
BEGIN
    PERFORM pg_advisory_xact_lock_shared(space, bucket) FROM unnest(buckets) AS bucket;
    RETURN QUERY SELECT key_id FROM privacy_key WHERE key_id IS DISTINCT FROM key_held;
    IF NOT FOUND THEN  -- sees everything committed before the locks were acquired
        INSERT INTO impressions (request_id, user_id, model_version, variant, served_at, items)
        SELECT request, given.user_id, version, variant, to_timestamp(second), list::json
        FROM unnest(requests, users_given, hashes, versions, variants, seconds, string_to_array(lists, E'\n'))
            AS given (request, user_id, hash, version, variant, second, list)
        WHERE NOT EXISTS (SELECT FROM users WHERE users.user_id = given.user_id AND NOT consent)
            AND NOT EXISTS (SELECT FROM tombstones WHERE user_hash = hash)
        ON CONFLICT DO NOTHING;
    END IF;
END $$;
