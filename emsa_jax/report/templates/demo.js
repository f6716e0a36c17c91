// What the buttons and keys do; the other scripts of this page stand before it.
const KEPT = ["address", "model"];
const kept = (store, name, value) => {
  try {
    if (value === undefined) return store.getItem(name) || "";
    store.setItem(name, value);
  } catch { /* a browser that keeps nothing */ }
  return "";
};
const changed = async (side, first = false) => {
  const {name, part} = side;
  side.model = null;
  for (const field of KEPT) kept(localStorage, "emsa " + field + name, part(field).value);
  kept(sessionStorage, "emsa token" + name, part("token").value);
  part("alert").textContent = part("about").textContent = "";
  if (!addressOf(side)) return;
  try { await look(side, first); } catch (error) { part("alert").textContent = error.message; }
};
const sides = ["A", "B"].map(name => {
  const article = get("policy" + name), part = is => article.querySelector("[data-is=" + is + "]");
  const side = {name, article, part, model: null, range: null};
  for (const field of KEPT) part(field).value = kept(localStorage, "emsa " + field + name);
  part("token").value = kept(sessionStorage, "emsa token" + name);
  if (name === "A" && !part("address").value && location.protocol.startsWith("http"))
    part("address").value = location.origin + "/v1";
  for (const field of [...KEPT, "token"]) part(field).addEventListener("change", () => changed(side));
  showDial(part, null, [-1, 1], "");
  return side;
});
const shownSides = () => sides.filter(side => !side.article.hidden);
let asking = null;
const ask = async () => {
  if (asking || clip.recorder) return;
  asking = new AbortController();
  get("ask").disabled = true;
  get("stop").disabled = false;
  document.body.dataset.busy = "1";
  say("Asking …");
  if (get("policies").getBoundingClientRect().top > innerHeight - 100)  // as on a phone, where it stands below
    get("answers-title").scrollIntoView({behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth"});
  const said = await Promise.all(shownSides().map(side => askOne(side, asking.signal)));
  say([...new Set(said.filter(Boolean))].join(" "));
  asking = null;
  get("ask").disabled = false;
  get("stop").disabled = true;
  delete document.body.dataset.busy;
};
const stop = () => asking && asking.abort();
const setTwo = () => {
  const two = get("two").checked;
  sides[1].article.hidden = !two;
  document.querySelector("main").classList.toggle("two", two);
  kept(localStorage, "emsa two", two ? "1" : "0");
  if (two) changed(sides[1], true);
};
const drop = get("drop");
for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, event => {
  event.preventDefault();
  drop.classList.add("over");
});
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
for (const name of ["dragover", "drop"]) addEventListener(name, event => event.preventDefault());  // beside it: nothing
drop.addEventListener("drop", event => {
  event.preventDefault();
  if (event.dataTransfer.files[0]) takeClip(event.dataTransfer.files[0]);
});
get("file").addEventListener("change", event => {
  if (event.target.files[0]) takeClip(event.target.files[0]);
  event.target.value = "";
});
for (const button of document.querySelectorAll("[data-sample]")) button.addEventListener("click", () => {
  const {sample, name, text} = button.dataset, [head, data] = sample.split(",");
  const bytes = Uint8Array.from(atob(data), char => char.charCodeAt(0));
  get("words").value = text;
  takeClip(new File([bytes], name, {type: head.slice(5).split(";")[0]}));
});
get("record").addEventListener("click", record);
get("clear").addEventListener("click", () => { forget(); delete document.body.dataset.clip; });
get("ask").addEventListener("click", ask);
get("stop").addEventListener("click", stop);
get("two").addEventListener("change", setTwo);
video.addEventListener("timeupdate", () => {
  get("head").style.left = clip.seconds ? Math.min(100, 100 * video.currentTime / clip.seconds) + "%" : "0";
});
addEventListener("resize", drawWave);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawWave);
addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); ask(); }
  if (event.key === "Escape") stop();
});
get("two").checked = kept(localStorage, "emsa two") === "1";
setTwo();
if (addressOf(sides[0])) changed(sides[0], true);
