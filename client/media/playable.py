"""Names the codecs of an mp4 as browsers ask for them, from its header alone. Decodes nothing.

Sources: ISO/IEC 14496-12 (boxes), 14496-15 annex E (avc1, hvc1), RFC 6381 (mp4a), and the bindings of AV1, VP9, Opus
and FLAC to that container.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

BOX_HEADER = 8  # bytes: size, name
FULL_BOX = 4  # bytes: version, flags
VISUAL_ENTRY, AUDIO_ENTRY = 78, 28  # bytes of a sample entry before its boxes
ENTRY_BYTES = {"vide": VISUAL_ENTRY, "soun": AUDIO_ENTRY}
ES, DECODER_CONFIG, DECODER_INFO = 3, 4, 5  # tags of MPEG-4 descriptors
MPEG_4_AUDIO = 0x40
MP3 = (0x69, 0x6B)


def media_type_with_codecs(head: bytes) -> str | None:
    """Return the media type of a fragmented mp4, such as `video/mp4; codecs="avc1.640015,mp4a.40.2"`.

    Args:
        head: the beginning of the file.

    Returns:
        The type; None if the header is incomplete or holds a codec without such a name.
    """
    try:
        tracks = [_codec(track) for name, track in _boxes(_child(head, "moov")) if name == "trak"]
    except (LookupError, ValueError):
        return None
    return f'video/mp4; codecs="{",".join(tracks)}"' if tracks else None


def _boxes(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each whole box."""
    place = 0
    while place + BOX_HEADER <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        if size < BOX_HEADER or place + size > len(data):
            return
        name = data[place + 4 : place + BOX_HEADER].decode("latin-1")
        yield name, data[place + BOX_HEADER : place + size]
        place += size


def _child(data: bytes, *names: str) -> bytes:
    """Return the content of the first box of a name within the boxes that are named before it.

    Raises:
        LookupError: there is none.
    """
    for wanted in names:
        data = [content for name, content in _boxes(data) if name == wanted][0]  # noqa: RUF015  # IndexError is meant
    return data


def _codec(track: bytes) -> str:
    """Return the codec of a track.

    Raises:
        LookupError: its name is not known here.
    """
    kind = _child(track, "mdia", "hdlr")[FULL_BOX + 4 : FULL_BOX + 8].decode("latin-1")
    descriptions = _child(track, "mdia", "minf", "stbl", "stsd")
    entry, content = [*_boxes(descriptions[FULL_BOX + 4 :])][0]  # noqa: RUF015
    inner = dict(_boxes(content[ENTRY_BYTES[kind] :]))
    for box, name in NAMES.items():
        if box in inner:
            return name(entry, inner[box])
    return PLAIN[entry]


def _avc(entry: str, config: bytes) -> str:
    return f"{entry}.{config[1:4].hex()}"


def _hevc(entry: str, config: bytes) -> str:
    space, tier, profile = config[1] >> 6, config[1] >> 5 & 1, config[1] & 31
    compatible = int(f"{int.from_bytes(config[2:6], 'big'):032b}"[::-1], 2)
    limits = [f"{byte:x}" for byte in config[6:12].rstrip(b"\0")]
    start = f"{entry}.{('', 'A', 'B', 'C')[space]}{profile}"
    return ".".join([start, f"{compatible:x}", f"{'LH'[tier]}{config[12]}", *limits])


def _av1(entry: str, config: bytes) -> str:
    profile, level, tier = config[1] >> 5, config[1] & 31, config[2] >> 7
    is_deep, is_deepest = config[2] >> 6 & 1, config[2] >> 5 & 1
    depth = 12 if is_deepest else 10 if is_deep else 8
    return f"{entry}.{profile}.{level:02d}{'MH'[tier]}.{depth:02d}"


def _vp9(entry: str, config: bytes) -> str:
    profile, level, depth = config[FULL_BOX], config[FULL_BOX + 1], config[FULL_BOX + 2] >> 4
    return f"{entry}.{profile:02d}.{level:02d}.{depth:02d}"


def _mpeg_4(entry: str, config: bytes) -> str:
    stream = _descriptor(config[FULL_BOX:], ES)
    decoder = _descriptor(stream[3:], DECODER_CONFIG)
    if decoder[0] in MP3:
        return "mp3"
    if decoder[0] != MPEG_4_AUDIO:
        raise LookupError
    return f"{entry}.{decoder[0]:x}.{_descriptor(decoder[13:], DECODER_INFO)[0] >> 3}"


def _descriptor(data: bytes, tag: int) -> bytes:
    """Return the content of the MPEG-4 descriptor that data begins with.

    Raises:
        LookupError: it is another one.
    """
    if data[0] != tag:
        raise LookupError
    size, place, is_more = 0, 1, True
    while is_more:
        size, is_more = size << 7 | data[place] & 127, bool(data[place] & 128)
        place += 1
    return data[place : place + size]


NAMES: dict[str, Callable[[str, bytes], str]] = {  # box of the codec's settings -> how they are written
    "avcC": _avc, "hvcC": _hevc, "av1C": _av1, "vpcC": _vp9, "esds": _mpeg_4,
}  # fmt: skip
PLAIN = {"Opus": "opus", "fLaC": "flac", "alac": "alac", "ac-3": "ac-3", "ec-3": "ec-3", ".mp3": "mp3"}
