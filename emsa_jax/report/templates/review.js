const token = new URLSearchParams(location.search).get("token") || "";
const get = id => document.getElementById(id);
const name = get("by"), text = get("answer"), said = get("said");
name.value = sessionStorage.getItem("by") || name.value;
let item = null, busy = false;
const seen = [];

const ask = async (path, body) => {
  const response = await fetch(path, {method: body ? "POST" : "GET", cache: "no-store",
    headers: {"x-token": token, "content-type": "application/json"}, body: body ? JSON.stringify(body) : undefined});
  if (!response.ok && ![409, 422].includes(response.status)) throw new Error("the server answers " + response.status);
  return {status: response.status, ...await response.json()};
};
const fill = (id, values, tag, put) => {
  const make = value => { const one = document.createElement(tag); put(one, value); return one; };
  get(id).replaceChildren(...values.map(make));
};
const show = found => {
  get("counts").textContent = Object.entries(found.counts).map(([what, n]) => what + " " + n).join(" · ");
  item = found.item;
  get("clip").hidden = !item;
  get("none").hidden = !!item;
  document.body.dataset.id = item ? item.id : "";
  if (!item) return;
  if (seen.at(-1) !== item.id) seen.push(item.id);
  get("id").textContent = item.id;
  get("facts").textContent = item.facts.join(" · ");
  get("history").textContent = item.history;
  get("words").textContent = item.text;
  get("words").lang = item.language;
  text.value = item.answer;
  fill("frames", item.frames, "img", (one, [uri, alt]) => { one.src = uri; one.alt = alt; });
  fill("problems", item.problems, "li", (one, value) => { one.textContent = value; });
  get("sound").hidden = !item.sound;
  if (item.sound) get("sound").src = item.sound; else get("sound").removeAttribute("src");
};
const step = async (work, fallback) => {
  if (busy) return;
  busy = true;
  document.body.dataset.busy = "1";
  sessionStorage.setItem("by", name.value);
  try { await work(); } catch (error) { said.textContent = fallback + ": " + error.message; }
  busy = false;
  delete document.body.dataset.busy;
};
const query = fields => new URLSearchParams({by: name.value, ...fields});
const next = after => step(async () => show(await ask("/api/next?" + query({after}))), "not loaded");
const back = () => step(async () => {
  const before = seen.lastIndexOf(item ? item.id : "") - 1;
  const id = item ? seen[before] : seen.at(-1);
  if (!id) { said.textContent = "there is none before this one"; return; }
  seen.splice(item ? before : seen.length - 1);
  show(await ask("/api/item?" + query({id})));
}, "not loaded");
const decide = (verdict, reason) => item && step(async () => {
  const body = {id: item.id, by: name.value, verdict, reason: reason || "", version: item.version, answer: text.value};
  const result = await ask("/api/decide", body);
  if (result.status === 422) { said.textContent = "not saved: " + result.notes.join("; "); return; }
  const what = item.id + " ";
  said.textContent = result.status === 409 ? what + "not saved: " + result.notes.join("; ") : what + verdict;
  text.blur();
  show(await ask("/api/next?" + query({after: item.id})));
}, "not saved");
const changed = () => text.value !== item.answer;
const accept = () => item && decide(changed() ? "edited" : "accepted");
const keys = {a: accept, r: () => decide("rejected"), e: () => text.focus(), n: () => next(item ? item.id : ""),
  ArrowRight: () => next(item ? item.id : ""), p: back, ArrowLeft: back,
  " ": () => { const sound = get("sound"); if (sound.paused) sound.play(); else sound.pause(); }};
addEventListener("keydown", event => {
  if (event.target === text) {
    if (event.key === "Escape") { text.value = item.answer; text.blur(); event.preventDefault(); }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { accept(); event.preventDefault(); }
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target === name) return;
  if (event.key === " " && event.target !== document.body) return;
  const reason = get("reason-" + event.key);
  const act = keys[event.key] || (reason && (() => decide("rejected", reason.dataset.reason)));
  if (act && item !== undefined) { event.preventDefault(); act(); }
});
for (const button of document.querySelectorAll("button")) {
  button.onclick = () => { (keys[button.dataset.key] || (() => decide("rejected", button.dataset.reason)))(); };
}
next("");
