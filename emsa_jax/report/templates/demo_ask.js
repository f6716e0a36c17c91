// One question to one address: what is sent, the stream that comes back, and what went wrong in words.
class Told extends Error {}
const base64 = async blob => {
  const bytes = new Uint8Array(await blob.arrayBuffer()), parts = [];
  for (let i = 0; i < bytes.length; i += 32768) parts.push(String.fromCharCode(...bytes.subarray(i, i + 32768)));
  return btoa(parts.join(""));
};
// 16 kHz, mono, 16 bits: what every server reads
const wav = async sound => {
  const context = new OfflineAudioContext(1, Math.max(1, Math.ceil(sound.duration * RATE)), RATE);
  const source = context.createBufferSource();
  source.buffer = sound;
  source.connect(context.destination);
  source.start();
  const samples = (await context.startRendering()).getChannelData(0), view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, chars) => [...chars].forEach((char, i) => view.setUint8(at + i, char.charCodeAt(0)));
  text(0, "RIFF"); text(8, "WAVEfmt "); text(36, "data");
  [[4, 36 + 2 * samples.length], [16, 16], [24, RATE], [28, 2 * RATE], [40, 2 * samples.length]].forEach(([at, value]) =>
    view.setUint32(at, value, true));
  [[20, 1], [22, 1], [32, 2], [34, 16]].forEach(([at, value]) => view.setUint16(at, value, true));
  samples.forEach((one, i) => view.setInt16(44 + 2 * i, Math.max(-1, Math.min(1, one)) * 32767, true));
  return new Blob([view], {type: "audio/wav"});
};
const jpegUri = canvas => canvas.toDataURL("image/jpeg", 0.9);
// {parts, told}: the parts of the message, and what they are in words. takes: modalities of the policy, null if unknown
const partsOf = async (how, words, takes) => {
  const parts = [], told = [], may = kind => !takes || takes.includes(kind), {file, kind, sound} = clip;
  const addSound = async () => {
    if (!sound || !may("audio")) return;
    parts.push({type: "input_audio", input_audio: {data: await base64(await wav(sound)), format: "wav"}});
    told.push(seconds(sound.duration) + " of sound");
  };
  const addImage = canvas => parts.push({type: "image_url", image_url: {url: jpegUri(canvas)}});
  if (file && kind === "image" && may("video")) {
    const [{canvas}] = await pictures(file, kind, 1, 1280);
    addImage(canvas);
    told.push("a picture");
  } else if (file && kind === "video" && how === "video" && may("video")) {
    const type = file.type.split(";")[0] || "video/mp4";
    parts.push({type: "video_url", video_url: {url: "data:" + type + ";base64," + await base64(file)}});
    told.push("a video");
  } else if (file && kind === "video" && ["frames", "both"].includes(how) && may("video")) {
    const found = await pictures(file, kind, FRAMES, 640);
    found.forEach(({canvas}) => addImage(canvas));
    told.push(found.length + " frames");
    if (how === "both") await addSound();
  } else if (file && kind !== "image") await addSound();
  if (words) told.push("words");
  if (!told.length) throw new Told(file ? "The policy takes no part of this clip: it takes " + (takes || []).join(", ") + "."
    : "Choose a clip, or write what is said.");
  return {parts, told: told.join(", ")};
};
const describeFault = async (response, address) => {
  let reason = "";
  try { const body = await response.json(); reason = (body.error && body.error.message) || body.message || ""; } catch { /* no JSON */ }
  const wait = response.headers.get("retry-after"), because = reason ? " It says: " + reason : "";
  return {
    400: "The server does not take this question." + because,
    401: "The server wants a token, or another one: see Where it is asked.",
    403: "The server refuses this page." + because,
    404: "There is no such model, or no such address: " + address + "." + because,
    413: "The clip is too large for the server." + because,
    422: "The server does not take this question." + because,
    429: "The server is busy; ask again " + (wait ? "in " + wait + " s." : "later."),
    503: "The server is not ready." + because,
    504: "The server took too long." + because,
  }[response.status] || "The server answers " + response.status + "." + because;
};
const headers = side => {
  const token = side.part("token").value.trim();
  return {"content-type": "application/json", ...(token ? {authorization: "Bearer " + token} : {})};
};
const addressOf = side => side.part("address").value.trim().replace(/\/+$/, "");
const reach = async (url, options) => {
  try { return await fetch(url, {cache: "no-store", ...options}); } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Told("Nothing answers at " + url + ": start the server, or let it allow pages from " + location.origin + ".");
  }
};
// the lines of a stream as objects; a server that does not stream sends one object
const replies = async function* (response) {
  if (!(response.headers.get("content-type") || "").includes("event-stream")) {
    try { yield await response.json(); } catch { throw new Told("The server's answer is no JSON."); }
    return;
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let kept = "", ended = false;
  while (!ended) {
    const {value, done} = await reader.read().catch(error => {
      if (error.name === "AbortError") throw error;
      throw new Told("The connection broke in the middle of the answer.");
    });
    const lines = (kept + (value || "")).split(/\r?\n/);
    kept = done ? "" : lines.pop();
    for (const line of lines.filter(one => one.startsWith("data:"))) {
      const data = line.slice(5).trim();
      if (data === "[DONE]") { ended = true; break; }
      let found;
      try { found = JSON.parse(data); } catch { throw new Told("The server's stream is no JSON."); }
      if (found.error) throw new Told("The server stopped. It says: " + (found.error.message || found.error));
      yield found;
    }
    if (done && !ended) throw new Told("The answer ended before it was complete.");
  }
};
const number = id => get(id).value === "" ? undefined : Number(get(id).value);
const bodyOf = async side => {
  const ours = side.model && side.model.emsa, words = get("words").value.trim();
  const {parts, told} = await partsOf(get("sent").value, words, ours ? ours.modalities : null);
  const question = get("question").value.replaceAll("{low}", get("low").value).replaceAll("{high}", get("high").value);
  const text = ours ? words : question + (words ? "\nWords: " + words : "");
  const content = text ? [...parts, {type: "text", text}] : parts;
  const body = {model: side.part("model").value.trim(), messages: [{role: "user", content}], stream: true,
    stream_options: {include_usage: true}, temperature: number("temperature"), max_tokens: number("max_tokens")};
  return {body: ours ? {...body, show_prompt: true} : body, told};
};
const pause = (wait, signal) => new Promise((done, fail) => {
  const timer = setTimeout(done, wait);
  if (signal) signal.addEventListener("abort", () => { clearTimeout(timer); fail(new DOMException("stopped", "AbortError")); }, {once: true});
});
// the reply, once a server that still compiles has done so; it may have done so between two looks at it
const ready = async (url, options, side) => {
  for (let ends = false; ; ) {
    const response = await reach(url, options);
    if (response.status !== 503 || ends) return response;
    const health = await fetch(new URL("/health", url)).then(one => one.json()).catch(() => ({}));
    if (!["compiling", "ok"].includes(health.status)) return response;
    ends = health.status === "ok";
    side.part("facts").textContent = "the policy is still being compiled …";
    await pause(ends ? 200 : 2000, options.signal);
  }
};
const askOne = async (side, signal) => {
  const {part} = side, url = addressOf(side) + "/chat/completions", begun = performance.now();
  const range = () => side.range || [number("low") ?? -1, number("high") ?? 1];
  let text = "", emsa = null, usage = null, first = 0, finish = "";
  part("alert").textContent = "";
  showAnswer(part, "", readAnswer(""), range());
  rows(part("seen"), []);
  part("prompt").hidden = true;
  part("facts").textContent = "asking …";
  side.article.classList.add("busy");
  try {
    if (!side.model) await look(side, false, signal);
    const {body, told} = await bodyOf(side);
    const response = await ready(url, {method: "POST", headers: headers(side), body: JSON.stringify(body), signal}, side);
    if (!response.ok) throw new Told(await describeFault(response, url));
    for await (const found of replies(response)) {
      const choice = (found.choices || [])[0] || {};
      first = first || performance.now();
      text += (choice.delta || choice.message || {}).content || "";
      finish = choice.finish_reason || finish;
      emsa = found.emsa || emsa;
      usage = found.usage || usage;
      showAnswer(part, text, readAnswer(text), range());
    }
    if (emsa) {
      side.range = emsa.score_range || side.range;
      showAnswer(part, text, emsa, range());
    }
    const read = emsa || readAnswer(text), took = (performance.now() - begun) / 1000;
    showSeen(part, emsa, told);
    part("facts").textContent = ["after " + seconds(took), first && "first words after " + seconds((first - begun) / 1000),
      usage && usage.completion_tokens + " tokens", finish === "length" && "cut off: too few tokens"].filter(Boolean).join(" · ");
    if (!text.trim()) throw new Told("The server answered with nothing.");
    if (read.polarity === null && read.score === null)
      part("alert").textContent = "The answer names no polarity and no score; it stands below as it was written.";
    return "Policy " + side.name + ": " + (read.polarity || "no polarity") +
      (read.score === null ? "" : ", score " + signed(read.score)) + ".";
  } catch (error) {
    part("facts").textContent = "";
    if (error.name === "AbortError") return "Stopped.";
    part("alert").textContent = error instanceof Told ? error.message : "This page failed: " + error.message;
    return "";
  } finally { side.article.classList.remove("busy"); }
};
// what the address serves: its models, and what ours say of themselves. kept: the name of the model is of an earlier
// visit, and another one is taken where it is served no more
const look = async (side, kept = false, signal = undefined) => {
  const {part} = side, address = addressOf(side);
  if (!/^https?:\/\/./.test(address)) throw new Told("Say where to ask: an address such as http://localhost:8000/v1.");
  const response = await ready(address + "/models", {headers: headers(side), signal}, side);
  if (!response.ok) throw new Told(await describeFault(response, address + "/models"));
  let models;
  try { models = (await response.json()).data.filter(one => one.id); } catch { throw new Told(address + " names no models; is it an address up to /v1?"); }
  part("models").replaceChildren(...models.map(one => new Option(one.id)));
  const served = models.some(one => one.id === part("model").value);
  if (!part("model").value || kept && !served) part("model").value = models.length ? models[0].id : "";
  part("facts").textContent = side.article.classList.contains("busy") ? "asking …" : "";
  side.model = models.find(one => one.id === part("model").value) || {};
  const about = side.model.emsa;
  side.range = about ? about.score_range : null;
  part("name").textContent = part("model").value;
  part("about").textContent = about ? "a policy of emsa_jax: takes " + about.modalities.join(", ") + "; answers as " +
    about.format + "; asks in its own words" : models.length + " models; the question is the one of How it is asked";
  showDial(part, null, side.range || [number("low") ?? -1, number("high") ?? 1], "");
};
