# ruff: noqa: E501
"""The page's HTML and its style; Jinja escapes every value, and the policy forbids the page to load anything."""

STYLE = """
:root { --ink: #23262b; --muted: #6a7078; --line: #e3e6ea; --pale: #f6f7f9; --valence: #0072b2; --arousal: #c44e00;
  --audio: #b0578d; --visual: #008a66; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fff; font: 16px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 8px 0 12px; }
h2 { font-size: 1.2rem; margin: 44px 0 8px; padding-top: 12px; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 22px 0 4px; overflow-wrap: anywhere; }
p { margin: 6px 0 12px; max-width: 46em; } .muted, figcaption small { color: var(--muted); }
.lead { font-size: 1.08rem; } .warn { background: #fff6e0; border-left: 4px solid #e0a100; padding: 8px 12px; }
nav { font-size: .92rem; } nav a { margin-right: 14px; white-space: nowrap; } a { color: #0b5cad; }
.scroll { overflow-x: auto; margin: 8px 0 12px; }
table { border-collapse: separate; border-spacing: 0; font-size: .9rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: 6px 8px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; color: var(--muted); vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
tr.main td { font-weight: 600; background: #eef5fb; } tr.oracle td { color: var(--muted); }
td small { color: var(--muted); font-weight: 400; }
td.bar { width: 18%; min-width: 110px; }
.ci { position: relative; height: 18px; background: linear-gradient(90deg, var(--line) 1px, transparent 1px) 0 0 / 25% 100%; }
.ci i { position: absolute; top: 8px; height: 2px; background: var(--ink); }
.ci b { position: absolute; top: 4px; width: 10px; height: 10px; margin-left: -5px; border-radius: 50%;
  background: var(--valence); } .oracle .ci b { background: #9aa0a8; } .oracle .ci i { background: #9aa0a8; }
.dots { display: grid; grid-template-columns: 70px 1fr; gap: 6px 10px; font-size: .85rem; align-items: center; }
.dots > div { position: relative; height: 22px; background: var(--pale); border-radius: 4px; }
.dots > div i { position: absolute; top: 6px; width: 10px; height: 10px; margin-left: -5px; border-radius: 50%; opacity: .6; }
.dots > div b { position: absolute; top: 2px; bottom: 2px; width: 2px; background: var(--ink); }
.dots .scale { background: none; height: 16px; } .dots .scale span { position: absolute; transform: translateX(-50%);
  color: var(--muted); font-size: .75rem; }
.i-valence { background: var(--valence); } .i-arousal { background: var(--arousal); }
figure { margin: 22px 0 34px; } figcaption { margin-bottom: 4px; }
.thumbs { display: flex; gap: 4px; margin-left: 208px; justify-content: space-around; }
.thumbs img, .thumbs span { width: 56px; height: 56px; border-radius: 4px; background: var(--pale); display: grid;
  place-items: center; font-size: .65rem; color: var(--muted); text-align: center; }
.row { display: grid; grid-template-columns: 208px 1fr; align-items: center; }
.row > span { font-size: .78rem; line-height: 1.2; padding-right: 8px; overflow-wrap: anywhere; }
.row svg { width: 100%; display: block; } .panel svg { height: 132px; background: var(--pale); margin: 4px 0; }
.strip svg { height: 10px; margin: 3px 0; background: var(--pale); } .band svg { height: 14px; margin: 2px 0; background: #fff; }
.band { padding-top: 4px; }
.band small { color: var(--muted); display: block; }
svg path { fill: none; vector-effect: non-scaling-stroke; } .truth { stroke: #3b3f46; stroke-width: 2.4; }
.zero { stroke: #d3d7dc; stroke-width: 1; } .raw { stroke-width: .8; opacity: .55; } .smooth { stroke-width: 1.9; }
.valence { stroke: var(--valence); } .arousal { stroke: var(--arousal); } .unlabelled { fill: #dfe3e8; }
.t-valence { color: var(--valence); } .t-arousal { color: var(--arousal); }
.k-audio rect { fill: var(--audio); } .k-visual rect { fill: var(--visual); } .k-known rect { fill: #9aa0a8; }
.band rect { fill: #4b2e83; }
.axis { margin-left: 208px; position: relative; height: 18px; font-size: .75rem; color: var(--muted); }
.axis span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
.axis span:first-child { transform: none; }
.key { font-size: .85rem; } .key i { display: inline-block; width: 18px; height: 3px; vertical-align: middle; margin: 0 5px 0 12px; }
dl { display: grid; grid-template-columns: minmax(110px, 200px) 1fr; gap: 4px 16px; font-size: .93rem; }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 600px) { body { font-size: 15px; } main { padding: 12px 14px 48px; } h1 { font-size: 1.35rem; }
  .row { grid-template-columns: 1fr; } .row > span { padding: 4px 0 0; } .axis, .thumbs { margin-left: 0; }
  .thumbs > :nth-child(even) { display: none; } .strip svg, .band svg { margin: 0; } .band small { display: inline; }
  .panel svg { height: 110px; } dl { grid-template-columns: 1fr; } dt { margin-top: 6px; } dd { padding-left: 10px; }
  .dots { grid-template-columns: 58px 1fr; } th:first-child, td:first-child { min-width: 122px; max-width: 150px; white-space: normal; overflow-wrap: anywhere; } }
@media print { .scroll { overflow: visible; } figure { break-inside: avoid; } }
"""

TEMPLATE = """\
{% macro number(value, digits=2, sign=false) -%}
{% if value is none %}–{% elif sign %}{{ "%+.*f"|format(digits, value) }}{% else %}{{ "%.*f"|format(digits, value) }}{% endif %}
{%- endmacro %}
{% macro ci(ends) -%}
{% if ends %}<small>[{{ number(ends[0]) }}, {{ number(ends[1]) }}]</small>{% endif %}
{%- endmacro %}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{{ title }} on {{ corpus }}</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<p class="muted">Valence and arousal per frame · corpus {{ corpus }} · {{ protocol.model.name }}
{{ protocol.model.digest[:12] }}</p>
<h1>{{ title|capitalize }}: how well it reads valence and arousal</h1>
{% for text in lead %}<p class="lead">{{ text }}</p>
{% endfor %}
{% if synthetic %}<p class="warn">The corpus is rendered. These scores compare models with each other and with what the rendered
cues allow; they say nothing about real faces and voices.</p>{% endif %}
<nav><a href="#scores">Scores</a> <a href="#differences">Differences</a> <a href="#tracks">Per track</a>
<a href="#traces">Traces</a> <a href="#streams">Missing streams</a> <a href="#protocol">How it was scored</a></nav>

<h2 id="scores">Scores</h2>
<p>CCC (concordance correlation; 1 is perfect, 0 is chance), pooled over all valid frames of all tracks, with 95 % intervals
over videos. {{ "Oracles are the best predictions from the rendered cues of both streams, or of one." if synthetic }}</p>
{% for split in splits %}
<h3>{{ split.words }}: {{ "{:,}".format(split.frames) }} frames, {{ split.tracks }} tracks,
{{ split.videos }} videos{% if split.note %} <span class="muted">– {{ split.note }}</span>{% endif %}</h3>
<div class="scroll"><table>
<tr><th>model</th><th>CCC, 0 to 1</th><th>mean</th><th>valence</th><th>arousal</th><th>smoothed mean</th><th>PCC</th><th>RMSE</th><th>SAGR</th></tr>
{% for row in split.rows %}<tr class="{{ row.kind }}"><td>{{ row.title }}</td>
<td class="bar"><div class="ci">{% if row.bar %}<i style="left:{{ row.bar.low }}%;width:{{ row.bar.width }}%"></i>{% endif %}\
<b style="left:{{ row.at }}%"></b></div></td>
{% for name in ("mean", "valence", "arousal") %}<td>{{ number(row.entry["ccc_" + name]) }} {{ ci(row.entry["ci95_" + name]) }}</td>
{% endfor %}<td>{{ number(row.entry.smoothed.ccc_mean) }} {{ ci(row.entry.smoothed.ci95_mean) }}</td>
<td>{{ number(row.entry.pcc_mean) }}</td><td>{{ number(row.entry.rmse_mean) }}</td><td>{{ number(row.entry.sagr_mean) }}</td></tr>
{% endfor %}</table></div>
{% endfor %}
<p class="muted">PCC: Pearson correlation. RMSE: root mean square error. SAGR: share of frames on the right side of 0. Each the mean
of valence and arousal, pooled, unsmoothed. Of these videos, training saw the validation ones alone, and only to choose its epoch.</p>
{% if released %}<h3>As the published code scores</h3>
<p>Scored {{ protocol.released_protocol }}. To be set beside figures that were made that way, and beside no others.</p>
<div class="scroll"><table>
<tr><th>split, model</th><th>theirs: mean</th><th>valence</th><th>arousal</th><th>ours, smoothed: mean</th></tr>
{% for row in released %}<tr class="{{ row.kind }}"><td>{{ row.split }}, {{ row.title }}</td>
{% for name in ("mean", "valence", "arousal") %}<td>{{ number(row.theirs["ccc_" + name]) }} {{ ci(row.theirs["ci95_" + name]) }}</td>
{% endfor %}<td>{{ number(row.ours.ccc_mean) }} {{ ci(row.ours.ci95_mean) }}</td></tr>
{% endfor %}</table></div>{% endif %}

<h2 id="differences">Is the difference real?</h2>
<p>CCC of {{ title }} minus that of each other model, on the same frames. The intervals are paired: both models are scored on
the same resampled videos. A difference whose interval holds 0 may be luck.{% if note %} <span class="muted">{{ note }}</span>{% endif %}</p>
{% if differences %}<div class="scroll"><table>
<tr><th>split, other model</th><th>mean</th><th>valence</th><th>arousal</th><th>in words</th></tr>
{% for row in differences %}<tr><td>{{ row.split }}, {{ row.title }}</td>
{% for name in ("mean", "valence", "arousal") %}<td>{{ number(row.entry[name].difference, 3, true) }} \
{% if row.entry[name].ci95 %}<small>[{{ number(row.entry[name].ci95[0], 3, true) }}, {{ number(row.entry[name].ci95[1], 3, true) }}]</small>{% endif %}</td>
{% endfor %}<td>{{ row.words }}</td></tr>
{% endfor %}</table></div>{% else %}<p>There is no other model to compare with.</p>{% endif %}

<h2 id="tracks">Per track</h2>
<p>CCC of each {{ shown.words }} track by itself (a dot), and their median (line). A track in which the label hardly moves has a low
CCC even where the error is small, so these are no parts of the pooled score.</p>
<div class="dots">
{% for line in dots %}<span class="t-{{ line.target }}">{{ line.target }}</span><div>
{% for dot in line.dots %}<i class="i-{{ line.target }}" style="left:{{ dot.left }}%" title="{{ dot.track }}: {{ number(dot.ccc) }}"></i>{% endfor %}
<b style="left:{{ line.median }}%"></b></div>
{% endfor %}<span></span><div class="scale">{% for tick in scale %}<span style="left:{{ tick.left }}%">{{ tick.text }}</span>{% endfor %}</div>
</div>
<h3>The worst</h3>
<div class="scroll"><table>
<tr><th>track</th><th>mean CCC</th><th>valence</th><th>arousal</th><th>RMSE<br>val., aro.</th><th>bias<br>val., aro.</th><th>sd of label<br>val., aro.</th><th>audio<br>present</th><th>face<br>present</th></tr>
{% for row in worst %}<tr><td>{% if row.track in drawn %}<a href="#{{ drawn[row.track] }}">{{ row.track }}</a>{% else %}{{ row.track }}{% endif %}</td>
<td>{{ number(row.ccc_mean) }}</td><td>{{ number(row.ccc_valence) }}</td><td>{{ number(row.ccc_arousal) }}</td>
<td>{{ number(row.rmse_valence) }}, {{ number(row.rmse_arousal) }}</td>
<td>{{ number(row.bias_valence, 2, true) }}, {{ number(row.bias_arousal, 2, true) }}</td>
<td>{{ number(row.sd_valence) }}, {{ number(row.sd_arousal) }}</td>
<td>{{ "%.0f"|format(100 * row.audio) }} %</td><td>{{ "%.0f"|format(100 * row.visual) }} %</td></tr>
{% endfor %}</table></div>

<h2 id="traces">Traces</h2>
<p class="key"><i style="background:#3b3f46;margin-left:0"></i>truth <i style="background:var(--valence)"></i>valence, smoothed
<i style="background:var(--arousal)"></i>arousal, smoothed; thin: unsmoothed; from −1 (below) to 1; grey: not labelled.</p>
{% if attended %}<p class="muted">Below each trace, what {{ title }} attended to, from its lowest (white) to its highest value (dark) on
that track. A correlation is the mean size of the attention's entries with one stream's features, over the sequences that hold the
clip; a received attention of 1 is an even share. Sequences at a
track's end are short, which makes correlations small there. All of it shows where the model looks, not why it is right.</p>{% endif %}
{% for part in figures %}<h3>{{ part.title }}</h3>
{% for figure in part.figures %}<figure id="{{ drawn[figure.track] }}">
<figcaption><strong>{{ figure.track }}</strong> <small>CCC valence {{ number(figure.panels[0].ccc) }}, arousal {{ number(figure.panels[1].ccc) }}</small></figcaption>
{% if figure.thumbnails %}<div class="thumbs">{% for thumb in figure.thumbnails %}\
{% if thumb.uri %}<img src="{{ thumb.uri }}" alt="face in frame {{ thumb.frame }}" width="56" height="56">{% else %}<span>no face</span>{% endif %}\
{% endfor %}</div>{% endif %}
{% for panel in figure.panels %}<div class="row panel"><span class="t-{{ panel.target }}">{{ panel.target }}</span>{{ panel.svg }}</div>
{% endfor %}{% for strip in figure.strips %}<div class="row strip k-{{ strip.kind }}"><span>{{ strip.title }}</span>{{ strip.svg }}</div>
{% endfor %}{% for band in figure.bands %}<div class="row band"><span>{{ band.title }} <small>{{ "%.3g"|format(band.low) }}–{{ "%.3g"|format(band.high) }}</small></span>{{ band.svg }}</div>
{% endfor %}<div class="axis">{% for tick in figure.ticks %}<span style="left:{{ tick.left }}%">{{ tick.seconds }}{{ " s" if loop.last }}</span>{% endfor %}</div>
</figure>
{% endfor %}{% endfor %}

<h2 id="streams">When a stream is missing</h2>
<p>RMSE of valence and of arousal over the {{ shown.words }} frames whose clip (the {{ protocol.geometry.clip_frames }} frames that
end there) has both streams, one, or none. Columns are of other frames, with other labels: compare models within a column.</p>
<div class="scroll"><table>
<tr><th>model</th>{% for name in presence[0].parts %}<th>{{ name }}<br>{{ "{:,}".format(presence[0].parts[name].frames) }} frames</th>{% endfor %}</tr>
{% for row in presence %}<tr class="{{ row.kind }}"><td>{{ row.title }}</td>
{% for part in row.parts.values() %}<td>{% if part.frames %}{{ number(part.rmse_valence) }}, {{ number(part.rmse_arousal) }}{% else %}–{% endif %}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% if conditions %}<p>The rendered corpus also knows when a stream that is there tells nothing; RMSE over both targets inside and outside of
these spans:</p>
<div class="scroll"><table>
<tr><th>model</th>{% for name in condition_names %}<th>{{ name }}<br>inside, outside</th>{% endfor %}</tr>
{% for row in conditions %}<tr class="{{ row.kind }}"><td>{{ row.title }}</td>
{% for part in row.parts.values() %}<td>{{ number(part.rmse_inside) }}, {{ number(part.rmse_outside) }}</td>{% endfor %}</tr>
{% endfor %}</table></div>{% endif %}

<h2 id="protocol">How it was scored</h2>
<dl>
{% for name, text in facts %}<dt>{{ name }}</dt><dd>{{ text }}</dd>
{% endfor %}</dl>
</main>
</body>
</html>
"""
