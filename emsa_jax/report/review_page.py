"""The page of `review`: one clip, its labels and its trace; a decision is one key."""

from emsa_jax.report.page import render

REASONS = ("an observation is wrong", "does not follow", "speaks of a label", "says little", "other language")

STYLE = """
main { display: grid; gap: .8rem; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; }
.strip { display: flex; flex-wrap: wrap; gap: 4px; margin: .5rem 0; }
.strip img { height: 7rem; width: auto; max-width: 100%; border-radius: 4px; }
audio { display: block; width: 100%; max-width: 30rem; margin: .5rem 0; }
blockquote { margin: .7rem 0; padding-inline-start: .8rem; border-inline-start: 3px solid var(--line); }
textarea { width: 100%; min-height: 13rem; font: inherit; padding: .6rem; background: var(--page); color: var(--ink);
  border: 1px solid var(--line); border-radius: .4rem; }
.bar { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; }
button { font: inherit; padding: .35rem .8rem; background: var(--page); color: var(--ink);
  border: 1px solid var(--line); border-radius: .4rem; cursor: pointer; }
input { font: inherit; padding: .25rem .5rem; background: var(--page); color: var(--ink); border: 1px solid var(--line);
  border-radius: .4rem; }
kbd { color: var(--soft); font: inherit; }
#said { min-height: 1.5em; font-weight: 600; }
#problems { color: var(--warn); margin: 0; }
"""

SCRIPT = """
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
  get("told").textContent = item.told;
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
"""

BODY = """
<header>
<h1>{{ title }}</h1>
<p class="bar"><label>Reviewer <input id="by" value="{{ by }}" maxlength="80" autocomplete="off"></label>
<span class="soft" id="counts"></span></p>
</header>
<main>
<p id="said" role="status" aria-live="polite"></p>
<p id="none" hidden>Nothing is left to look at.</p>
<article id="clip" hidden aria-labelledby="id">
<h2 id="id"></h2>
<p id="facts"></p>
<div class="strip" id="frames"></div>
<audio id="sound" controls hidden aria-label="sound of the clip"></audio>
<blockquote id="words" dir="auto"></blockquote>
<p class="soft" id="told"></p>
<ul id="problems"></ul>
<label for="answer">The trace; its score is replaced by the true one</label>
<textarea id="answer" dir="auto" spellcheck="false"></textarea>
</article>
<p class="bar">
<button type="button" data-key="a">Accept, or save what was edited <kbd>a</kbd></button>
<button type="button" data-key="e">Edit <kbd>e, then Ctrl+Enter; Esc undoes</kbd></button>
<button type="button" data-key="r">Reject <kbd>r</kbd></button>
<button type="button" data-key="p">Back <kbd>p</kbd></button>
<button type="button" data-key="n">Skip <kbd>n</kbd></button>
<span class="soft">Space plays the sound.</span>
</p>
<p class="bar">Reject because
{% for reason in reasons %}
<button type="button" id="reason-{{ loop.index }}" data-reason="{{ reason }}">{{ reason }}
<kbd>{{ loop.index }}</kbd></button>
{% endfor %}
</p>
</main>
"""


def review_page(by: str) -> bytes:
    """The page, as UTF-8 HTML; it asks the server that it came from for each clip. by: a reviewer's name to begin
    with."""
    return render(BODY, "Traces to look at", STYLE, SCRIPT, connect=True, by=by, reasons=REASONS)
