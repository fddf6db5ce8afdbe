// An action whose line breaks waits in this browser and is sent when the line is back: what is done to which opaque id,
// when, and its key, so that it counts once. Never a name, a code that opens something, or a text.
const STORE = "spean-queue", FIELDS = ["key", "version", "reason", "without", "usable", "more_tonight"];
const WAIT_MS = 15_000, AGAIN_MS = 20_000;
const person = document.documentElement.dataset.person;
const read = () => JSON.parse(localStorage.getItem(STORE) ?? "[]");
const write = (waiting) => { localStorage.setItem(STORE, JSON.stringify(waiting)); show(waiting); };

function show(waiting) {
  const notice = document.getElementById("waits"), list = document.getElementById("queue");
  if (notice) notice.hidden = waiting.length === 0;
  if (!list) return;
  list.empty ??= list.firstElementChild;
  list.replaceChildren(...(waiting.length ? waiting.map((one) => line(list, one)) : [list.empty]));
}

function line(list, one) {
  const item = document.createElement("li"), button = document.createElement("button");
  const state = one.refused ? `${list.dataset.refused} ${one.refused}` : one.other ? list.dataset.other : list.dataset.waiting;
  item.textContent = `${list.dataset[one.action] ?? one.action} · ${new Date(one.at).toLocaleString(document.documentElement.lang)} · ${state} `;
  button.textContent = list.dataset.delete;
  button.addEventListener("click", () => write(read().filter((other) => other.key !== one.key)));
  item.append(button);
  return item;
}

document.addEventListener("submit", async (event) => {
  const form = event.target, action = event.submitter?.dataset.queue ?? form.dataset.queue;
  if (!action || !person) return stayed(event);
  event.preventDefault();
  const fields = new URLSearchParams(new FormData(form, event.submitter));
  event.submitter?.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(form.action, { method: "POST", body: fields, signal: AbortSignal.timeout(WAIT_MS) });
    if (answer.ok && answer.redirected) return location.assign(answer.url);
    HTMLFormElement.prototype.submit.call(form);  // the same key: the page of the refusal, and nothing done twice
  } catch {
    const kept = Object.fromEntries([...fields].filter(([name]) => FIELDS.includes(name)));
    write([...read(), { path: new URL(form.action).pathname, action, at: Date.now(), person, key: kept.key, fields: kept }]);
    location.assign("/pages/offline");
  }
});

// Any other form is sent by the browser, whose page of a broken line would take what was typed: without a line it stays
// here. A machine that is on no network may still reach a service of its own, so it is tried.
let reached = false;
async function stayed(event) {
  const { target: form, submitter } = event, note = document.getElementById("cut");
  if (reached || navigator.onLine || event.defaultPrevented || form.method !== "post") return;
  event.preventDefault();
  try {
    await fetch("/worker.js", { cache: "no-store", signal: AbortSignal.timeout(WAIT_MS) });
    reached = true;
    form.requestSubmit(submitter);
  } catch {
    (submitter?.closest(".act") ?? submitter ?? form).before(note);
    note.hidden = false;
  } finally { reached = false; }
}
addEventListener("online", () => { document.getElementById("cut").hidden = true; });

let sending = false;
async function send() {
  if (sending || !read().some((one) => !one.refused)) return;
  sending = true;
  try {
    for (const one of read().filter((other) => !other.refused)) await sendOne(one);
  } catch { /* still no line: it goes on waiting */ } finally { sending = false; }
}

async function sendOne(one) {
  const headers = { Accept: "application/json" }, signal = AbortSignal.timeout(WAIT_MS);
  const asked = await fetch(`/${one.path.split("/")[1]}/pages/token`, { headers, signal });
  const session = asked.ok ? await asked.json() : {};
  if (session.person !== one.person) return put(one, { other: true });
  const answer = await fetch(one.path, { method: "POST", headers, signal, body: new URLSearchParams({ ...one.fields, csrf: session.csrf }) });
  if (answer.ok) write(read().filter((other) => other.key !== one.key));
  else if (answer.status < 500) put(one, { refused: (await answer.json()).detail });
}
const put = (one, more) => write(read().map((other) => (other.key === one.key ? { ...other, ...more } : other)));

show(read());
send();
addEventListener("online", send);
setInterval(send, AGAIN_MS);
if (navigator.serviceWorker && isSecureContext) {
  const policy = globalThis.trustedTypes?.createPolicy("spean-worker", { createScriptURL: (url) => (url === "/worker.js" ? url : "") });
  navigator.serviceWorker.register(policy ? policy.createScriptURL("/worker.js") : "/worker.js").catch(() => {});
}
