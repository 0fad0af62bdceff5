-- Stores feedback in one statement: takes shared locks on the users' buckets, checks consent, privacy key, tombstones
-- and items, and appends the events if all checks pass. Otherwise returns the failed checks.
CREATE OR REPLACE FUNCTION take_in(
    space int, buckets int[], users_asked text[], items_asked text[], key_held text, hashes text[],
    event_ids text[], users_given text[], items_given text[], events_given text[], values_given float8[],
    texts text[], seconds float8[], sessions text[], requests text[], versions text[], variants text[],
    sources text[], arrivals bigint[]
) RETURNS TABLE (what text, said text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(space, bucket) FROM unnest(buckets) AS bucket;
    RETURN QUERY  -- sees everything committed before the locks were acquired
        SELECT 'no_consent', user_id FROM users WHERE user_id = ANY(users_asked) AND NOT consent
        UNION ALL SELECT 'key', key_id FROM privacy_key WHERE key_id IS DISTINCT FROM key_held
        UNION ALL SELECT 'forgotten', user_hash FROM tombstones WHERE user_hash = ANY(hashes)
        UNION ALL SELECT 'unknown_item', asked FROM unnest(items_asked) AS asked
        WHERE NOT EXISTS (SELECT FROM items WHERE item_id = asked);
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'known', known FROM append_events(
            event_ids, users_given, items_given, events_given, values_given, texts, seconds, sessions, requests,
            versions, variants, sources, arrivals
        ) AS known;
    END IF;
END $$;
