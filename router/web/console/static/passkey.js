// Passkeys: the browser's own dialog before a form is sent. Without a script the server says that it takes one.
"use strict";

// Options and answers travel as JSON, with bytes in base64url.
const toBytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (one) => one.charCodeAt(0));
const toText = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replace(/\+/g, "-")
    .replace(/\//g, "_")
    .replace(/=+$/, "");

function readOptions(options) {
  const named = (list) => list?.map((one) => ({ ...one, id: toBytes(one.id) }));
  return {
    ...options,
    challenge: toBytes(options.challenge),
    ...(options.user && { user: { ...options.user, id: toBytes(options.user.id) } }),
    ...(options.excludeCredentials && { excludeCredentials: named(options.excludeCredentials) }),
    ...(options.allowCredentials && { allowCredentials: named(options.allowCredentials) }),
  };
}

function written(credential) {
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[name]) response[name] = toText(credential.response[name]);
  }
  return JSON.stringify({
    id: credential.id,
    rawId: toText(credential.rawId),
    type: credential.type,
    response,
    clientExtensionResults: {},
  });
}

async function ask(form) {
  const token = form.elements.csrf?.value;
  const answer = await fetch(form.dataset.options, { method: "POST", headers: token ? { "X-CSRF-Token": token } : {} });
  const options = await answer.json();
  if (!answer.ok) throw new Error(options.fault);
  return navigator.credentials[form.dataset.passkey]({ publicKey: readOptions(options) });
}

function inWords(error) {
  if (error.name === "NotAllowedError") return "Nothing was done: the browser gave no passkey.";
  if (error.name === "InvalidStateError") return "This device has a passkey for you already.";
  return error.name === "Error" && error.message ? error.message : "It did not work. Nothing was done: try it again.";
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!window.PublicKeyCredential) continue;
  const said = form.querySelector("[role=alert]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    said.hidden = button.disabled = true;
    try {
      form.elements.credential.value = written(await ask(form));
      form.submit();
    } catch (error) {
      said.textContent = inWords(error);
      said.hidden = button.disabled = false;
    }
  });
}
