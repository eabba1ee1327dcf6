-- What is in upper case or decomposed is never written in punycode either: `xn--bcher-2pa` (its Ü is a capital letter) is
-- no other name of `bücher`, but a stranger's domain.

CREATE OR REPLACE FUNCTION crm.unicode_label(label text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    decoded text;
BEGIN
    IF label !~* '^xn--' OR label !~ '^[ -~]*$' THEN
        RETURN label;
    END IF;
    decoded := crm.punycode_decode(lower(substr(label, 5) COLLATE "C"));
    RETURN CASE
        WHEN decoded IS NULL OR decoded ~ '^[\x01-\x7f]*$'
            OR decoded COLLATE "C" <> normalize(crm.lower_case(decoded), NFC) COLLATE "C"
        THEN label
        ELSE decoded
    END;
END
$$;
