"""The style of a run's page, beside what all pages share."""

STYLE = """
:root { --c1: #1a5fd0; --c2: #a34a06; --c3: #0f766e; --c4: #a21caf; --c5: #4d7c0f; --c6: #be123c; --c7: #6b7280;
  --c8: #6d28d9; --good: #11683a; --bad: #b42318; --tint: #eaf1fd; }
@media screen and (prefers-color-scheme: dark) {
  :root { --c1: #6cb0ff; --c2: #f5b95f; --c3: #5fd4c4; --c4: #f0a3f5; --c5: #b5dd6a; --c6: #ff9aa8; --c7: #aab4c0;
    --c8: #c4b0ff; --good: #6fdc9a; --bad: #ff9a8f; --tint: #1b2a40; }
}
body { max-width: 80rem; }
header .lead { font-size: 1.15rem; max-width: 60rem; margin: .4rem 0 .8rem; }
.live { display: flex; flex-wrap: wrap; gap: .8rem; align-items: center; padding: .5rem .8rem; border-radius: .5rem;
  background: var(--tint); }
button, select, input { font: inherit; color: var(--ink); background: var(--page); border: 1px solid var(--soft);
  border-radius: .4rem; padding: .3rem .6rem; min-height: 2.1rem; }
button { cursor: pointer; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: .8rem; }
.plots figure { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .5rem; }
.plots.few { grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); }
@media (min-width: 60rem) { .plots.few:has(figure:nth-child(4):last-child) { grid-template-columns: 1fr 1fr; } }
.few figure svg { max-width: 30rem; margin-inline: auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; margin: 1rem 0; }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .6rem .9rem; }
.tiles dt { font-size: .85rem; }
.tiles dd { font-size: 1.5rem; font-weight: 600; line-height: 1.3; }
.tiles dd small { display: block; font-size: .85rem; font-weight: 400; color: var(--soft); }
main tbody th { white-space: nowrap; }
svg text.name, svg text.value { fill: var(--ink); font-size: 12px; }
svg .curve, svg .thin, svg .whisker { fill: none; stroke: currentColor; stroke-linejoin: round; }
svg .curve { stroke-width: 2; }
svg .thin { stroke-width: 1; opacity: .28; }
svg .whisker { stroke-width: 2; }
svg circle, svg rect { fill: currentColor; }
svg .cell { fill: var(--c1); }
svg .d1 { stroke-dasharray: 7 3; }
svg .d2 { stroke-dasharray: 2 3; }
svg .d3 { stroke-dasharray: 9 3 2 3; }
.c1 { color: var(--c1); } .c2 { color: var(--c2); } .c3 { color: var(--c3); } .c4 { color: var(--c4); }
.c5 { color: var(--c5); } .c6 { color: var(--c6); } .c7 { color: var(--c7); } .c8 { color: var(--c8); }
tr.quiet th, tr.quiet td { color: var(--soft); }
td small { color: var(--soft); display: block; }
details { margin: .6rem 0; }
summary { cursor: pointer; padding: .2rem 0; }
.tools { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: .6rem 1rem; align-items: end;
  padding: .6rem 0; background: var(--page); border-bottom: 1px solid var(--line); }
.tools label { display: grid; gap: .15rem; font-size: .85rem; color: var(--soft); }
.tools input[type=search] { width: min(20rem, 80vw); }
.tools p { margin: 0; padding-bottom: .35rem; }
.case { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .8rem 1rem;
  margin: .8rem 0; content-visibility: auto; contain-intrinsic-size: auto 16rem; }
.case h3 { margin: 0 0 .3rem; font-weight: 600; }
.case .facts { margin: 0 0 .5rem; display: flex; flex-wrap: wrap; gap: .3rem .5rem; align-items: center; }
.badge { border: 1px solid currentColor; border-radius: 1rem; padding: 0 .55rem; font-size: .85rem;
  white-space: nowrap; }
.badge.good { color: var(--good); } .badge.bad { color: var(--bad); } .badge.plain { color: var(--soft); }
.media { display: flex; flex-wrap: wrap; gap: .8rem; align-items: center; margin: .4rem 0; }
.strip { display: flex; flex-wrap: wrap; gap: 3px; }
.strip img { height: 5.5rem; width: auto; border: 3px solid transparent; border-radius: 5px; }
.strip img.now { border-color: var(--mark); }
.sound { flex: 1 1 16rem; max-width: 30rem; }
.sound svg { height: 3.2rem; }
.sound .wave { fill: var(--mark); }
.sound .head { stroke: var(--warn); stroke-width: 2; vector-effect: non-scaling-stroke; }
.sound audio { width: 100%; display: block; height: 2.4rem; }
blockquote { margin: .5rem 0; padding-inline-start: .8rem; border-inline-start: 3px solid var(--line);
  white-space: pre-line; }
.answers { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: .8rem; }
.answer { background: var(--page); border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .7rem; }
.answer h4 { margin: 0 0 .3rem; font-size: .9rem; font-weight: 600; display: flex; flex-wrap: wrap; gap: .4rem;
  align-items: center; }
.answer pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font: .88rem/1.45 ui-monospace, monospace; }
.answer mark { background: none; color: var(--c1); font-weight: 600; }
.answer mark.t1 { color: var(--c4); } .answer mark.t2 { color: var(--c3); } .answer mark.t3 { color: var(--c2); }
.answer b { background: var(--tint); border-radius: .25rem; padding: 0 .2rem; font-weight: 600; }
.more { margin: 1rem 0; }
@media (max-width: 40rem) { .tools { position: static; } body { padding: .6rem; } }
@media print { .tools, .more, .live { display: none !important; } .plots { grid-template-columns: 1fr 1fr; }
  .case { content-visibility: visible; } }
"""
