-- What is in upper case or decomposed is never written in punycode either: `xn--bcher-2pa` (its Ü is a capital letter) is
-- no other name of `bücher`, but a stranger's domain.
--
-- A label in punycode that has controls, blanks, or what Unicode says not to show (Default_Ignorable_Code_Point) stays as it
-- is written: decoded, `xn--client-gf0c` would look like `client`. Some scripts join letters with U+200C and U+200D.

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
            OR decoded ~ concat(
                '[\u0001-\u0020\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200b\u200e\u200f',
                '\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb',
                '\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]',
                '|(?<![\u0600-\u1cff])[\u200c\u200d]'
            )
        THEN label
        ELSE decoded
    END;
END
$$;
