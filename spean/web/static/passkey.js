// Passkeys are the one thing here that needs a script: the browser asks the device, and its answer is sent as JSON.
// A form with `data-passkey` (create or get) is shown where the browser has passkeys at this address.
const toBytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (one) => one.charCodeAt(0));
const toText = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

async function post(address, body) {
  const headers = { "Content-Type": "application/json", Accept: "application/json" };
  const reply = await fetch(address, { method: "POST", headers, body: JSON.stringify(body) });
  const said = await reply.json();
  if (!reply.ok) throw new Error(said.detail);
  return said;
}

function asked(options) {
  const withBytes = (list) => (list ?? []).map((one) => ({ ...one, id: toBytes(one.id) }));
  const found = { ...options, challenge: toBytes(options.challenge) };
  if (options.user) found.user = { ...options.user, id: toBytes(options.user.id) };
  if (options.excludeCredentials) found.excludeCredentials = withBytes(options.excludeCredentials);
  if (options.allowCredentials) found.allowCredentials = withBytes(options.allowCredentials);
  return { publicKey: found };
}

function told(credential) {
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[name]) response[name] = toText(credential.response[name]);
  }
  return { id: credential.id, rawId: toText(credential.rawId), type: credential.type, response, clientExtensionResults: {} };
}

async function ceremony(form) {
  const fields = Object.fromEntries(new FormData(form));
  const { step, options } = await post(`${form.action}/options`, { csrf: fields.csrf });
  const credential =
    form.dataset.passkey === "create"
      ? await navigator.credentials.create(asked(options))
      : await navigator.credentials.get(asked(options));
  return post(form.action, { csrf: fields.csrf, next: fields.next, step, answer: told(credential) });
}

// Browsers have no passkeys for an address that is a number.
const named = !/^[0-9.]+$|^\[/.test(location.hostname);
for (const form of window.PublicKeyCredential && named ? document.querySelectorAll("form[data-passkey]") : []) {
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const error = form.querySelector("[role=alert]");
    const button = form.querySelector("button");
    error.hidden = true;
    button.disabled = true;
    try {
      const { to } = await ceremony(form);
      location.assign(to);
    } catch (wrong) {
      // What the browser says of its own (a DOMException) is in its language and for developers.
      error.textContent = wrong instanceof DOMException || wrong instanceof TypeError ? form.dataset.failed : wrong.message;
      error.hidden = false;
      button.disabled = false;
    }
  });
}
