// The clip: chosen, dropped, recorded or drawn, with its waveform and frames.
const get = id => document.getElementById(id);
const FRAMES = 8, RECORD_SECONDS = 30, RATE = 16000;
const video = get("video"), wave = get("wave");
const clip = {file: null, kind: "", sound: null, seconds: 0, recorder: null};
const say = text => { get("said").textContent = text; };
const seconds = value => value.toFixed(1) + " s";
const once = (target, name, wait = 8000) => new Promise((done, fail) => {
  const late = setTimeout(() => fail(new Error("no " + name)), wait);
  target.addEventListener(name, event => { clearTimeout(late); done(event); }, {once: true});
  target.addEventListener("error", () => { clearTimeout(late); fail(new Error("error")); }, {once: true});
});
const kindOf = file => {
  const named = file.type.split("/")[0];
  if (["video", "audio", "image"].includes(named)) return named;
  if (/\.(mp4|mkv|mov|avi|webm|flv)$/i.test(file.name)) return "video";
  if (/\.(wav|mp3|flac|ogg|m4a)$/i.test(file.name)) return "audio";
  return /\.(jpe?g|png|webp|bmp)$/i.test(file.name) ? "image" : "";
};
const forget = () => {
  if (video.src) URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  video.srcObject = null;
  Object.assign(clip, {file: null, kind: "", sound: null, seconds: 0});
  get("frames").replaceChildren();
  get("clip").hidden = true;
};
const takeClip = async file => {
  forget();
  const kind = kindOf(file);
  if (!kind) return say(file.name + " is no video, sound or picture.");
  Object.assign(clip, {file, kind});
  get("clip").hidden = false;
  video.hidden = kind === "image";
  video.classList.toggle("sound", kind === "audio");
  wave.parentElement.hidden = kind === "image";
  get("facts").textContent = "reading " + file.name + " …";
  if (kind !== "image") video.src = URL.createObjectURL(file);
  const parts = await Promise.all([readSound(file, kind), showFrames(file, kind)]);
  if (clip.file !== file) return;
  const size = file.size < 1e5 ? Math.ceil(file.size / 1e3) + " kB" : (file.size / 1e6).toFixed(1) + " MB";
  get("facts").textContent = [file.name, size, ...parts.filter(Boolean)].join(" · ");
  document.body.dataset.clip = file.name;
  say("");
};
const readSound = async (file, kind) => {
  if (kind === "image") return "";
  try {
    const context = new OfflineAudioContext(1, 1, RATE);
    const sound = await context.decodeAudioData(await file.arrayBuffer());
    if (clip.file !== file) return "";
    clip.sound = sound;
    clip.seconds = sound.duration;
    drawWave();
    return seconds(sound.duration) + " of sound";
  } catch { drawWave(); return "no sound that this browser can read"; }
};
const drawWave = () => {
  const scale = devicePixelRatio || 1, pen = wave.getContext("2d");
  wave.width = Math.max(1, wave.clientWidth * scale);
  wave.height = Math.max(1, wave.clientHeight * scale);
  wave.setAttribute("aria-label", clip.sound ? "waveform of " + seconds(clip.sound.duration) : "no sound");
  if (!clip.sound) return;
  const samples = clip.sound.getChannelData(0), step = samples.length / wave.width, middle = wave.height / 2;
  const loudest = samples.reduce((most, one) => Math.max(most, Math.abs(one)), 1e-4);
  pen.fillStyle = getComputedStyle(wave).getPropertyValue("--mark");
  for (let x = 0; x < wave.width; x++) {
    let most = 0;
    for (let i = Math.floor(x * step); i < (x + 1) * step; i++) most = Math.max(most, Math.abs(samples[i] || 0));
    const height = Math.max(1, most / loudest * (wave.height - 4));
    pen.fillRect(x, middle - height / 2, 1, height);
  }
};
const drawn = (picture, width, height, most) => {
  const canvas = document.createElement("canvas"), part = Math.min(1, most / Math.max(width, height, 1));
  canvas.width = Math.max(1, Math.round(width * part));
  canvas.height = Math.max(1, Math.round(height * part));
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas;
};
// pictures of a file, as canvases, evenly spaced; a recording of the webcam says its length only once it was searched
const pictures = async (file, kind, count, most) => {
  if (kind === "image") {
    const picture = await createImageBitmap(file);
    return [{at: 0, canvas: drawn(picture, picture.width, picture.height, most)}];
  }
  const reader = document.createElement("video"), url = URL.createObjectURL(file), found = [];
  reader.muted = true;
  reader.preload = "auto";
  try {
    reader.src = url;
    await once(reader, "loadeddata");
    if (!Number.isFinite(reader.duration)) {
      reader.currentTime = 1e7;
      await once(reader, "seeked");
    }
    const length = Number.isFinite(reader.duration) ? reader.duration : reader.currentTime;
    for (let i = 0; reader.videoWidth && i < count; i++) {
      const at = length * (i + 0.5) / count;
      reader.currentTime = at;
      await once(reader, "seeked");
      found.push({at, canvas: drawn(reader, reader.videoWidth, reader.videoHeight, most)});
    }
    found.seconds = length;
    found.size = reader.videoWidth + " × " + reader.videoHeight;
    return found;
  } finally { URL.revokeObjectURL(url); }
};
const showFrames = async (file, kind) => {
  if (kind === "audio") return "";
  try {
    const found = await pictures(file, kind, FRAMES, 320);
    if (clip.file !== file) return "";
    clip.seconds = Math.max(clip.seconds, found.seconds || 0);
    get("frames").replaceChildren(...found.map(({at, canvas}) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-label", kind === "image" ? "the picture" : "frame at " + seconds(at));
      button.append(canvas);
      button.addEventListener("click", () => { if (kind === "video") video.currentTime = at; });
      return button;
    }));
    return kind === "image" ? "a picture" : seconds(found.seconds || 0) + " of video, " + found.size;
  } catch { return "this browser cannot show its pictures; the policy may still read them"; }
};
const NO_CAMERA = {NotAllowedError: "The browser was not allowed to use the webcam; allow it beside the address.",
  NotFoundError: "There is no webcam or microphone.", NotReadableError: "Another program uses the webcam."};
const record = async () => {
  if (clip.recorder) return clip.recorder.stop();
  if (!navigator.mediaDevices) return say("Browsers record only on pages of https:// or of localhost.");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({video: {width: 640, height: 480}, audio: true});
  } catch (error) { return say(NO_CAMERA[error.name] || "The webcam does not work: " + error.message); }
  forget();
  const type = ["video/webm;codecs=vp8,opus", "video/mp4"].find(one => MediaRecorder.isTypeSupported(one));
  const recorder = clip.recorder = new MediaRecorder(stream, {mimeType: type}), parts = [], begun = Date.now();
  get("clip").hidden = video.hidden = false;
  wave.parentElement.hidden = true;
  video.classList.remove("sound");
  video.muted = true;
  video.srcObject = stream;
  video.play();
  const button = get("record"), told = () => {
    const gone = Math.round((Date.now() - begun) / 1000);
    button.textContent = "Stop recording (" + gone + " s)";
    if (gone >= RECORD_SECONDS) recorder.stop();
  };
  const clock = setInterval(told, 500);
  told();
  button.classList.add("on");
  recorder.addEventListener("dataavailable", event => parts.push(event.data));
  recorder.addEventListener("stop", () => {
    clearInterval(clock);
    stream.getTracks().forEach(track => track.stop());
    clip.recorder = null;
    button.textContent = "Record with the webcam";
    button.classList.remove("on");
    video.muted = false;
    const kind = recorder.mimeType.split(";")[0];
    takeClip(new File(parts, "webcam." + kind.split("/")[1], {type: kind}));
  });
  recorder.start(500);
};
