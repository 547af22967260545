"""A hypothesis strategy for the worlds of M3SO, and the two frequencies of each telephone key."""

from hypothesis import reject
from hypothesis import strategies as st

from mmnist_av.m3so.spec import Spec

ROW_COLUMN = {
    key: (row, column)
    for row, keys in zip((697, 770, 852, 941), ("123", "456", "789", "*0#"), strict=True)
    for column, key in zip((1209, 1336, 1477), keys, strict=True)
}


@st.composite
def worlds(draw):
    """Draw a possible spec of at most 40 frames or, in a third of the cases, one of M3SO with 1 to 4 digits."""
    chosen = {"obstacle": draw(st.booleans()), "digits_per_clip": draw(st.integers(1, 4))}
    if draw(st.integers(0, 2)) == 0:
        return Spec(**chosen)
    chosen["canvas"] = canvas = draw(st.integers(20, 128))
    chosen["frames"] = frames = draw(st.integers(2, 40))
    chosen["fps"] = draw(st.sampled_from([fps for fps in range(1, 101) if 8000 % fps == 0]))
    fastest = draw(st.integers(1, canvas))
    if chosen["obstacle"]:
        if canvas == 20:
            return reject()
        chosen["block"] = block = draw(st.integers(1, canvas - 20))
        chosen["block_frame"] = draw(st.integers(1, frames - 1))
        fastest = min(fastest, block)
    chosen["slowest"] = draw(st.integers(1, fastest))
    chosen["speeds"] = fastest - chosen["slowest"] + 1
    chosen["bounce"] = draw(st.sampled_from(["random", "specular"]))
    chosen["amplitude"] = draw(st.sampled_from(["inverse", "linear"]))
    return Spec(**chosen)
