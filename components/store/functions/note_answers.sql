-- One transaction for impressions: those of people who refuse or are forgotten are left out.
-- Returns the id of the key where the caller holds another one; nothing is stored then.
CREATE OR REPLACE FUNCTION note_answers(
    space int, buckets int[], key_held text, hashes text[], requests text[], users_given text[], versions text[],
    variants text[], seconds float8[], lists text
) RETURNS SETOF text LANGUAGE plpgsql AS $$  -- the key that the tombstones are made by, where another one is held
BEGIN
    PERFORM pg_advisory_xact_lock_shared(space, bucket) FROM unnest(buckets) AS bucket;
    RETURN QUERY SELECT key_id FROM privacy_key WHERE key_id IS DISTINCT FROM key_held;
    IF NOT FOUND THEN  -- sees what was committed before the locks were had
        INSERT INTO impressions (request_id, user_id, model_version, variant, served_at, items)
        SELECT request, given.user_id, version, variant, to_timestamp(second), list::json
        FROM unnest(requests, users_given, hashes, versions, variants, seconds, string_to_array(lists, E'\n'))
            AS given (request, user_id, hash, version, variant, second, list)
        WHERE NOT EXISTS (SELECT FROM users WHERE users.user_id = given.user_id AND NOT consent)
            AND NOT EXISTS (SELECT FROM tombstones WHERE user_hash = hash)
        ON CONFLICT DO NOTHING;
    END IF;
END $$;
