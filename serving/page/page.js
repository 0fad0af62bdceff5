const COUNT = 12;
const TIMEOUT_MS = 10_000;
const KEY = "duotempo-key";
const SIGNED_IN = "duotempo-signed-in";
const MAX_TITLES = 3;
const SHARES = ["long", "short", "content", "collaborative", "popularity"];
const DONE_LABELS = { like: "Liked", dislike: "Disliked", hide: "Hidden" };
const byId = (id) => document.getElementById(id);
const percent = (share) => `${Math.round(share * 100)}%`;

let user = "";
let shown = [];
let requestId = "";
let latestRequest = 0;

class ServiceError extends Error {}

/** promptForKey: whether to ask the user for an API key after a 401. */
async function call(path, body, promptForKey = true) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...(body && { "Content-Type": "application/json" }), ...(key && { Authorization: `Bearer ${key}` }) };
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), TIMEOUT_MS);
  const options = { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal: timeout.signal };
  let response, answer;
  try {
    response = await fetch(path, options);
    answer = await response.json().catch(() => ({}));
  } catch {
    answer = undefined;
  } finally {
    clearTimeout(timer);
  }
  if (timeout.signal.aborted) throw new ServiceError("The service does not answer. Try again in a moment.");
  if (!answer) throw new ServiceError("The service is unreachable. Is it running? Try again in a moment.");
  if (response.status === 401 && promptForKey) {
    const given = prompt("This service asks for an API key. It is kept until this tab is closed.")?.trim();
    if (given) sessionStorage.setItem(KEY, given);
    if (given) return call(path, body, false);
  }
  if (!response.ok) {
    const error = new ServiceError(answer.error?.message ?? `The service responded with status ${response.status}.`);
    throw Object.assign(error, { status: response.status });
  }
  return answer;
}

function showAlert(message) {
  byId("alert").textContent = message;
  byId("alert").hidden = !message;
}

function element(tag, text, className) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** Long-term and short-term share; the rest is popularity among other people. */
function drawBar(bar, long, short) {
  const parts = { long, short, rest: Math.max(0, 1 - long - short) };
  bar.replaceChildren(
    ...Object.entries(parts).filter(([, share]) => share > 0.004).map(([name, share]) => {
      const part = element("span", "", name);
      part.style.flexGrow = share;
      part.style.flexBasis = "0";
      return part;
    }),
  );
  const rest = parts.rest > 0.004 ? `, ${percent(parts.rest)} other people` : "";
  bar.setAttribute("aria-label", `${percent(long)} long-term, ${percent(short)} short-term${rest}`);
}

function drawChips(list, terms, none) {
  list.replaceChildren(...(terms.length ? terms.map((term) => element("li", term)) : [element("li", none, "none")]));
}

function drawTaste({ interest, user_state: state, degraded }) {
  const known = interest.long_weight + interest.short_weight > 0;
  const nothing = degraded && state === "new" ? "unknown right now" : "nothing yet";
  byId("taste").hidden = false;
  byId("taste-title").textContent = user;
  byId("state").textContent = degraded && state === "new" ? "history unreachable" : { known: "known", new: "new here", anonymous: "anonymous" }[state];
  byId("blend").hidden = !known;
  if (known) drawBar(byId("blend"), interest.long_weight, interest.short_weight);
  const long = Math.round(interest.long_weight * 100);
  byId("blend-text").textContent = known
    ? `This list is ${long}% long-term and ${100 - long}% short-term interest.`
    : degraded
      ? "The history can't be read right now, so the list shows popular items."
      : "Nothing is known about this user yet, so the list shows popular items. A single like changes that.";
  drawChips(byId("long"), interest.long, interest.long_weight ? "no terms" : nothing);
  drawChips(byId("short"), interest.short, interest.short_weight ? "no terms" : nothing);
}

function details(why) {
  const rows = [["Score", SHARES.filter((name) => why[name] >= 0.005).map((name) => `${percent(why[name])} ${name}`).join(", ")]];
  if (why.because.length) rows.push(["Because of", why.because.map((item) => `${item.title} (+${item.contribution.toPrecision(2)})`).join(", ")]);
  if (why.categories.length) rows.push(["Categories", why.categories.join(", ")]);
  if (why.keywords.length) rows.push(["Keywords", why.keywords.join(", ")]);
  if (why.text_similarity) rows.push(["Text", `${percent(Math.max(why.text_similarity, 0))} similar to what you read`]);
  if (why.trend) rows.push(["Trend", "among the most popular of the last week"]);
  return rows.filter(([, text]) => text).flatMap(([name, text]) => [element("dt", name), element("dd", text)]);
}

/** Movement since the previous list: sign, label and direction. */
function movement(item, before) {
  if (!before.length) return null;
  const old = before.find((other) => other.item_id === item.item_id);
  if (!old) return ["new", "new in the list", ""];
  const steps = old.rank - item.rank;
  if (!steps) return null;
  return steps > 0 ? [`▲ ${steps}`, `up by ${steps}`, ""] : [`▼ ${-steps}`, `down by ${-steps}`, "down"];
}

function drawCard(item, before) {
  const card = byId("card").content.cloneNode(true).firstElementChild;
  const part = (selector) => card.querySelector(selector);
  card.dataset.item = item.item_id;
  part(".rank").textContent = item.rank;
  part(".title").textContent = item.title || item.item_id;
  part(".categories").textContent = item.category.join(" · ");
  part(".reason").textContent = item.why.text;
  drawBar(part(".bar"), item.why.long, item.why.short);
  part("dl").replaceChildren(...details(item.why));
  const moved = movement(item, before);
  if (moved) {
    const [sign, words, direction] = moved;
    part(".moved").textContent = sign;
    part(".moved").setAttribute("aria-label", words);
    part(".moved").hidden = false;
    if (direction) part(".moved").classList.add(direction);
    else card.classList.add("changed");
  }
  for (const button of card.querySelectorAll("button")) {
    button.setAttribute("aria-label", `${button.textContent.trim().slice(2)} ${item.title || item.item_id}`);
    button.addEventListener("click", () => sendFeedback(item, button.dataset.event, card));
  }
  return card;
}

function titlesOf(items) {
  const titles = items.slice(0, MAX_TITLES).map((item) => item.title || item.item_id).join(", ");
  return items.length > MAX_TITLES ? `${titles} and ${items.length - MAX_TITLES} more` : titles;
}

/** Describes new, moved and removed items. */
function describeChanges(before, now) {
  const moves = now.map((item) => movement(item, before)).filter(Boolean);
  const count = (test) => moves.filter(([sign]) => test(sign)).length;
  const counts = [[count((s) => s === "new"), "new"], [count((s) => s[0] === "▲"), "moved up"], [count((s) => s[0] === "▼"), "moved down"]];
  const changes = counts.filter(([number]) => number).map(([number, word]) => `${number} ${word}`).join(", ");
  const gone = before.filter((old) => !now.some((item) => item.item_id === old.item_id));
  return `${changes || "order unchanged"}; removed: ${titlesOf(gone) || "none"}`;
}

async function show({ compare, note } = {}) {
  const number = ++latestRequest;
  byId("list").classList.add("busy");
  try {
    const answer = await call("/recommend", { user_id: user, k: COUNT, explain: true });
    if (number !== latestRequest) return;
    const before = compare ? shown : [];
    shown = answer.items;
    requestId = answer.request_id;
    showAlert("");
    byId("degraded").hidden = !answer.degraded;
    drawTaste(answer);
    const none = element("li", "Nothing left to recommend: this user has already seen every item.", "none");
    byId("list").replaceChildren(...(shown.length ? shown.map((item) => drawCard(item, before)) : [none]));
    byId("change").textContent = note ? `${note} ${describeChanges(before, shown)}.` : "";
    byId("foot").textContent = `Model version ${answer.model_version} · ${answer.variant} · request ${requestId}`;
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    if (number !== latestRequest) return;
    if (!shown.length) byId("list").replaceChildren();
    showAlert(error.message);
  } finally {
    if (number === latestRequest) byId("list").classList.remove("busy");
  }
}

async function sendFeedback(item, event, card) {
  const sender = user;
  const buttons = card.querySelectorAll("button");
  buttons.forEach((button) => { button.disabled = true; });
  try {
    const feedback = { event_id: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, user_id: user, item_id: item.item_id, event, request_id: requestId };
    const answer = await call("/feedback", { events: [feedback] });
    if (answer.rejected.length) throw new ServiceError(answer.rejected[0].reason);
    if (sender !== user) return; // another user was selected meanwhile
    const kept = answer.spooled ? " (kept on the service's disk until the database is back)" : "";
    await show({ compare: true, note: `${DONE_LABELS[event]} “${item.title || item.item_id}”${kept}:` });
    byId("list").focus({ preventScroll: true });
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    if (sender !== user) return;
    showAlert(error.message);
    buttons.forEach((button) => { button.disabled = false; });
  }
}

/** Fills the suggestions of user ids, which only an administrator may list. Returns the most active one. */
async function suggestUsers() {
  if (!localStorage.getItem(SIGNED_IN) && !sessionStorage.getItem(KEY)) return "";
  const { users } = await call("/users?limit=100", undefined, false);
  byId("users").replaceChildren(
    ...users.map(({ user_id: id, events }) => {
      const option = element("option", `${events} events`);
      option.value = id;
      return option;
    }),
  );
  return users[0]?.user_id ?? "";
}

/** Clears the page before the response for another user arrives. */
function clear() {
  shown = [];
  for (const id of ["taste", "degraded", "alert"]) byId(id).hidden = true;
  for (const id of ["list", "change", "foot"]) byId(id).replaceChildren();
  byId("list").append(element("li", "Loading…", "none"));
}

function pick(id) {
  user = id;
  byId("user").value = id;
  clear();
  history.replaceState(null, "", `?user=${encodeURIComponent(id)}`);
  return show();
}

byId("pick").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = byId("user").value.trim();
  if (id) pick(id);
});

/** Signs in by the token of a `duotempo open store` link, if the URL has one. Returns the error message, if any. */
async function signIn() {
  const token = new URLSearchParams(location.hash.slice(1)).get("sign-in");
  if (!token) return "";
  history.replaceState(null, "", location.pathname + location.search);
  return call("/session", { token }, false).then(() => localStorage.setItem(SIGNED_IN, "yes"), (error) => error.message);
}

const signInError = await signIn();
const requestedUser = new URLSearchParams(location.search).get("user");
const first = await suggestUsers().catch((error) => {
  if (error.status === 401) localStorage.removeItem(SIGNED_IN); // the session has expired
  else if (error.status !== 403) showAlert(error.message);
  return "";
});
if (requestedUser || first) await pick(requestedUser || first);
else byId("list").append(element("li", "Enter a user id above. The command “duotempo open store” opens this page signed in, with suggestions of user ids.", "none"));
if (signInError) showAlert(signInError);
