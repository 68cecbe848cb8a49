// The page at /_routeto. All that callers sent becomes text nodes: there is no innerHTML here, and the policy (Trusted Types) would refuse it.
// Numbers of bodies are never read and written again: JSON is laid out anew from its own text.
"use strict";

const API = "/_routeto/api/";
const MOST = 1000;
// Rows beyond what is seen, above and below.
const SPARE = 8;
// Characters of a text, and bytes of a dump, that are laid out at first, and with each "more".
const TEXT_STEP = 60_000;
const HEX_STEP = 4096;
// Headers, fields and parts that are laid out at first; more when asked, each time twice as many.
const LIST_STEP = 100;
// Levels of JSON that are indented: a body of brackets alone has a hundred thousand.
const DEEPEST = 40;
// Milliseconds without a key, or since the last answer, before bodies and headers are searched.
const SEARCH_PAUSE = 200;

const $ = id => document.getElementById(id);
const list = $("list"), rowsBox = $("rows"), detail = $("detail");

// ---- small tools

function el(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && key !== "role" && typeof value !== "string") element[key] = value;
    else element.setAttribute(key === "className" ? "class" : key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

const button = (label, action, attributes) => el("button", { type: "button", onclick: action, ...attributes }, label);

async function api(path, post) {
  const options = post === undefined ? {} : { method: "POST", headers: { "x-routeto-inspector": "1", "content-type": "application/json" }, body: JSON.stringify(post) };
  let response;
  try { response = await fetch(API + path, options); } catch { throw new Error("routeto dev doesn't answer; is it still running?"); }
  if (!response.ok) {
    const said = await response.json().catch(() => ({}));
    throw new Error(said.error ?? `status ${response.status}`);
  }
  return response;
}
const apiJson = async (path, post) => (await api(path, post)).json();

let toastTimer;
function toast(text) {
  const box = $("toast");
  box.textContent = text;
  box.classList.add("on");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => box.classList.remove("on"), 2600);
}
const told = action => async (...all) => { try { await action(...all); } catch (error) { toast(error.message); } };

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    toast(`Copied ${what}`);
  } catch {
    // No permission, or an old browser: the text is there to be taken by hand.
    const area = el("textarea", { "aria-label": what, readonly: true, rows: "10", spellcheck: "false" });
    area.value = text;
    dialog($("copy"), "copy-title", `Copy ${what}`, [area], [el("span", { className: "dim" }, "The browser didn't let us; it is selected, copy it by hand."), el("span", { className: "grow" }), el("button", {}, "Close")]);
    area.select();
  }
}
const copier = (text, what) => button("Copy", () => copy(typeof text === "function" ? text() : text, what), { className: "quiet", "aria-label": `Copy ${what}` });

function dialog(box, titleId, title, body, foot, onsubmit) {
  const form = el("form", { method: "dialog" },
    el("div", { className: "head" }, el("h2", { id: titleId }, title)),
    el("div", { className: "body" }, body),
    el("div", { className: "foot" }, foot));
  if (onsubmit) form.addEventListener("submit", onsubmit);
  box.replaceChildren(form);
  if (!box.open) box.showModal();
}

const two = number => String(number).padStart(2, "0");
function clock(millis, full) {
  const date = new Date(millis), now = new Date();
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  if (full) return `${day} ${time}.${String(date.getMilliseconds()).padStart(3, "0")}`;
  // What is younger than half a day needs no date, midnight or not.
  const young = Math.abs(now - date) < 12 * 3600 * 1000 || date.toDateString() === now.toDateString();
  return young ? time : day.slice(5) + " " + time.slice(0, 2) + "h";
}
const duration = millis => millis < 10 ? millis.toFixed(1) : String(Math.round(millis));
function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1e6) return `${(bytes / 1000).toFixed(1)} KB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
function bytesOf(base64) {
  const binary = atob(base64), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
function base64Of(bytes) {
  let binary = "";
  for (let i = 0; i < bytes.length; i += 0x8000) binary += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(binary);
}
// The text of UTF-8 bytes, a BOM kept; null where they are none.
function textOf(bytes) {
  try { return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes); } catch { return null; }
}
const latin1 = bytes => { let text = ""; for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000)); return text; };
const header = (headers, name) => headers.find(([given]) => given.toLowerCase() === name)?.[1] ?? "";
const encode = text => encodeURIComponent(text.toWellFormed ? text.toWellFormed() : text);
const statusClass = status => String(status)[0];

// ---- what is known

const state = {
  overview: null,
  // Newest first, by id.
  all: [],
  byId: new Map(),
  shown: [],
  waiting: [],
  paused: false,
  selected: null,
  exchange: null,
  filter: { text: "", status: "", stage: "", route: "" },
};

// What the rows don't show, the server looks for: bodies, headers, all that is kept.
// `whole`: all that is kept was searched once; `more`: something came since.
const search = { text: "", found: new Set(), last: 0, running: false, whole: true, more: false, timer: 0, error: "" };

function matches(summary) {
  const { text, status, stage, route } = state.filter;
  if (status && statusClass(summary.status) !== status) return false;
  if (stage && summary.stage !== stage) return false;
  if (route && (summary.route ?? "") !== route) return false;
  if (!text) return true;
  summary.haystack ??= `#${summary.id} ${summary.status} ${summary.method} ${summary.stage} ${summary.path} ${summary.route ?? ""} ${summary.content_type} ${summary.stored ?? ""} ${summary.preview} ${(summary.more ?? []).join(" ")}`.toLowerCase();
  return text.split(/\s+/).every(word => summary.haystack.includes(word)) || search.found.has(summary.id);
}

// Begins a search of all that is kept; an empty text ends it.
function seek(text) {
  if (text === search.text) return;
  clearTimeout(search.timer);
  Object.assign(search, { text, found: new Set(), last: 0, running: false, whole: text === "", more: false, error: "" });
  seekMore();
}

// A search goes on with what came since.
function seekMore() {
  if (!search.text) return;
  if (search.running) { search.more = true; return; }
  search.running = true;
  search.timer = setTimeout(searchNow, SEARCH_PAUSE);
}

async function searchNow() {
  const { text, found, last: after } = search;
  const others = () => search.found !== found;
  let before = null, last = null;
  try {
    do {
      const answer = await apiJson(`search?q=${encode(text)}&after=${after}${before === null ? "" : `&before=${before}`}`);
      if (others()) return;
      last ??= answer.last;
      before = answer.before;
      for (const id of answer.ids) found.add(id);
      if (answer.ids.length) refilter();
    } while (before !== null);
    Object.assign(search, { last, whole: true, error: "" });
  } catch (error) {
    if (others()) return;
    search.error = error.message;
  }
  const { more } = search;
  Object.assign(search, { running: false, more: false });
  if (more) seekMore();
  schedule();
}

function take(summaries) {
  if (state.paused) {
    // After a new start of dev the whole list comes again.
    const there = new Set(state.waiting.map(summary => summary.id));
    state.waiting.push(...summaries.filter(summary => !state.byId.has(summary.id) && !there.has(summary.id)));
    if (state.waiting.length > 2 * MOST) state.waiting = state.waiting.slice(-MOST);
    return schedule();
  }
  let fresh = 0, moved = false;
  for (const summary of summaries) {
    const known = state.byId.has(summary.id);
    state.byId.set(summary.id, summary);
    if (known) { moved = true; continue; }
    if (state.all.length && summary.id < state.all[0].id) moved = true;
    state.all.unshift(summary);
    if (matches(summary)) fresh++;
  }
  if (moved) state.all = [...state.byId.values()].sort((a, b) => b.id - a.id);
  for (const old of state.all.splice(MOST)) state.byId.delete(old.id);
  // Who reads further down is not moved by what comes in above.
  if (list.scrollTop > 0) pushed += fresh;
  options();
  refilter();
  seekMore();
}

function refilter() {
  state.shown = state.all.filter(matches);
  schedule();
}

// ---- the list: only the rows that are seen exist

let pushed = 0, scheduled = false;
const pool = [];
let rowHeight = 34, headHeight = 30;

function measure() {
  const style = getComputedStyle(document.documentElement);
  rowHeight = parseFloat(style.getPropertyValue("--row"));
  headHeight = matchMedia("(max-width: 490px)").matches ? 0 : parseFloat(style.getPropertyValue("--head"));
  schedule();
}

function schedule() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => { scheduled = false; draw(); });
}

function makeRow() {
  const row = el("div", { role: "option", className: "row" },
    ["time", "code", "stage", "route", "ms", "size"].map(name => el("span", { className: name })));
  row.querySelector(".route").append(el("b"), el("i"));
  row.addEventListener("click", () => open(Number(row.dataset.id)));
  pool.push(row);
  rowsBox.append(row);
  return row;
}

const requests = count => `${count.toLocaleString("en")} ${count === 1 ? "request" : "requests"}`;
const sentAgain = ({ of, edited }) => edited ? `sent from #${of}, edited` : `sent again from #${of}`;

function put(node, text) { if (node.textContent !== text) node.textContent = text; }

function fill(row, summary, at) {
  const [time, code, stage, route, ms, bytes] = row.children;
  row.hidden = false;
  row.id = `row-${summary.id}`;
  row.dataset.id = summary.id;
  row.style.transform = `translateY(${at * rowHeight}px)`;
  row.classList.toggle("lost", summary.route === null);
  row.setAttribute("aria-selected", String(summary.id === state.selected));
  row.setAttribute("aria-posinset", at + 1);
  row.setAttribute("aria-setsize", state.shown.length);
  put(time, clock(summary.time));
  put(code, String(summary.status));
  code.dataset.class = statusClass(summary.status);
  put(stage, summary.stage || "–");
  put(route.firstChild, (summary.again ? "↻ " : "") + (summary.method === "POST" ? "" : summary.method + " ") + (summary.route ?? summary.path));
  route.title = summary.again ? sentAgain(summary.again) : "";
  put(route.lastChild, summary.preview);
  put(ms, duration(summary.millis));
  ms.dataset.unit = " ms";
  put(bytes, size(summary.bytes));
}

function draw() {
  const count = state.shown.length;
  rowsBox.style.height = `${count * rowHeight}px`;
  if (pushed) {
    list.scrollTop += pushed * rowHeight;
    pushed = 0;
  }
  const first = Math.max(0, Math.floor(list.scrollTop / rowHeight) - SPARE);
  const last = Math.min(count, Math.ceil((list.scrollTop + list.clientHeight) / rowHeight) + SPARE);
  let used = 0;
  for (let at = first; at < last; at++) fill(pool[used++] ?? makeRow(), state.shown[at], at);
  for (const row of pool.slice(used)) { row.hidden = true; row.removeAttribute("id"); }
  if (state.selected !== null && $(`row-${state.selected}`)) list.setAttribute("aria-activedescendant", `row-${state.selected}`);
  else list.removeAttribute("aria-activedescendant");
  const all = state.all.length;
  const found = all === count ? requests(all) : `${count.toLocaleString("en")} of ${requests(all)}`;
  const also = search.error ? ` · bodies and headers not searched: ${search.error}` : search.whole ? "" : " · searching";
  put($("count"), found + also);
  empty();
  connection();
}

function options() {
  const overview = state.overview;
  const fillSelect = (id, known, seen) => {
    const select = $(id), wanted = [...new Set([...known, ...seen])];
    const there = [...select.options].slice(1).map(option => option.value);
    if (wanted.join("\n") === there.join("\n")) return;
    const value = select.value;
    select.replaceChildren(select.options[0], ...wanted.map(name => el("option", { value: name }, name)));
    select.value = wanted.includes(value) ? value : "";
    if (state.filter[id] !== select.value) { state.filter[id] = select.value; refilter(); }
  };
  // Only what the stack has, or had: what strangers make up isn't offered.
  const served = state.all.filter(summary => summary.route !== null);
  fillSelect("stage", overview?.stages ?? [], served.map(summary => summary.stage));
  fillSelect("route", overview?.routes.map(route => route.path) ?? [], served.map(summary => summary.route));
}

// ---- the connection

let source, link = "off";
function connection() {
  const box = $("state"), waiting = state.waiting.length;
  const now = link === "off" ? "off" : state.paused ? "paused" : "live";
  box.dataset.state = now;
  put(box, now === "off" ? "reconnecting" : now === "live" ? "live" : waiting ? `${waiting} new` : "paused");
}

function connect() {
  source = new EventSource("/_routeto/events");
  source.addEventListener("open", told(async () => {
    link = "on";
    // The list after the stream: nothing falls between the two, and ids tell what is there twice.
    await Promise.all([overview(), all()]);
  }));
  source.addEventListener("requests", event => {
    const summaries = JSON.parse(event.data);
    heard?.push(...summaries);
    take(summaries);
  });
  source.addEventListener("changed", told(overview));
  source.addEventListener("error", () => {
    link = "off";
    schedule();
    if (source.readyState !== EventSource.CLOSED) return;
    setTimeout(connect, 2000);
    refused();
  });
}

// Each run of `routeto dev` has a key of its own, so a page of the run before is shut out.
async function refused() {
  const answer = await fetch(`${API}overview`).catch(() => null);
  if (answer?.status !== 403) return;
  trouble([["This page needs a new key: routeto dev was started again. Open the address that it printed.", ""]]);
}

function trouble(list) {
  const box = $("problem");
  box.hidden = list.length === 0;
  box.replaceChildren(...list.flatMap(([title, text]) => [el("strong", {}, title), text ? el("pre", {}, text) : ""]));
}

// What the stream told since the list was asked for.
let heard = [];
async function all() {
  const mine = heard = [];
  const { requests, last } = await apiJson("requests");
  // The stream was opened again meanwhile, and the list is asked for again.
  if (heard !== mine) return;
  heard = null;
  // What is on disk is what there is: a journal that was removed is forgotten here, too. What came
  // after the list was made is not on it.
  if (!state.paused) {
    state.all = [];
    state.byId.clear();
    const { text } = search;
    seek("");
    seek(text);
  }
  take([...requests, ...mine.filter(summary => summary.seq > last)]);
  loaded = true;
  schedule();
}
let loaded = false;

async function overview() {
  state.overview = await apiJson("overview");
  const { stack, url, problem, unstored } = state.overview;
  put($("stack"), stack);
  put($("url"), url);
  document.title = `${stack} · routeto dev`;
  const troubles = [];
  if (unstored) troubles.push(["Records can't be stored: requests are answered 503.", unstored]);
  if (problem) troubles.push(["The stack can't be read as it is now; the last good one is served.", problem]);
  trouble(troubles);
  options();
  schedule();
}

function pause() {
  state.paused = !state.paused;
  $("pause").setAttribute("aria-pressed", String(state.paused));
  put($("pause"), state.paused ? "Resume" : "Pause");
  if (!state.paused) take(state.waiting.splice(0));
  schedule();
}

// ---- nothing yet

let emptyOf = "";
function empty() {
  const box = $("empty");
  const filtered = state.all.length > 0 && state.shown.length === 0;
  const nothing = loaded && state.all.length === 0 && state.overview !== null;
  box.hidden = !(filtered || nothing);
  list.hidden = !box.hidden;
  const hint = detail.querySelector(".nothing > p.hint");
  if (hint) hint.hidden = nothing;
  const sought = `${search.whole} ${search.error} ${state.all.length}`;
  const now = filtered ? sought : nothing ? JSON.stringify(state.overview) : "";
  if (now === emptyOf) return;
  emptyOf = now;
  if (filtered) {
    const [title, text] = search.error ? ["Search failed", `Bodies and headers weren't searched: ${search.error}`]
      : !search.whole ? ["Searching", `Looking through ${requests(state.all.length)}.`]
        : ["Nothing matches", `No match in ${requests(state.all.length)}.`];
    box.replaceChildren(el("h2", {}, title), el("p", {}, text),
      el("div", { className: "actions" }, button("Clear the filter", clearFilter)));
  } else if (nothing) {
    const { stages, routes, url } = state.overview, route = routes[0], stage = stages[0];
    if (!route || !stage) return box.replaceChildren(el("h2", {}, "Nothing to serve"), el("p", {}, "The stack has no route or no stage."));
    const sample = first(route, stage);
    const shown = curl({ ...sample, url, token: route.token ? "…" : null });
    box.replaceChildren(
      el("h2", {}, "Waiting for the first request"),
      el("p", {}, "Post something, and what becomes of it shows up here: the event that the template makes, the function's answer, the record."),
      el("div", { className: "box" }, el("pre", {}, shown)),
      el("div", { className: "actions" },
        button("Send it from here", told(async () => open((await apiJson("send", { ...sample, body: base64Of(sample.body), with_token: true })).id)), { id: "send-first", className: "primary" }),
        button(route.token ? "Copy, with the token" : "Copy", told(async () => copy(curl({ ...sample, url, token: route.token ? await tokenOf(stage) : null }), "the command")), { id: "copy-first" })));
  } else box.replaceChildren();
}
function first(route, stage) {
  const media = route.accept[0] ?? "application/json";
  const form = media === "application/x-www-form-urlencoded", multipart = media.startsWith("multipart/");
  const text = form ? "hello=world" : multipart ? '--xYzZY\r\nContent-Disposition: form-data; name="subject"\r\n\r\nhello\r\n--xYzZY--\r\n' : '{"hello": "world", "price": 1.50}';
  return { stage, method: "POST", path: route.path, query: [], headers: [["Content-Type", multipart ? `${media}; boundary=xYzZY` : media]], body: new TextEncoder().encode(text) };
}
const tokenOf = async stage => (await apiJson("token", { stage })).token;

// ---- curl

// In single quotes a shell changes nothing.
const quote = text => /^[\w./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
const HOP = new Set(["host", "content-length", "connection", "transfer-encoding", "expect", "keep-alive", "upgrade", "proxy-connection", "te", "trailer"]);

function target({ stage, path, query, token }) {
  const pairs = query.map(([name, value]) => `${encode(name)}=${encode(value)}`);
  if (token) pairs.push(`token=${token}`);
  // A path is as it was sent; what a person typed may need escapes.
  const clean = path.replace(/[^\x21-\x7e]|[?#"<>\\^`{|}]/gu, character => encode(character));
  return `${stage && "/" + stage}${clean}${pairs.length ? "?" + pairs.join("&") : ""}`;
}

function curl({ url, stage, method, path, query, headers, body, token }) {
  const where = url + target({ stage, path, query, token });
  const options = ["curl -sS"];
  // What curl would read as a pattern, or tidy away.
  if (/[[\]{}]/.test(where)) options.push("-g");
  if (/\/\.{1,2}(\/|\?|$)/.test(where)) options.push("--path-as-is");
  if (method === "HEAD") options.push("-I");
  else if (method !== (body.length || method !== "GET" ? "POST" : "GET")) options.push(`-X ${quote(method)}`);
  const parts = [[...options, quote(where)].join(" ")];
  const kept = headers.filter(([name]) => !HOP.has(name.toLowerCase()));
  for (const [name, value] of kept) parts.push(`-H ${quote(value === "" ? `${name};` : `${name}: ${value}`)}`);
  const has = name => kept.some(([given]) => given.toLowerCase() === name);
  const text = textOf(body);
  // A line break or a tab that is typed does something else in some shells, and so does any other control character.
  const plain = text !== null && text.length <= 100_000 && !/[\x00-\x09\x0b-\x1f\x7f]/.test(text) && !text.startsWith("\ufeff");
  const data = method !== "HEAD" && (method !== "GET" || body.length > 0);
  // What curl would add of its own.
  const own = ["accept", "user-agent", ...(data ? ["content-type"] : [])].filter(name => !has(name));
  if (headers.length > 1) for (const name of own) parts.push(`-H ${quote(`${name}:`)}`);
  if (body.length > 1024 * 1024) parts.push("-H 'Expect:'");
  if (!data) return parts.join(" \\\n  ");
  if (plain) return [...parts, `--data-raw ${quote(text)}`].join(" \\\n  ");
  return `printf %s ${quote(base64Of(body))} | base64 -d | ` + [...parts, "--data-binary @-"].join(" \\\n  ");
}

// ---- bodies

const isJson = text => { try { JSON.parse(text); return true; } catch { return false; } };

// JSON laid out from its own text, as far as it is asked for: white space is all that changes.
function* pretty(text) {
  let out = [], depth = 0, at = text.charCodeAt(0) === 0xfeff ? 1 : 0, key = false;
  const stack = [];
  const line = () => out.push(["", "\n" + "  ".repeat(Math.min(depth, DEEPEST))]);
  const token = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|[[\]{},:]/gy;
  while (at < text.length) {
    yield* out;
    out = [];
    token.lastIndex = at;
    const match = token.exec(text);
    if (!match) { at++; continue; }
    const word = match[0];
    at += word.length;
    const next = text.slice(at).match(/^\s*/)[0].length;
    if (word === "{" || word === "[") {
      const close = word === "{" ? "}" : "]";
      if (text[at + next] === close) { out.push(["", word + close]); at += next + 1; continue; }
      stack.push(word); depth++; key = word === "{";
      out.push(["", word]); line();
    } else if (word === "}" || word === "]") {
      stack.pop(); depth--; line(); out.push(["", word]);
    } else if (word === ",") {
      out.push(["", ","]); line(); key = stack.at(-1) === "{";
    } else if (word === ":") {
      out.push(["", ": "]); key = false;
    } else {
      out.push([word[0] === '"' ? key ? "k" : "s" : /[-\d]/.test(word[0]) ? "n" : "l", word]);
    }
  }
  yield* out;
}

// Mapping templates: references and directives stand out.
function vtl(text) {
  return text.split(/(##[^\n]*|\$!?\{?[\w.]+(?:\([^()\n]*\))?\}?|#\{?[a-z]+\}?)/g).map((part, at) => [at % 2 ? part.startsWith("##") ? "n" : part.startsWith("#") ? "l" : "k" : "", part]);
}

// A text of pieces ([class, text]), the first of it, and more when asked.
function pieces(source, max = TEXT_STEP) {
  const pre = el("pre", { tabindex: "0" }), box = el("div", { className: "box" }, pre);
  const iterator = source[Symbol.iterator]();
  let next = iterator.next();
  const more = () => {
    const part = document.createDocumentFragment();
    let room = max, plain = "";
    const flush = () => { if (plain) part.append(plain); plain = ""; };
    while (!next.done && room > 0) {
      let [kind, text] = next.value;
      if (text.length > room + 200) {
        next = { done: false, value: [kind, text.slice(room)] };
        text = text.slice(0, room);
      } else next = iterator.next();
      room -= text.length;
      if (kind) { flush(); part.append(el("span", { className: kind }, text)); } else plain += text;
    }
    flush();
    pre.append(part);
    return !next.done;
  };
  const rest = more();
  const lines = (pre.textContent.match(/\n/g)?.length ?? 0) + 1;
  if (rest || lines > 18 || pre.textContent.length > 1800) {
    box.classList.add("short");
    const button_ = button(rest ? "Show more" : `Show all ${lines > 18 ? `${lines} lines` : ""}`, () => {
      if (box.classList.contains("short")) box.classList.remove("short");
      else if (!more()) return button_.remove();
      if (next.done) button_.remove(); else put(button_, "Show more");
    }, { className: "more" });
    box.append(button_);
  }
  return box;
}
const plainText = text => pieces([["", text]]);
const jsonOrText = text => pieces(isJson(text) ? pretty(text) : [["", text]]);

function hex(bytes) {
  const pre = el("pre", { className: "hex", tabindex: "0" }), box = el("div", { className: "box" }, pre);
  const wide = detail.clientWidth > 620 ? 16 : 8;
  let at = 0;
  const more = () => {
    const lines = [], end = Math.min(bytes.length, at + HEX_STEP);
    for (; at < end; at += wide) {
      const row = bytes.subarray(at, Math.min(at + wide, bytes.length));
      const digits = [...row].map(byte => byte.toString(16).padStart(2, "0")).join(" ");
      lines.push(at.toString(16).padStart(6, "0") + "  " + digits.padEnd(wide * 3) + " " + [...row].map(byte => byte > 31 && byte < 127 ? String.fromCharCode(byte) : "·").join(""));
    }
    pre.append((pre.textContent ? "\n" : "") + lines.join("\n"));
    return at < bytes.length;
  };
  if (more()) {
    const button_ = button(`Show more of ${size(bytes.length)}`, () => { if (!more()) button_.remove(); }, { className: "more" });
    box.append(button_);
  }
  return box;
}

// A long list, the first of it, and more when asked. `into`: where the elements go.
function lazily(list, into, make, what) {
  let at = 0, step = LIST_STEP;
  const more = () => {
    into.append(...list.slice(at, at + step).flatMap(make));
    at += step;
    if (step < 3200) step *= 2;
    return list.length - at;
  };
  if (more() <= 0) return into;
  const label = () => `Show ${Math.min(step, list.length - at).toLocaleString("en")} more of ${list.length.toLocaleString("en")} ${what}`;
  const button_ = button(label(), () => { if (more() > 0) put(button_, label()); else button_.remove(); }, { className: "more" });
  return [into, button_];
}

function pairs(list, none, what = "headers", read = pair => pair) {
  if (list.length === 0) return el("div", { className: "empty-value" }, none);
  const line = item => { const [name, value] = read(item); return [el("dt", {}, name), el("dd", {}, value)]; };
  return lazily(list, el("dl", { className: "pairs" }), line, what);
}

function form(text) {
  const decode = part => { try { return decodeURIComponent(part.replaceAll("+", " ")); } catch { return part; } };
  const field = part => { const [name, ...value] = part.split("="); return [decode(name), decode(value.join("="))]; };
  return pairs(text.split("&").filter(Boolean), "empty", "fields", field);
}

function find(bytes, wanted, from) {
  outer: for (let at = bytes.indexOf(wanted[0], from); at >= 0 && at <= bytes.length - wanted.length; at = bytes.indexOf(wanted[0], at + 1)) {
    for (let i = 1; i < wanted.length; i++) if (bytes[at + i] !== wanted[i]) continue outer;
    return at;
  }
  return -1;
}
const ascii = text => Uint8Array.from(text, character => character.charCodeAt(0));

// Where the parts of a multipart body are, each read when it is shown; null where it isn't one that
// can be taken apart.
function multipart(bytes, contentType) {
  const boundary = /;\s*boundary=(?:"([^"]+)"|([^;\s]+))/i.exec(contentType);
  if (!boundary) return null;
  const line = ascii(`--${boundary[1] ?? boundary[2]}`), delimiter = ascii("\n" + latin1(line)), parts = [];
  let at = find(bytes, line, 0);
  if (at < 0) return null;
  for (;;) {
    at += line.length;
    if (bytes[at] === 45 && bytes[at + 1] === 45) return parts;
    const start = bytes.indexOf(10, at) + 1;
    const next = find(bytes, delimiter, at);
    if (start === 0 || next < 0) return parts.length ? parts : null;
    parts.push([start, bytes[next - 1] === 13 ? next - 1 : next]);
    at = next + 1;
  }
}

function readPart(bytes, [start, end]) {
  // From the line break before it on, which ends an empty head.
  const part = bytes.subarray(start - 2, end);
  const blank = [find(part, ascii("\r\n\r\n"), 0), find(part, ascii("\n\n"), 1)].filter(found => found >= 0);
  const split = blank.length ? Math.min(...blank) : -1;
  const body = split < 0 ? bytes.subarray(start, end) : part.subarray(split + (part[split] === 13 ? 4 : 2));
  const head = part.subarray(2, Math.max(2, split));
  const headers = (textOf(head) ?? latin1(head)).split(/\r?\n/).filter(Boolean).map(text => { const colon = text.indexOf(":"); return colon < 0 ? [text, ""] : [text.slice(0, colon), text.slice(colon + 1).trim()]; });
  const disposition = header(headers, "content-disposition");
  const named = word => { const match = new RegExp(`;\\s*${word}=(?:"((?:[^"\\\\]|\\\\.)*)"|([^;\\s]+))`, "i").exec(disposition); return match ? match[1] ?? match[2] : null; };
  return { headers, body, name: named("name"), filename: named("filename"), type: header(headers, "content-type") };
}

const IMAGES = /^image\/(png|jpeg|gif|webp|avif|bmp)\b/i;
let blobs = [];
function blobUrl(bytes, type) {
  const url = URL.createObjectURL(new Blob([bytes], { type }));
  blobs.push(url);
  return url;
}
function save(bytes, name) {
  return button("Save", () => {
    const link_ = el("a", { href: blobUrl(bytes, "application/octet-stream"), download: name });
    link_.click();
  }, { className: "quiet", "aria-label": `Save ${name}` });
}
const image = (bytes, type, name) => el("img", { src: blobUrl(bytes, type.split(";")[0].trim()), alt: name });

function partOf(part) {
  const text = textOf(part.body), isImage = IMAGES.test(part.type);
  const shown = isImage ? image(part.body, part.type, part.filename ?? part.name ?? "image")
    : text !== null && !/[\x00-\x08\x0e-\x1f]/.test(text) ? jsonOrText(text) : hex(part.body);
  shown.classList.remove("box");
  return el("div", { className: "part" },
    el("header", {}, el("div", { className: "what" }, el("b", {}, part.name ?? "(no name)"),
      part.filename !== null ? el("span", { className: "note" }, part.filename) : null,
      el("span", { className: "note" }, [part.type, size(part.body.length)].filter(Boolean).join(" · "))),
      text !== null && !isImage ? copier(text, `part ${part.name ?? ""}`) : save(part.body, part.filename ?? part.name ?? "part")),
    part.body.length ? shown : el("div", { className: "empty-value" }, "empty"));
}

// The ways in which a body can be shown, the likeliest first.
function ways(bytes, contentType) {
  const type = contentType.split(";")[0].trim().toLowerCase(), found = [];
  const text = textOf(bytes);
  const parts = type.startsWith("multipart/") ? multipart(bytes, contentType) : null;
  if (parts) found.push(["Parts", () => el("div", { className: "box" }, lazily(parts, el("div"), at => [partOf(readPart(bytes, at))], "parts"))]);
  if (IMAGES.test(type)) found.push(["Image", () => el("div", { className: "box" }, el("div", { className: "part" }, image(bytes, type, "the body")))]);
  const json = text !== null && bytes.length > 0 && isJson(text);
  if (json) found.push(["JSON", () => pieces(pretty(text))]);
  if (text !== null && type === "application/x-www-form-urlencoded") found.unshift(["Form", () => el("div", { className: "box" }, form(text))]);
  const readable = text !== null && !/[\x00-\x08\x0e-\x1f]/.test(text);
  if (readable) found.push([json ? "Raw" : "Text", () => plainText(text)]);
  found.push(["Hex", () => hex(bytes)]);
  return found;
}

function bodyPane(title, bytes, contentType, name, note) {
  const box = el("div");
  const head = el("header", {}, el("h4", {}, title), note ?? null, el("span", { className: "note" }, size(bytes.length)), el("span", { className: "grow" }));
  const pane = el("div", { className: "pane" }, head, box);
  if (bytes.length === 0) {
    box.append(el("div", { className: "box" }, el("div", { className: "empty-value" }, "empty")));
    return pane;
  }
  const found = ways(bytes, contentType), text = textOf(bytes);
  const views = el("span", { className: "views", role: "group", "aria-label": `${title} shown as` });
  const show = at => {
    box.replaceChildren(found[at][1]());
    [...views.children].forEach((view, i) => view.setAttribute("aria-pressed", String(i === at)));
  };
  views.append(...found.map(([label], at) => button(label, () => show(at))));
  if (found.length > 1) head.append(views);
  head.append(text !== null ? copier(text, title.toLowerCase()) : save(bytes, name));
  show(0);
  return pane;
}

function textPane(title, text, shown, what, note) {
  return el("div", { className: "pane" },
    el("header", {}, el("h4", {}, title), note ? el("span", { className: "note" }, note) : null, el("span", { className: "grow" }), copier(text, what)), shown);
}

// ---- one request

async function open(id, stay) {
  if (state.selected !== id) for (const url of blobs.splice(0)) URL.revokeObjectURL(url);
  state.selected = id;
  // Where the request takes the list's place, the browser's own Back brings it again.
  const covers = narrow.matches && !document.body.dataset.view && !stay;
  history[covers ? "pushState" : "replaceState"](null, "", `#${id}`);
  if (!stay) document.body.dataset.view = "detail";
  schedule();
  reveal();
  try {
    const exchange = await apiJson(`requests/${id}`);
    if (state.selected !== id) return;
    exchange.body = bytesOf(exchange.request.body);
    state.exchange = exchange;
    show(exchange);
  } catch (error) {
    if (state.selected !== id) return;
    state.exchange = null;
    detail.replaceChildren(el("div", { className: "nothing" }, el("div", {}, el("p", {}, error.message), el("div", { className: "actions" }, button("Back to the list", back)))));
  }
}

function reveal() {
  const at = state.shown.findIndex(summary => summary.id === state.selected);
  if (at < 0 || list.clientHeight === 0) return;
  const top = at * rowHeight, bottom = top + rowHeight, room = list.clientHeight - headHeight;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (bottom > list.scrollTop + room) list.scrollTop = bottom - room;
}

function back() {
  delete document.body.dataset.view;
  schedule();
  list.focus();
}

const raw = (exchange) => {
  const { request, stage } = exchange;
  const token = request.token === "missing" ? null : "…";
  return `${request.method} ${target({ stage, path: request.path, query: request.query, token })} ${request.version}\n` +
    request.headers.map(([name, value]) => `${name}: ${value}`).join("\n") + "\n";
};

function step(id, title, note, ...content) {
  return el("section", { className: "step", id: `step-${id}`, tabindex: "-1", "aria-label": title },
    el("header", {}, el("h3", {}, title), note), content);
}

const tag = (text, kind) => el("span", { className: "tag", "data-step": kind }, text);
const TOKENS = { right: ["valid token", "good"], wrong: ["invalid token", "bad"], missing: ["no token", "warn"] };

function show(exchange) {
  const { request, response, template, event, record } = exchange;
  const said = exchange.function;
  const kind = exchange.status < 300 ? "good" : exchange.status < 500 ? "warn" : "bad";
  const summary = { status: exchange.status };
  const templateName = template ? template.file ?? "built-in template" : "no template";
  const functionStatus = said ? functionSays(said) : null;
  const steps = [
    ["request", "Request", TOKENS[request.token][1] === "bad" ? "warn" : "good"],
    ["event", template ? "Template" : "No template", event !== null ? "good" : template ? "bad" : "none"],
    ["function", said ? functionStatus.text : "Not called", said ? functionStatus.kind : "none"],
    ["record", record ? record.kind === "s3" ? "S3 object" : "SQS message" : "Nothing stored", record ? "good" : "none"],
    ["answer", `Answer ${exchange.status}`, kind],
  ];
  const line = request.method + " " + target({ stage: exchange.stage, path: request.path, query: request.query, token: null });
  detail.replaceChildren(
    el("div", { className: "top" },
      button("← Requests", back, { className: "back" }),
      el("div", { className: "line" }, el("h2", {}, line), el("span", { className: "status", "data-class": statusClass(summary.status) }, String(exchange.status))),
      el("div", { className: "facts" },
        el("span", {}, clock(exchange.time, true)), el("span", {}, `${duration(exchange.millis)} ms`), el("span", {}, size(exchange.body.length)),
        el("span", {}, exchange.stage ? `stage ${exchange.stage}` : "no such stage"),
        exchange.stage ? el("span", {}, exchange.route === null ? "no such route" : `route ${exchange.route}`) : null,
        exchange.again ? el("span", { className: "again" }, button(sentAgain(exchange.again), () => open(exchange.again.of), { className: "quiet" })) : null,
        el("span", {}, `#${exchange.id}`)),
      el("div", { className: "actions" },
        button("Send again", again, { id: "again", className: "primary", "aria-keyshortcuts": "r" }),
        button("Edit and send", edit, { id: "edit-send", "aria-keyshortcuts": "e" }),
        button("Copy as curl", asCurl, { id: "as-curl", "aria-keyshortcuts": "c" }))),
    el("ol", { className: "path", "aria-label": "What became of it" }, steps.map(([id, label, how]) =>
      el("li", { "data-step": how }, button(label, () => { const target_ = $(`step-${id}`); target_.scrollIntoView({ block: "start", behavior: "smooth" }); target_.focus({ preventScroll: true }); })))),
    exchange.why ? el("div", { className: "why", "data-step": exchange.status >= 500 ? "bad" : "warn" }, exchange.why.includes("\n") ? el("pre", {}, exchange.why) : el("p", {}, exchange.why)) : "",
    step("request", "Request", tag(...TOKENS[request.token]),
      el("div", { className: "pane" },
        el("header", {}, el("h4", {}, "Headers"), el("span", { className: "note" }, String(request.headers.length)), el("span", { className: "grow" }), copier(raw(exchange), "the request line and headers")),
        el("div", { className: "box" }, el("div", { className: "start" }, raw(exchange).split("\n")[0]), pairs(request.headers, "no headers"))),
      bodyPane("Body", exchange.body, header(request.headers, "content-type"), `request-${exchange.id}`)),
    step("event", "Template and event", el("span", { className: "note" }, template ? template.content_type : ""),
      template ? el("div", { className: "pair" },
        textPane("Template", template.text, pieces(vtl(template.text)), "the template", templateName),
        event !== null ? textPane("Event", event, jsonOrText(event), "the event", isJson(event) ? "" : "not JSON")
          : textPane("Event", "", el("div", { className: "box" }, el("div", { className: "empty-value" }, "The template made none.")), "the event"))
        : el("div", { className: "box" }, el("div", { className: "empty-value" }, "The gateway answered before any template was rendered."))),
    step("function", "Function", said ? tag(functionStatus.short, functionStatus.kind) : null,
      said ? el("div", { className: "pair" },
        textPane(said.failed ? "Error" : "Answer", said.answer, jsonOrText(said.answer), "the function's answer", said.id),
        textPane("Log", said.log, jsonOrText(said.log), "the function's log"))
        : el("div", { className: "box" }, el("div", { className: "empty-value" }, "The function was not called."))),
    step("record", "Record", record ? el("span", { className: "note" }, size(record.bytes)) : null, recordPane(exchange)),
    step("answer", "Answer", tag(String(exchange.status), kind),
      el("div", { className: "pane" },
        el("header", {}, el("h4", {}, "Headers"), el("span", { className: "note" }, String(response.headers.length)), el("span", { className: "grow" }),
          copier(response.headers.map(([name, value]) => `${name}: ${value}`).join("\n"), "the answer's headers")),
        el("div", { className: "box" }, pairs(response.headers, "no headers"))),
      bodyPane("Body", bytesOf(response.body), header(response.headers, "content-type"), `answer-${exchange.id}`)));
  detail.scrollTop = 0;
}

// What the function made of it, in few words; its answer is JSON with a status of its own.
function functionSays(said) {
  if (said.failed) return { text: "Function failed", short: "failed", kind: "bad" };
  let status = null;
  try { status = JSON.parse(said.answer).status; } catch { /* not ours; shown as it is */ }
  if (typeof status !== "number") return { text: "Function", short: "answered", kind: "good" };
  return { text: `Function ${status}`, short: String(status), kind: status < 300 ? "good" : status < 500 ? "warn" : "bad" };
}

function recordPane(exchange) {
  const { record } = exchange;
  if (!record) return el("div", { className: "box" }, el("div", { className: "empty-value" }, "Nothing was stored."));
  const s3 = record.kind === "s3";
  const place = s3 ? `s3://${record.bucket}/${record.key}` : record.message_id;
  const loaded_ = el("div", { className: "pane" });
  const showBytes = button("Show what is stored", told(async () => {
    showBytes.disabled = true;
    try {
      const bytes = new Uint8Array(await (await api(`requests/${exchange.id}/record`)).arrayBuffer());
      const same = bytes.length === exchange.body.length && bytes.every((byte, at) => byte === exchange.body[at]);
      const note = same ? tag("identical to the request body", "good") : null;
      const type = same ? header(exchange.request.headers, "content-type") : textOf(bytes) !== null ? "application/json" : "";
      const pane = bodyPane("Stored", bytes, type, `record-${exchange.id}`, note);
      loaded_.replaceWith(pane);
      showBytes.remove();
    } finally { showBytes.disabled = false; }
  }), { id: "show-record" });
  return [
    el("div", { className: "pane" },
      el("header", {}, el("h4", {}, s3 ? "Object" : "Message"), el("span", { className: "grow" }), copier(place, s3 ? "the object's URI" : "the message id")),
      el("div", { className: "box" }, pairs(s3 ? [["bucket", record.bucket], ["key", record.key]] : [["queue", record.queue], ["message id", record.message_id]], ""))),
    el("div", { className: "actions" }, showBytes),
    loaded_,
  ];
}

// ---- sending

// What a caller's program adds of its own is left to the sender; all else goes as it came.
const own = headers => headers.filter(([name]) => !["content-length", "transfer-encoding", "connection", "expect", "keep-alive"].includes(name.toLowerCase()));
function outgoing(exchange) {
  const { request } = exchange;
  // A token that was wrong isn't kept; another wrong one stands for it.
  const query = request.token === "wrong" ? [...request.query, ["token", "wrong"]] : request.query;
  const again = { of: exchange.id, edited: false };
  return { stage: exchange.stage, method: request.method, path: request.path, query, headers: own(request.headers), with_token: request.token === "right", again };
}
async function deliver(request, body) {
  const { id } = await apiJson("send", { ...request, body: base64Of(body) });
  toast(`Sent as #${id}`);
  await open(id);
}
const again = told(async () => { if (state.exchange) await deliver(outgoing(state.exchange), state.exchange.body); });
const asCurl = told(async () => {
  const exchange = state.exchange;
  if (!exchange) return;
  const request = outgoing(exchange);
  const token = request.with_token ? await tokenOf(exchange.stage) : null;
  await copy(curl({ ...request, url: state.overview.url, body: exchange.body, token }), token ? "the command, with the stage's token" : "the command");
});

function entries(list, label) {
  const box = el("div", { className: "entries" });
  let seen = 0;
  const add = (name = "", value = "") => {
    const row = el("div", { className: "entry" },
      el("input", { "aria-label": `${label}: name`, spellcheck: "false" }), el("input", { "aria-label": `${label}: value`, spellcheck: "false" }),
      button("×", () => row.remove(), { className: "quiet", "aria-label": `Remove this ${label.toLowerCase()}` }));
    row.children[0].value = name;
    row.children[1].value = value;
    box.append(row);
    return row;
  };
  const what = label === "Query" ? "query parameters" : "headers";
  const shown = lazily(list, box, ([name, value]) => { add(name, value); seen++; return []; }, what);
  const field = el("fieldset", {}, el("legend", {}, what[0].toUpperCase() + what.slice(1)), shown, button("Add", () => add().children[0].focus()));
  // Those that aren't laid out are sent as they are.
  return { field, read: () => [...[...box.children].map(row => [row.children[0].value, row.children[1].value]), ...list.slice(seen)].filter(([name]) => name !== "") };
}

function edit() {
  const exchange = state.exchange;
  if (!exchange) return;
  const request = outgoing(exchange);
  const input = (id, label, value, attributes) => {
    const box = el("input", { id, spellcheck: "false", ...attributes });
    box.value = value;
    return [box, el("label", {}, el("span", { className: "label" }, label), box)];
  };
  const [method, methodLabel] = input("edit-method", "Method", request.method);
  const [stage, stageLabel] = input("edit-stage", "Stage", request.stage);
  const [path, pathLabel] = input("edit-path", "Path", request.path);
  const query = entries(request.query, "Query"), headers = entries(request.headers, "Header");
  const token = el("input", { type: "checkbox", id: "edit-token" });
  token.checked = request.with_token;
  // A text area has one kind of line break: others are put back, or the body is edited in base64.
  const text = textOf(exchange.body);
  const crlf = text !== null && /\r\n/.test(text) && !/(^|[^\r])\n|\r(?!\n)/.test(text);
  const asText = text !== null && (crlf || !text.includes("\r")) && !/[\x00-\x08\x0b\x0c\x0e-\x1f]/.test(text) && text.length < 2_000_000;
  const area = el("textarea", { id: "edit-body", "aria-labelledby": "edit-body-label", spellcheck: "false", rows: "10" });
  const start = asText ? text.replaceAll("\r\n", "\n") : base64Of(exchange.body);
  area.value = start;
  const error = el("span", { className: "error", role: "alert" });
  const submit = el("button", { className: "primary", id: "edit-go" }, "Send");
  dialog($("edit"), "edit-title", "Edit and send", [
    el("div", { className: "target" }, methodLabel, stageLabel, pathLabel),
    query.field,
    el("label", { className: "check" }, token, "with the stage's token"),
    headers.field,
    el("div", {}, el("div", { className: "label", id: "edit-body-label" }, asText ? crlf ? "Body (lines end with CR LF)" : "Body" : "Body, in base64: it isn't plain text"), area),
  ], [submit, button("Cancel", () => $("edit").close()), error], async event => {
    event.preventDefault();
    submit.disabled = true;
    error.textContent = "";
    try {
      let body;
      // Untouched, the bytes are the ones that came.
      if (area.value === start) body = exchange.body;
      else if (asText) body = new TextEncoder().encode(crlf ? area.value.replaceAll("\n", "\r\n") : area.value);
      else try { body = bytesOf(area.value.replace(/\s+/g, "")); } catch { throw new Error("the body isn't base64"); }
      const { id } = await apiJson("send", { stage: stage.value, method: method.value, path: path.value, query: query.read(), headers: headers.read(), with_token: token.checked, again: { ...request.again, edited: true }, body: base64Of(body) });
      $("edit").close();
      toast(`Sent as #${id}`);
      await open(id);
    } catch (problem) {
      error.textContent = problem.message;
    } finally { submit.disabled = false; }
  });
}

// ---- keys

const KEYS = [
  [["j", "↓"], "next request"], [["k", "↑"], "previous request"], [["Enter"], "open it"], [["Esc"], "back, or clear the filter"], [["g"], "the newest"],
  [["/"], "filter"], [["Space"], "pause and resume"], [["r"], "send again"], [["e"], "edit and send"], [["c"], "copy as curl"], [["?"], "these keys"],
];
function help() {
  dialog($("keys"), "keys-title", "Keyboard", [el("dl", {}, KEYS.flatMap(([names, what]) =>
    [el("dt", {}, names.flatMap((name, at) => at ? [" ", el("kbd", {}, name)] : [el("kbd", {}, name)])), el("dd", {}, what)]))], [el("span", { className: "grow" }), el("button", {}, "Close")]);
}

const narrow = matchMedia("(max-width: 820px)");
function move(by) {
  const { shown } = state;
  if (!shown.length) return;
  const at = shown.findIndex(summary => summary.id === state.selected);
  const next = at < 0 ? 0 : Math.min(shown.length - 1, Math.max(0, at + by));
  // On a narrow screen the list is left only by Enter.
  open(shown[next].id, narrow.matches && !document.body.dataset.view);
}

function clearFilter() {
  $("filter").reset();
  refresh();
}
function refresh() {
  state.filter = { text: $("text").value.trim().toLowerCase(), status: $("status").value, stage: $("stage").value, route: $("route").value };
  seek(state.filter.text);
  list.scrollTop = 0;
  refilter();
}

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const target_ = event.target, typing = /^(INPUT|SELECT|TEXTAREA)$/.test(target_.tagName);
  if (event.key === "Escape") {
    if (document.body.dataset.view && narrow.matches) back();
    else if (typing || Object.values(state.filter).some(Boolean)) { clearFilter(); list.focus(); }
    else if (detail.contains(target_)) list.focus();
    return;
  }
  if (typing) {
    if (event.key === "Enter" && target_.id === "text") { event.preventDefault(); list.focus(); }
    return;
  }
  const scrolls = detail.contains(target_);
  const keys = {
    j: () => move(1), k: () => move(-1), g: () => { list.scrollTop = 0; move(-MOST); },
    "/": () => { back(); $("text").focus(); }, "?": help, r: again, e: edit, c: asCurl,
  };
  if (!scrolls) Object.assign(keys, { ArrowDown: () => move(1), ArrowUp: () => move(-1), Home: () => move(-MOST), End: () => move(MOST) });
  if (target_.tagName !== "BUTTON" && !scrolls) keys[" "] = pause;
  if (target_ === list || target_ === document.body) keys.Enter = () => { if (state.selected === null) move(0); else open(state.selected); detail.focus(); };
  const action = keys[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

addEventListener("popstate", () => { if (document.body.dataset.view) back(); });
$("pause").addEventListener("click", pause);
$("help").addEventListener("click", help);
$("filter").addEventListener("input", refresh);
$("filter").addEventListener("submit", event => event.preventDefault());
list.addEventListener("scroll", schedule, { passive: true });
new ResizeObserver(measure).observe(list);
narrow.addEventListener("change", measure);

// The icon is a blob, as every image here: the browser then asks no route of the stack for one.
document.head.append(el("link", { rel: "icon", href: URL.createObjectURL(new Blob(['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect x="2" y="2" width="12" height="12" rx="4" fill="#2a55c4"/></svg>'], { type: "image/svg+xml" })) }));

detail.append(el("div", { className: "nothing" }, el("p", { className: "hint" }, "Choose a request to see what became of it.")));
measure();
connect();
// The key is in the cookie by now; the address needs it no more.
const keyless = location.hash.slice(1).replace(/^key=[^&]*&?/, "");
if (keyless !== location.hash.slice(1)) history.replaceState(null, "", location.pathname + (keyless ? `#${keyless}` : ""));
// A new address typed over the old one changes the fragment alone.
addEventListener("hashchange", () => { if (location.hash.startsWith("#key=")) location.reload(); });
const wanted = Number(keyless);
if (Number.isInteger(wanted) && wanted > 0) open(wanted);
