"""What the page of `inspect` is made of: its own style and script, and its body as a Jinja template."""

from emsa_jax.report.page import TABLE

STYLE = """
article { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; margin: 1rem 0; }
blockquote { margin: .7rem 0; padding-inline-start: .8rem; border-inline-start: 3px solid var(--line);
  white-space: pre-line; }
.strip { display: flex; flex-wrap: wrap; gap: 4px; margin: .5rem 0; }
.strip img { height: 5.5rem; width: auto; max-width: 100%; border: 3px solid transparent; border-radius: 4px; }
.strip img.now { border-color: var(--mark); }
.sound svg { height: 4rem; }
.wave { fill: var(--mark); }
.head { stroke: var(--warn); stroke-width: 2; }
.sound line { vector-effect: non-scaling-stroke; }
audio { display: block; width: 100%; max-width: 30rem; margin: .5rem 0; }
"""

# one sound at a time; the line on the waveform and the frame that the policy sees at that time follow it
SCRIPT = """
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
"""

BODY = (
    TABLE
    + """
<header>
<h1>{{ title }}</h1>
<p class="soft">{{ told }}</p>
<nav aria-label="On this page"><ul>
<li><a href="#counts">Counts</a></li>
<li><a href="#lengths">Lengths</a></li>
<li><a href="#samples">Samples</a></li>
<li><a href="#quarantined">Quarantined</a></li>
<li><a href="#made">How it was made</a></li>
</ul></nav>
</header>
<main>
{% if known %}
<dl>
{% for name, value in known %}<dt>{{ name }}</dt><dd>{{ value }}</dd>{% endfor %}
</dl>
{% endif %}
<section id="counts" aria-labelledby="counts-title">
<h2 id="counts-title">Counts</h2>
<div class="tables">
{% for one in tables %}{{ table(*one) }}{% endfor %}
</div>
{% if not counts.official.samples %}
<p class="soft">No official numbers are at hand.
{% if not counts.dataset %}Name the data set with --config.dataset=NAME to compare.{% endif %}</p>
{% elif counts.quarantined %}
<p>{{ counts.quarantined }} more were <a href="#quarantined">quarantined</a>.</p>
{% endif %}
</section>
<section id="lengths" aria-labelledby="lengths-title">
<h2 id="lengths-title">Lengths</h2>
<div class="grid">
{% for chart in charts %}<figure>{{ chart }}</figure>{% endfor %}
</div>
{{ table(*lengths) }}
</section>
<section id="samples" aria-labelledby="samples-title">
<h2 id="samples-title">Samples</h2>
<p class="soft">{{ cards | length }} of {{ "{:,}".format(total) }} clips, as the policy will get them:
every split and class once before any comes twice, spread evenly over the set.</p>
{% for clip in cards %}
<article aria-labelledby="clip-{{ loop.index }}">
<h3 id="clip-{{ loop.index }}"><bdi>{{ clip.id }}</bdi></h3>
<p>{% for fact in clip.facts %}<bdi>{{ fact }}</bdi>{{ " · " if not loop.last }}{% endfor %}</p>
{% if clip.frames %}
<div class="strip" data-seconds="{{ clip.seconds }}">
{% for uri, told in clip.frames %}<img src="{{ uri }}" alt="{{ told }}">{% endfor %}
</div>
{% endif %}
{% if clip.sound %}
<div class="sound">{{ clip.wave }}</div>
<audio controls preload="metadata" src="{{ clip.sound }}" aria-label="sound of clip {{ loop.index }}"></audio>
{% endif %}
<p class="soft">{{ clip.notes | join("; ") }}</p>
{% if clip.text %}<blockquote lang="{{ clip.language }}" dir="auto">{{ clip.text }}</blockquote>{% endif %}
{% if clip.concepts %}
<dl>
{% for name, value in clip.concepts %}<dt>{{ name }}</dt><dd dir="auto">{{ value }}</dd>{% endfor %}
</dl>
{% endif %}
</article>
{% endfor %}
</section>
<section id="quarantined" aria-labelledby="quarantined-title">
<h2 id="quarantined-title">Quarantined</h2>
{% if quarantined %}
<div class="scroll tall" role="region" aria-label="Quarantined items" tabindex="0">
<table>
<caption>{{ quarantined | length }} items that could not be used, and why</caption>
<thead><tr><th scope="col">id</th><th scope="col">reason</th></tr></thead>
<tbody>
{% for item in quarantined %}
<tr><th scope="row"><bdi>{{ item.id }}</bdi></th><td dir="auto">{{ item.reason }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
{% else %}<p>None: every item of the source is in the set.</p>{% endif %}
</section>
<section id="made" aria-labelledby="made-title">
<h2 id="made-title">How it was made</h2>
<dl>
{% for name, value in made.items() %}<dt>{{ name }}</dt><dd>{{ value }}</dd>{% endfor %}
</dl>
</section>
</main>
"""
)
