"use strict";
const PAGE = 20, SVG = "http://www.w3.org/2000/svg";
const byId = id => document.getElementById(id);
const make = (name, attributes = {}, ...children) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children.filter(child => child !== null && child !== ""));
  return node;
};

// a live page is read anew; what was typed and chosen stays
const live = byId("live");
const remember = what => {
  try { sessionStorage.setItem("emsa", JSON.stringify(what)); } catch (_) { /* no storage */ }
};
const remembered = () => { try { return JSON.parse(sessionStorage.getItem("emsa")) || {}; } catch (_) { return {}; } };
if (live) {
  const button = byId("pause"), wait = 1000 * Number(live.dataset.seconds);
  let timer = null;
  const run = on => {
    clearTimeout(timer);
    timer = on ? setTimeout(() => location.reload(), wait) : null;
    button.textContent = on ? "Pause refreshing" : "Refresh again";
    button.setAttribute("aria-pressed", String(!on));
    remember({ ...remembered(), paused: !on });
  };
  button.onclick = () => run(timer === null);
  run(!remembered().paused);
}

const store = byId("cases");
if (store) {
  const cases = JSON.parse(store.textContent);
  const list = byId("list"), count = byId("count"), more = byId("more");
  const search = byId("search"), fields = [...document.querySelectorAll(".tools select")];
  let matching = cases, shown = 0;

  const haystack = one => one.hay ??= [one.id, one.text, one.truth, ...one.facts,
    ...one.answers.map(answer => answer.text || "")].join("\n").toLowerCase();

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = Object.fromEntries(fields.map(field => [field.name, field.value]));
    matching = cases.filter(one =>
      (!chosen.data || one.data === chosen.data) && (!chosen.truth || one.truth === chosen.truth) &&
      (!chosen.kind || one.kinds.includes(chosen.kind)) && words.every(word => haystack(one).includes(word)));
    count.textContent = `${matching.length.toLocaleString("en")} of ${cases.length.toLocaleString("en")} cases`;
    remember({ ...remembered(), search: search.value, ...chosen });
    list.replaceChildren();
    shown = 0;
    grow();
  };

  const grow = () => {
    for (const one of matching.slice(shown, shown + PAGE)) list.append(card(one));
    shown = Math.min(shown + PAGE, matching.length);
    more.hidden = shown >= matching.length;
    more.textContent = `Show ${Math.min(PAGE, matching.length - shown)} more`;
  };

  const card = one => {
    const title = make("h3", { id: `case-${one.n}` }, make("bdi", {}, one.id));
    const facts = make("p", { class: "facts" }, make("span", {}, "truth: "), make("strong", {}, one.told),
      ...one.facts.map(fact => badge(fact, "plain")), ...one.kinds.filter(kind => kind !== "has media")
        .map(kind => badge(kind, { right: "good", rescued: "good", fixed: "good", wrong: "bad", broken: "bad",
          unparsed: "bad", "false claim": "bad" }[kind] || "plain")));
    const media = one.kinds.includes("has media") ? player(one) : null;
    const words = one.text ? make("blockquote", { dir: "auto", lang: one.language }, one.text) : null;
    const answers = make("div", { class: "answers" }, ...one.answers.map(told));
    return make("article", { class: "case", "aria-labelledby": title.id }, title, facts, media, words, answers);
  };

  const badge = (text, kind) => make("span", { class: `badge ${kind}` }, text);

  const told = answer => {
    const head = make("h4", {}, answer.who, answer.verdict
      ? badge(answer.verdict, answer.right === null ? "plain" : answer.right ? "good" : "bad") : "",
      answer.reward === null ? "" : badge(`reward ${answer.reward.toFixed(2)}`, "plain"));
    return make("div", { class: "answer" }, head, answer.text === null ? null : marked(answer.text));
  };

  // tags in colour, what the short ones hold set off
  const marked = text => {
    const names = [], box = make("pre", { dir: "auto" });
    let inside = null;
    for (const piece of text.split(/(<\/?[a-z_]{1,24}>)/i)) {
      const tag = /^<(\/?)([a-z_]{1,24})>$/i.exec(piece);
      if (!tag) {
        box.append(inside && inside !== "think" && piece.length < 60 ? make("b", {}, piece) : piece);
        continue;
      }
      const name = tag[2].toLowerCase();
      if (!names.includes(name)) names.push(name);
      box.append(make("mark", { class: `t${names.indexOf(name) % 4}` }, piece));
      inside = tag[1] ? null : name;
    }
    return box;
  };

  const player = one => {
    const media = JSON.parse(byId(`media-${one.n}`).textContent);
    const strip = make("div", { class: "strip" });
    const frames = media.frames.map((uri, i) =>
      make("img", { src: uri, alt: `frame ${i + 1} of ${media.frames.length}` }));
    strip.append(...frames);
    const box = make("div", { class: "media" }, frames.length ? strip : null);
    if (!media.sound) return box;
    const drawing = document.createElementNS(SVG, "svg");
    const outline = document.createElementNS(SVG, "polygon"), head = document.createElementNS(SVG, "line");
    for (const [key, value] of Object.entries({ viewBox: "0 0 400 64", preserveAspectRatio: "none", role: "img",
      "aria-label": `waveform, ${media.seconds.toFixed(1)} seconds` })) drawing.setAttribute(key, value);
    const x = i => (400 * i / Math.max(media.wave.length - 1, 1)).toFixed(1);
    outline.setAttribute("class", "wave");
    outline.setAttribute("points", [...media.wave.map((v, i) => `${x(i)},${(32 - v * .31).toFixed(1)}`),
      ...media.wave.map((v, i) => `${x(i)},${(32 + v * .31).toFixed(1)}`).reverse()].join(" "));
    head.setAttribute("class", "head");
    head.setAttribute("y2", "64");
    drawing.append(outline, head);
    const sound = make("audio",
      { controls: "", preload: "metadata", src: media.sound, "aria-label": `sound of ${one.id}` });
    const follow = () => {
      const share = sound.currentTime / sound.duration || 0;
      head.setAttribute("x1", 400 * share);
      head.setAttribute("x2", 400 * share);
      const now = Math.round(share * (frames.length - 1));
      frames.forEach((frame, i) => frame.classList.toggle("now", i === now && !sound.ended));
      if (!sound.paused) requestAnimationFrame(follow);
    };
    sound.onplay = () => {
      for (const other of document.querySelectorAll("audio")) if (other !== sound) other.pause();
      follow();
    };
    sound.onseeked = sound.onended = follow;
    drawing.onclick = event => { // for the mouse; the player's own controls serve the keyboard
      const box = drawing.getBoundingClientRect();
      sound.currentTime = sound.duration * (event.clientX - box.left) / box.width;
      sound.play();
    };
    box.append(make("div", { class: "sound" }, drawing, sound));
    return box;
  };

  const before = remembered();
  search.value = before.search || "";
  for (const field of fields) if ([...field.options].some(option => option.value === before[field.name]))
    field.value = before[field.name];
  search.oninput = filter;
  for (const field of fields) field.onchange = filter;
  byId("clear").onclick = () => { search.value = ""; for (const field of fields) field.value = ""; filter(); };
  more.onclick = () => { // the keyboard goes on with the first new case
    const first = shown;
    grow();
    const next = list.children[first];
    if (next) { next.tabIndex = -1; next.focus({ preventScroll: true }); }
  };
  document.addEventListener("keydown", event => {
    if (event.key === "/" && !/^(input|select|textarea)$/i.test(event.target.tagName)) {
      event.preventDefault();
      search.focus();
    }
  });
  filter();
}
