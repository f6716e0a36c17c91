"""The body of a run's page, as a Jinja template."""

BODY = """
{% macro table(one) %}
<div class="scroll" role="region" aria-label="{{ one.caption }}" tabindex="0">
<table>
<caption>{{ one.caption }}</caption>
<thead><tr>{% for name in one.columns %}<th scope="col"{% if not loop.first %} class="n"{% endif %}>{{ name }}</th>
{% endfor %}</tr></thead>
<tbody>
{% for row in one.rows %}
<tr{% if row.quiet %} class="quiet"{% endif %}><th scope="row"><bdi>{{ row.name }}</bdi></th>
{% for cell in row.cells %}
<td class="n">{{ cell.value }}{% if cell.note %}<small>{{ cell.note }}</small>{% endif %}</td>
{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endmacro %}
{% macro figures(drawn, kind="") %}
<div class="plots {{ kind }}">
{% for one in drawn %}<figure>{{ one }}</figure>
{% endfor %}
</div>
{% endmacro %}
<header>
<h1>{{ title }}</h1>
<p class="lead">{{ lead }}</p>
{% if tiles %}
<dl class="tiles">
{% for name, value, note in tiles %}<div><dt>{{ name }}</dt><dd>{{ value }}<small>{{ note }}</small></dd></div>
{% endfor %}
</dl>
{% endif %}
{% if live %}
<div class="live" id="live" data-seconds="{{ live }}"><span>This run is still at work; the page is read anew every
{{ live }} seconds.</span><button type="button" id="pause" aria-pressed="false">Pause refreshing</button></div>
{% endif %}
<nav aria-label="On this page"><ul>
{% for section in sections %}<li><a href="#{{ section.id }}">{{ section.title }}</a></li>
{% endfor %}
{% if total_cases %}<li><a href="#browse">Cases</a></li>{% endif %}
<li><a href="#made">How it was made</a></li>
</ul></nav>
</header>
<main>
{% for section in sections %}
<section id="{{ section.id }}" aria-labelledby="{{ section.id }}-title">
<h2 id="{{ section.id }}-title">{{ section.title }}</h2>
{% if section.told %}<p class="soft">{{ section.told }}</p>{% endif %}
{% if section.drawn %}{{ figures(section.drawn, section.kind) }}{% endif %}
{% if section.tables %}<div class="tables">{% for one in section.tables %}{{ table(one) }}{% endfor %}</div>{% endif %}
{% if section.folded %}
<details><summary>{{ section.folded_title }}</summary>
{% for one in section.folded %}{{ table(one) }}{% endfor %}
</details>
{% endif %}
</section>
{% endfor %}
{% if total_cases %}
<section id="browse" aria-labelledby="browse-title">
<h2 id="browse-title">Cases</h2>
<p class="soft">{{ cases_told }}</p>
<div class="tools" role="search" aria-label="Cases">
<label>Search <input type="search" id="search" placeholder="id, words, answer (press /)" autocomplete="off"></label>
{% for field in fields %}
<label>{{ field.title }}
<select name="{{ field.name }}"><option value="">all</option>
{% for value in field.choices %}<option value="{{ value }}">{{ value }}</option>
{% endfor %}</select></label>
{% endfor %}
<button type="button" id="clear">Clear</button>
<p id="count" role="status">{{ "{:,}".format(total_cases) }} cases</p>
</div>
<div id="list"></div>
<p class="more"><button type="button" id="more">Show more</button></p>
<noscript><p>The browser of cases needs this page's own script; everything else does not.</p></noscript>
</section>
{% endif %}
<section id="made" aria-labelledby="made-title">
<h2 id="made-title">How it was made</h2>
{% for caption, values in made %}
<details{% if loop.first %} open{% endif %}><summary>{{ caption }}</summary>
<dl>
{% for name, value in values %}<dt>{{ name }}</dt><dd>{{ value }}</dd>
{% endfor %}
</dl></details>
{% endfor %}
</section>
</main>
{{ data }}
"""
