"""What is read from a compiled program's text: hand-made modules, and a program that XLA compiles here."""

import jax
import jax.numpy as jnp

from emsa_jax.planning import hlo

LOOP = """HloModule m, input_output_alias={{ {{0}}: (1, {{}}, may-alias) }}, entry_computation_layout={{()}}

%step (state: (s32[], bf16[8,1024], bf16[1024,1024], bf16[8,4,512,128])) -> (s32[], bf16[8,1024]) {{
  %state = (s32[], bf16[8,1024]{{1,0}}, bf16[1024,1024]{{1,0:T(8,128)(2,1)}}, bf16[8,4,512,128]{{3,2,1,0}}) parameter(0)
  %t = s32[] get-tuple-element(%state), index=0
  %x = bf16[8,1024]{{1,0}} get-tuple-element(%state), index=1
  %w = bf16[1024,1024]{{1,0}} get-tuple-element(%state), index=2
  %cache = bf16[8,4,512,128]{{3,2,1,0}} get-tuple-element(%state), index=3
  %part = bf16[1024,1024]{{1,0}} bitcast(%w)
{lines}
  ROOT %out = (s32[], bf16[8,1024], bf16[1024,1024]{{1,0}}, bf16[8,4,512,128]{{3,2,1,0}}) tuple(%t, %y, %w, %next)
}}

%launched (p: bf16[1024,1024], q: bf16[8,1024]) -> bf16[512,1024] {{
  %p = bf16[1024,1024]{{1,0}} parameter(0)
  %q = bf16[8,1024]{{1,0}} parameter(1)
  %again = bf16[512,1024]{{1,0}} fusion(%p), kind=kLoop, calls=%more
  ROOT %mixed = bf16[512,1024]{{1,0}} fusion(%p, %q), kind=kLoop, calls=%more
}}

%more (state: (s32[], bf16[8,1024])) -> pred[] {{
  %state.1 = (s32[], bf16[8,1024]{{1,0}}) parameter(0)
  %t.1 = s32[] get-tuple-element(%state.1), index=0
  ROOT %less = pred[] compare(%t.1, %t.1), direction=LT
}}

ENTRY %main (a: bf16[1024,1024], b: bf16[8,4,512,128]) -> bf16[8,1024] {{
  %a = bf16[1024,1024]{{1,0}} parameter(0)
  %b = bf16[8,4,512,128]{{3,2,1,0}} parameter(1)
  %once = bf16[4096,1024]{{1,0}} all-gather(%a), dimensions={{0}}
  %zero = s32[] constant(0)
  %x0 = bf16[8,1024]{{1,0}} fusion(%a), kind=kLoop, calls=%step
  %begin = (s32[], bf16[8,1024], bf16[1024,1024], bf16[8,4,512,128]) tuple(%zero, %x0, %a, %b)
  %loop = (s32[], bf16[8,1024], bf16[1024,1024], bf16[8,4,512,128]) while(%begin), condition=%more, body=%step
  ROOT %last = bf16[8,1024]{{1,0}} get-tuple-element(%loop), index=1
}}
"""


def moved(*lines):
    lines = [*lines, "%y = bf16[8,1024]{1,0} add(%x, %x)", "%next = bf16[8,4,512,128]{3,2,1,0} bitcast(%cache)"]
    known = [line for i, line in enumerate(lines) if line.split(" =")[0] not in [m.split(" =")[0] for m in lines[:i]]]
    return hlo.moved_in_loops(hlo.parse(LOOP.format(lines="\n".join(f"  {line}" for line in known))))


def test_a_weight_gathered_at_every_turn_is_found():
    (found,) = moved("%whole = bf16[4096,1024]{1,0} all-gather(%part), channel_id=1, dimensions={0}")
    assert (found.op, found.bytes, found.unchanged, found.depth) == ("all-gather", 4096 * 1024 * 2, True, 1)
    (started,) = moved(
        "%whole = (bf16[1024,1024]{1,0}, bf16[4096,1024]{1,0}) all-gather-start(%w), dimensions={0}",
        "%done = bf16[4096,1024]{1,0} all-gather-done(%whole)",
    )
    assert started.op == "all-gather" and started.unchanged


def test_what_the_loop_changes_is_sent_but_no_weight():
    (found,) = moved("%sum = bf16[8,1024]{1,0} all-reduce(%x), to_apply=%more")
    assert (found.op, found.bytes, found.unchanged) == ("all-reduce", 8 * 1024 * 2, False)
    (mixed,) = moved(
        "%both = bf16[1032,1024]{1,0} fusion(%x, %w), kind=kLoop, calls=%more",
        "%whole = bf16[4128,1024]{1,0} all-gather(%both), dimensions={0}",
    )
    assert mixed.op == "all-gather" and not mixed.unchanged


def test_a_weight_copied_at_every_turn_is_found_unless_it_goes_to_the_chip():
    (found,) = moved("%slice = bf16[512,1024]{1,0} fusion(%w), kind=kLoop, calls=%more")
    assert found.unchanged and found.bytes == 512 * 1024 * 2
    assert not moved(
        "%near = (bf16[1024,1024]{1,0:T(8,128)S(1)}, bf16[1024,1024]{1,0}, u32[]) copy-start(%w)",
        "%there = bf16[1024,1024]{1,0:T(8,128)S(1)} copy-done(%near)",
    )
    assert not moved("%small = bf16[8,1024]{1,0} fusion(%w), kind=kLoop, calls=%more")


def test_kernels_that_are_launched_together_are_looked_into():
    (found,) = moved("%both = bf16[512,1024]{1,0} call(%w, %x), to_apply=%launched")
    assert found.unchanged and found.loop == "loop"
    assert not moved(
        "%new = bf16[1024,1024]{1,0} fusion(%x, %w), kind=kLoop, calls=%more",
        "%both = bf16[512,1024]{1,0} call(%new, %x), to_apply=%launched",
    )


def test_a_cache_that_is_copied_is_found():
    (found,) = moved("%next = bf16[8,4,512,128]{3,2,1,0} copy(%cache)")
    assert found.op == "copy" and found.shapes == ((8, 4, 512, 128),)
    written = "%next = bf16[8,4,512,128]{3,2,1,0} dynamic-update-slice(%cache, %x, %t, %t)"
    assert not moved(written)


def test_a_program_compiled_here():
    """CPUs copy the layer of a stack that a scan hands to a product: at every turn of both loops."""

    def decode(stack, x):
        def turn(state):
            t, x = state
            x, _ = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, stack)
            return t + 1, x

        return jax.lax.while_loop(lambda state: state[0] < 5, turn, (0, x))[1]

    stack = jax.ShapeDtypeStruct((4, 512, 512), jnp.float32)
    compiled = jax.jit(decode).lower(stack, jax.ShapeDtypeStruct((8, 512), jnp.float32)).compile()
    found = [m for m in hlo.moved_in_loops(hlo.parse(compiled.as_text())) if m.unchanged]
    assert [(m.bytes, m.depth) for m in found] == [(512 * 512 * 4, 2)]
