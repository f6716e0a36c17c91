// An answer, as far as it has come: its polarity and score, and what of its reasoning is about what.
const MODALITIES = {
  words: /\b(words?|texts?|say(s|ing)?|said|transcript|utterances?|phras\w+|sentences?|wording)\b|文字|话语|台词|言语/i,
  face: /\b(fac(e|es|ial)|smil\w+|frown\w*|(eye)?brows?|mouth|lips?|eyes?|gaze|nod\w*|expressions?|gestur\w+)\b|表情|脸|嘴|眉|眼/i,
  voice: /\b(voices?|vocal|tones?|pitch|loud\w*|intonation|tempo|sounds?|audio|prosod\w+)\b|声音|语气|语调|音/i,
};
const LABELS = {words: "words|text|transcript|文字|话语", face: "face|video|visual|表情", voice: "voice|audio|sound|声音"};
const reasonsOf = text => {
  const found = {words: [], face: [], voice: [], together: []};
  const clauses = text.split(/(?:^|\s)\d+[.)、]\s+|(?<=[.!?])\s+(?!\d+[.)]\s)|(?<=[。！？])/);
  for (const clause of clauses.map(one => one && one.trim()).filter(Boolean)) {
    const label = Object.keys(LABELS).find(name => new RegExp("^(" + LABELS[name] + ")\\s*[:：]", "i").test(clause));
    const named = Object.keys(MODALITIES).filter(name => MODALITIES[name].test(clause));
    const about = label || (named.length === 1 ? named[0] : "together");
    found[about].push(label ? clause.replace(/^[^:：]*[:：]\s*/, "") : clause);
  }
  return found;
};
const ofTag = (text, tag) => {
  const found = new RegExp("<" + tag + ">([\\s\\S]*?)(?:</" + tag + ">|$)").exec(text);
  return found ? found[1].trim() : null;
};
// what can be read of a text: our tags, or an object of JSON with the same names
const readAnswer = text => {
  try {
    const {polarity = null, score = null, reasoning = null} = JSON.parse(text);
    return {polarity, score: typeof score === "number" ? score : null, reasoning};
  } catch { /* which most answers are not */ }
  const closed = text.includes("</score>") ? ofTag(text, "score") : null;
  const score = closed === null || closed === "" ? NaN : Number(closed);
  return {polarity: text.includes("</polarity>") ? ofTag(text, "polarity") : null,
    score: Number.isFinite(score) ? score : null, reasoning: ofTag(text, "think")};
};
const signed = value => (value > 0 ? "+" : value < 0 ? "−" : "") + String(Math.abs(Math.round(value * 100) / 100));
const point = (part, radius) => {
  const angle = Math.PI * (1 - part);
  return [100 + radius * Math.cos(angle), 100 - radius * Math.sin(angle)].map(value => value.toFixed(2));
};
// part: functions of an article, by the name of what they fill; range: [lowest, highest] score
const showDial = (part, score, range, polarity) => {
  const place = value => Math.min(1, Math.max(0, (value - range[0]) / (range[1] - range[0])));
  part("low").textContent = signed(range[0]);
  part("middle").textContent = signed((range[0] + range[1]) / 2);
  part("high").textContent = signed(range[1]);
  part("needle").setAttribute("visibility", score === null ? "hidden" : "visible");
  part("dial").setAttribute("class", polarity || "");
  if (score === null) {
    part("arc").setAttribute("d", "");
    part("dial").setAttribute("aria-label", "no score yet");
    return;
  }
  const at = place(score), zero = place((range[0] + range[1]) / 2), [from, to] = at < zero ? [at, zero] : [zero, at];
  part("arc").setAttribute("d", "M " + point(from, 84).join(" ") + " A 84 84 0 0 1 " + point(to, 84).join(" "));
  const [x, y] = point(at, 68);
  part("needle").setAttribute("x2", x);
  part("needle").setAttribute("y2", y);
  part("dial").setAttribute("aria-label", "score " + score + ", of " + range[0] + " to " + range[1]);
};
const rows = (list, pairs) => list.replaceChildren(...pairs.flatMap(([name, value]) => {
  const title = document.createElement("dt"), said = document.createElement("dd");
  title.textContent = name;
  said.textContent = value;
  said.dir = "auto";
  return [title, said];
}));
const showAnswer = (part, text, read, range) => {
  const polarity = ["Positive", "Neutral", "Negative"].includes(read.polarity) ? read.polarity : "";
  part("polarity").textContent = read.sentiment || read.polarity || "–";
  part("polarity").className = "polarity " + polarity;
  part("score").textContent = read.score === null ? "" : "score " + signed(read.score);
  part("text").textContent = text;
  const reasons = reasonsOf(read.reasoning || "");
  rows(part("reasons"), Object.entries(reasons).filter(pair => pair[1].length).map(([name, all]) => [name, all.join(" ")]));
  showDial(part, read.score, range, polarity);
};
const showSeen = (part, emsa, sent) => {
  const seen = (emsa && emsa.seen) || {}, prompt = emsa && emsa.prompt, found = [["sent", sent]];
  if (seen.frames) found.push(["seen", seen.frames + " frames" +
    (seen.frame_rate ? ", " + Math.round(seen.frame_rate * 100) / 100 + " a second" : "")]);
  if (seen.audio_seconds) found.push(["heard", seconds(seen.audio_seconds) + " of sound"]);
  if (seen.text) found.push(["read", seen.text]);
  if (prompt) found.push(["prompt", prompt.tokens + " tokens" + (prompt.media || []).map(one =>
    ", " + one.kind + " at " + one.first + " to " + (one.first + one.tokens - 1)).join("")]);
  rows(part("seen"), found);
  part("prompt").hidden = !prompt;
  part("prompt").textContent = prompt ? prompt.text : "";
};
