"""RC2 with 40 effective bits, decrypting only: the cipher of every PKCS#12 that Windows and OpenSSL wrote until 2021.

The library's RC2 takes keys of 128 effective bits only. This never protects anything: it opens old files. RFC 2268.
"""

from itertools import pairwise

_PI = bytes.fromhex(
    "d978f9c419ddb5ed28e9fd794aa0d89dc67e37832b76538e624c6488448bfba2179a59f587b34f1361456d8d09817d32"
    "bd8f40eb86b77b0bf09521225c6b4e8254d66593ce60b21c7356c014a78cf1dc1275ca1f3bbee4d1423dd430a33cb626"
    "6fbf0eda4669075727f21d9bbc944303f811c7f690ef3ee706c3d52fc8661ed708e8eade8052eef784aa72ac354d6a2a"
    "961ad2715a1549744b9fd05e0418a4ecc2e0416e0f51cbcc2491af50a1f47039997c3a8523b8b47afc02365b25559731"
    "2d5dfa98e38a92ae05df2910676cbac9d300e6cfe19ea82c6316013f58e289a90d38341bab33ffb0bb480c5fb9b1cd2e"
    "c5f3db47e5a59c770aa62068fe7fc1ad"
)


def _expand(key: bytes, effective_bits: int) -> list[int]:
    """The 64 words of the key schedule. RFC 2268 section 2."""
    expanded = bytearray(key)
    while len(expanded) < 128:
        expanded.append(_PI[(expanded[-1] + expanded[-len(key)]) & 0xFF])
    octets = (effective_bits + 7) // 8
    mask = 0xFF >> (8 * octets - effective_bits)
    expanded[128 - octets] = _PI[expanded[128 - octets] & mask]
    for i in range(127 - octets, -1, -1):
        expanded[i] = _PI[expanded[i + 1] ^ expanded[i + octets]]
    return [expanded[i] | expanded[i + 1] << 8 for i in range(0, 128, 2)]


_UNMASHED = ((63, 43), (43, 19), (19, -1))
"""The words of each run of mixing rounds, from the last; between the runs, and only there, comes a mashing round."""


def _decrypt_block(words: list[int], block: bytes) -> bytes:
    """One block of 8 octets. RFC 2268 section 4. Written out word by word: it is the whole cost of opening an old
    store.
    """
    joined = int.from_bytes(block, "little")
    a, b, c, d = joined & 0xFFFF, joined >> 16 & 0xFFFF, joined >> 32 & 0xFFFF, joined >> 48
    for start, stop in _UNMASHED:
        for j in range(start, stop, -4):
            d = ((d >> 5 | d << 11) - words[j] - (c & b) - (~c & a)) & 0xFFFF
            c = ((c >> 3 | c << 13) - words[j - 1] - (b & a) - (~b & d)) & 0xFFFF
            b = ((b >> 2 | b << 14) - words[j - 2] - (a & d) - (~a & c)) & 0xFFFF
            a = ((a >> 1 | a << 15) - words[j - 3] - (d & c) - (~d & b)) & 0xFFFF
        if stop > 0:
            d = (d - words[c & 63]) & 0xFFFF
            c = (c - words[b & 63]) & 0xFFFF
            b = (b - words[a & 63]) & 0xFFFF
            a = (a - words[d & 63]) & 0xFFFF
    return (a | b << 16 | c << 32 | d << 48).to_bytes(8, "little")


def decrypt_cbc(key: bytes, effective_bits: int, iv: bytes, encrypted: bytes) -> bytes:
    """`encrypted` (whole blocks of 8 octets) in CBC mode, its padding taken off.

    Raises `ValueError` for a length that is not whole blocks or padding that is not sound: a wrong key or a broken
    file.
    """
    if not encrypted or len(encrypted) % 8:
        raise ValueError("not whole blocks")
    words = _expand(key, effective_bits)
    blocks = [iv, *(encrypted[i : i + 8] for i in range(0, len(encrypted), 8))]
    plain = bytearray()
    for previous, block in pairwise(blocks):
        mixed = int.from_bytes(previous, "little") ^ int.from_bytes(_decrypt_block(words, block), "little")
        plain += mixed.to_bytes(8, "little")
    pad = plain[-1]
    if not 1 <= pad <= 8 or plain[-pad:] != bytes((pad,)) * pad:
        raise ValueError("the padding is not sound")
    return bytes(plain[:-pad])
