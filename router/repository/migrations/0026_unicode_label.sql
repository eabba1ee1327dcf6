-- What is ASCII is never written in punycode: `xn--client-` is no other name of `client`, but a stranger's domain.

CREATE OR REPLACE FUNCTION crm.unicode_label(label text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    decoded text;
BEGIN
    IF label !~* '^xn--' OR label !~ '^[ -~]*$' THEN
        RETURN label;
    END IF;
    decoded := crm.punycode_decode(lower(substr(label, 5) COLLATE "C"));
    RETURN CASE WHEN decoded IS NULL OR normalize(crm.lower_case(decoded), NFC) ~ '^[\x01-\x7f]*$' THEN label ELSE decoded END;
END
$$;
