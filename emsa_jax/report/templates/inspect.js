const sounds = [...document.querySelectorAll("audio")];
for (const sound of sounds) {
  const clip = sound.closest("article"), line = clip.querySelector(".head");
  const strip = clip.querySelector(".strip"), frames = strip ? [...strip.children] : [];
  const follow = () => {
    const x = 400 * (sound.currentTime / sound.duration || 0);
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    const share = strip ? Math.min(sound.currentTime / strip.dataset.seconds, 1) : 0;
    const now = Math.round(share * (frames.length - 1));
    frames.forEach((frame, i) => frame.classList.toggle("now", i === now && !sound.ended));
    if (!sound.paused) requestAnimationFrame(follow);
  };
  sound.onplay = () => { sounds.forEach(other => other === sound || other.pause()); follow(); };
  sound.onseeked = sound.onended = follow;
}
