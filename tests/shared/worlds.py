"""Any world of ours, for hypothesis; and which two frequencies a telephone key sounds."""

from hypothesis import reject
from hypothesis import strategies as st

from mmnist_av.errors import InputError
from mmnist_av.m3so.spec import Spec

ROW_COLUMN = {
    key: (row, column)
    for row, keys in zip((697, 770, 852, 941), ("123", "456", "789", "*0#"), strict=True)
    for column, key in zip((1209, 1336, 1477), keys, strict=True)
}


@st.composite
def worlds(draw):
    """Any possible spec: half of them M3SO's own, with one to four digits."""
    chosen = {"obstacle": draw(st.booleans()), "digits_per_clip": draw(st.integers(1, 4))}
    if draw(st.booleans()):
        return Spec(**chosen)
    canvas, frames = draw(st.integers(28, 128)), draw(st.integers(2, 40))
    block, slowest = draw(st.integers(4, canvas - 20)), draw(st.integers(1, 8))
    fastest = draw(st.integers(slowest, min(block, 20) if chosen["obstacle"] else 28)) if slowest <= block else slowest
    try:
        return Spec(
            **chosen,
            canvas=canvas,
            frames=frames,
            fps=draw(st.sampled_from([5, 10, 20, 25, 40])),
            slowest=slowest,
            speeds=max(1, fastest - slowest + 1),
            block=block,
            block_frame=draw(st.integers(1, frames - 1)),
            bounce=draw(st.sampled_from(["random", "specular"])),
            amplitude=draw(st.sampled_from(["inverse", "linear"])),
        )
    except InputError:
        return reject()
