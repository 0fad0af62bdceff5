-- A hash of what an encoder reads of an item (components/interests/documents.py): a vector is outdated if it differs.
CREATE OR REPLACE FUNCTION item_text_hash(title text, category text[], description text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT md5(concat_ws(chr(31), title, array_to_string(category, chr(30)), description))
$$;
