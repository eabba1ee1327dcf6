"""What is asked of authenticators, and whether what they answer is good: the library's part of passkeys.

`passkeys` loads it with the first passkey that is used: it takes 5 MB and a quarter of a second. It does no I/O.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import webauthn
from webauthn.helpers import base64url_to_bytes, options_to_json_dict, parse_client_data_json
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)


def to_create(
    host: str, handle: bytes, name: str, challenge: bytes, there: Sequence[bytes], timeout: int
) -> Mapping[str, Any]:
    """Say what a passkey is made of, as JSON has it; `there` are those that the person has, `timeout` milliseconds."""
    options = webauthn.generate_registration_options(
        rp_id=host,
        rp_name="Email router",
        user_id=handle,
        user_name=name,
        challenge=challenge,
        timeout=timeout,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=one) for one in there],
    )
    return options_to_json_dict(options)


def to_sign(host: str, challenge: bytes, timeout: int) -> Mapping[str, Any]:
    """Say what is signed by any passkey of this host, as JSON has it."""
    options = webauthn.generate_authentication_options(
        rp_id=host, challenge=challenge, timeout=timeout, user_verification=UserVerificationRequirement.REQUIRED
    )
    return options_to_json_dict(options)


def read(credential: str) -> tuple[dict[str, Any], bytes, bytes]:
    """Read what a browser sent: all of it, the passkey's id, and the challenge that it says was signed.

    Raises whatever the library stumbles over, as the others do.
    """
    said = json.loads(credential)
    client = parse_client_data_json(base64url_to_bytes(said["response"]["clientDataJSON"]))
    return said, base64url_to_bytes(said["id"]), client.challenge


def created(said: dict[str, Any], challenge: bytes, host: str, origin: str) -> tuple[bytes, bytes, int]:
    """Verify what was created; returns its id, its public key (COSE_Key), and how often it was used."""
    made = webauthn.verify_registration_response(
        credential=said,
        expected_challenge=challenge,
        expected_rp_id=host,
        expected_origin=origin,
        require_user_verification=True,
    )
    return made.credential_id, made.credential_public_key, made.sign_count


def signed(
    said: dict[str, Any], challenge: bytes, host: str, origin: str, public_key: bytes, handle: bytes
) -> tuple[bool, int]:
    """Verify what was signed; returns whether it is of the person of this handle, and how often it was used.

    How often it was before is compared where that is kept.
    """
    told = said["response"].get("userHandle")
    verified = webauthn.verify_authentication_response(
        credential=said,
        expected_challenge=challenge,
        expected_rp_id=host,
        expected_origin=origin,
        credential_public_key=public_key,
        credential_current_sign_count=0,
        require_user_verification=True,
    )
    return told is None or base64url_to_bytes(told) == handle, verified.new_sign_count
