"""From the chunks of a stream to its tokens, once a layout and a prior are at hand."""

from __future__ import annotations

from smalti.codecs.bitstream import parts
from smalti.codecs.bitstream.chunked import Part
from smalti.codecs.bitstream.solo import Solo
from smalti.codecs.bitstream.streams import OWN_PRIOR, StreamInfo
from smalti.codecs.bitstream.wire import MAX_CHUNKS
from smalti.tokenizers.contracts import Prior
from smalti.tokenizers.errors import BitstreamError, ModelError, SmaltiError, UsageError
from smalti.tokenizers.tokens import Layout, Tokens


def layout_of(info: StreamInfo, layout: Layout | None) -> Layout:
    """The layout of a stream: its own or the model's; raises UsageError where it has none, ModelError where it holds more stages."""
    layout = info.layout if info.layout is not None else layout
    if layout is None:
        raise UsageError(f"tokens of {info.modality} need the model's layout to be read")
    if info.stages > len(layout.stages):
        raise misfit(info, f"the file holds {info.stages} stages, the layout has {len(layout.stages)}")
    return layout


def check_prior(info: StreamInfo, prior: Prior) -> None:
    """Raises ModelError where a stream was coded with another prior."""
    if info.prior_id != OWN_PRIOR and info.prior_id != prior.id:
        raise ModelError(f"the file was written with prior {info.prior_id.hex()}, found {prior.id.hex()}: hand over the file's own")


def misfit(info: StreamInfo, what: str) -> SmaltiError:
    """The error for a file that does not fit its layout: raw tokens carry their own, so there it is the file that lies."""
    return ModelError(f"{what}: it was written with another model") if info.layout is None else BitstreamError(f"{what}: a forged file")


def solo_tokens(content: Solo, layout: Layout, prior: Prior) -> Tokens:
    """The tokens of a solo file, all stages that it holds."""
    if content.info.stages not in layout.cuts:
        raise misfit(content.info, f"the file holds {content.info.stages} stages, of the layout {layout.cuts} decode")
    tokens = prior.decode(content.payload, layout.prefix(content.info.stages))
    if bytes.fromhex(tokens.digest()[: 2 * len(content.hash)]) != content.hash:
        raise BitstreamError("the decoded tokens are not those that were written: another model, prior or release")
    return tokens


def still_tokens(own: list[Part], info: StreamInfo, layout: Layout, prior: Prior) -> Tokens:
    """The tokens of a still signal whose stages, those of `layout`, are all there."""
    by_place = {(p.stage, p.segment): p for p in own}
    held: Tokens | None = None
    for k, stage in enumerate(layout.stages):
        borders = parts.stage_bounds(stage, info.unit)
        if any((k, s) not in by_place or by_place[k, s].last != (s + 2 == len(borders)) for s in range(len(borders) - 1)):
            raise misfit(info, f"stage {stage.name} has other segments than the layout gives")
        pieces = [still_piece(by_place[k, s], layout, held, borders, prior) for s in range(len(borders) - 1)]
        held = with_stage(layout, held, pieces)
    assert held is not None
    return held


def still_piece(part: Part, layout: Layout, held: Tokens | None, borders: list[int], prior: Prior) -> Tokens:
    """The tokens of one segment of a stage, with those of the stages before; held: all of these, None for the first stage."""
    start, stop = borders[part.segment], borders[part.segment + 1]
    known = parts.cut_rows(held, layout.stages[part.stage].axes, start, stop) if held is not None else None
    return decoded(part.blobs[0], parts.rows_layout(layout, part.stage, start, stop), known, prior)


def with_stage(layout: Layout, held: Tokens | None, pieces: list[Tokens]) -> Tokens:
    """The stages held so far and the next one, of which these are all segments."""
    k = len(held.arrays) if held is not None else 0
    arrays = [*(held.arrays if held is not None else ()), parts.join_arrays([p.arrays[k] for p in pieces], 0)]
    axes = len(layout.stages[k].axes)
    masks = [*(held.present if held is not None else ()), parts.join_masks([p.present[k] for p in pieces], 0, axes)]
    cuts = layout.cuts if k + 1 == len(layout.stages) else (k + 1,)
    return parts.checked(Layout(layout.stages[: k + 1], cuts, layout.signal), arrays, masks)


def grouped_tokens(own: list[Part], info: StreamInfo, layout: Layout, prior: Prior, wanted: int) -> Tokens:
    """The tokens of a stream's leading groups, all that are in `own`, and of them the first `wanted` stages."""
    check_groups(own, info, layout)
    borders = parts.group_bounds(layout, info.unit)
    pieces = [group(part, parts.group_layout(layout, a, b), prior, wanted) for part, a, b in zip(own, borders, borders[1:], strict=False)]
    there = layout if len(own) + 1 == len(borders) else parts.group_layout(layout, 0, borders[len(own)])
    return parts.join(there.prefix(wanted), pieces, parts.group_axis(layout))


def check_groups(own: list[Part], info: StreamInfo, layout: Layout) -> None:
    """Raises where the groups in `own` are not those of the layout."""
    if not parts.group_axis(layout) or (info.modality in ("video", "audio") and not parts.is_timed(layout)):
        raise misfit(info, "the file is in groups of time or rows, the layout has no axis that all stages share")
    segments = parts.group_count(layout, info.unit)
    # before any list: a forged unit makes one segment a step
    if segments > MAX_CHUNKS or len(own) > segments or (own and own[-1].last != (len(own) == segments)):
        raise misfit(info, f"the file has {len(own)} segments, the layout gives {segments}")


def group(part: Part, whole: Layout, prior: Prior, wanted: int) -> Tokens:
    """The first `wanted` stages of one group."""
    piece: Tokens | None = None
    for k in range(wanted):
        piece = decoded(part.blobs[k], Layout(whole.stages[: k + 1], (k + 1,), whole.signal), piece, prior)
    assert piece is not None
    return piece


def decoded(blob: tuple[bytes, bytes], layout: Layout, known: Tokens | None, prior: Prior) -> Tokens:
    """The stages of `layout`, of which `known` holds all but the last; raises BitstreamError where the hash of that one differs."""
    tokens = prior.decode(blob[1], layout, known)
    if bytes.fromhex(parts.stage_digest(tokens, len(layout.stages) - 1)[:4]) != blob[0]:
        raise BitstreamError("the decoded tokens are not those that were written: another model, prior or release")
    return tokens
