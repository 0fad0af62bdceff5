-- Inserts events, deduplicated by event_id, and their new users. Returns the event_ids that were stored already.
CREATE OR REPLACE FUNCTION append_events(
    event_ids text[], users_given text[], items_given text[], events_given text[], values_given float8[],
    texts text[], seconds float8[], sessions text[], requests text[], versions text[], variants text[],
    sources text[], arrivals bigint[]
) RETURNS SETOF text LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY  -- the event_ids that were stored already
        WITH incoming AS MATERIALIZED (
            SELECT event_id, user_id, item_id, event, value, text, to_timestamp(second) AS occurred_at, session_id,
                request_id, model_version, variant, source, arrival
            FROM unnest(
                event_ids, users_given, items_given, events_given, values_given, texts, seconds, sessions, requests,
                versions, variants, sources, arrivals
            ) AS given (
                event_id, user_id, item_id, event, value, text, second, session_id, request_id, model_version, variant,
                source, arrival
            )
        ), people AS (
            INSERT INTO users (user_id) SELECT DISTINCT user_id FROM incoming
            WHERE NOT EXISTS (SELECT FROM users WHERE users.user_id = incoming.user_id)
            ORDER BY 1 ON CONFLICT DO NOTHING
        ), fresh AS (
            INSERT INTO event_keys (event_id, occurred_at) SELECT event_id, occurred_at FROM incoming
            ORDER BY event_id ON CONFLICT DO NOTHING RETURNING event_id
        ), stored AS (
            INSERT INTO events (
                event_id, user_id, item_id, event, value, text, occurred_at, session_id, request_id, model_version,
                variant, source, received_at
            )
            SELECT event_id, user_id, item_id, event, value, text, occurred_at, session_id, request_id, model_version,
                variant, source, now() + arrival * interval '1 microsecond'
            FROM incoming JOIN fresh USING (event_id)
        )
        SELECT event_id FROM incoming WHERE NOT EXISTS (SELECT FROM fresh WHERE fresh.event_id = incoming.event_id);
END $$;
