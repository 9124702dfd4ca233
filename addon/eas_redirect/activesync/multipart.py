"""`application/vnd.ms-sync.multipart` answers: bytes in, parts out. Standard library only.

Source: MS-ASCMD 2.2.2.10.1 (ItemOperations: MultiPartResponse).
"""

MULTIPART = "application/vnd.ms-sync.multipart"
MAX_PARTS = 1000  # of one answer; devices ask for a few attachments at a time
_UINT32 = 4


def split_parts(data: bytes) -> list[bytes]:
    """The parts in their order, the first being WBXML; ValueError when the bytes are no such
    answer. A uint32 counts the parts, a uint32 offset and length for each follow."""
    count = _number(data, 0)
    if not 1 <= count <= MAX_PARTS:
        raise ValueError(f"an answer in {count} parts is not believed")
    head = (2 * count + 1) * _UINT32
    if head + sum(_number(data, (2 * index + 2) * _UINT32) for index in range(count)) > len(data):
        raise ValueError(
            "the parts are longer than the answer"
        )  # parts in one place would multiply
    return [_part(data, index, head) for index in range(count)]


def _part(data: bytes, index: int, head: int) -> bytes:
    at = (2 * index + 1) * _UINT32
    start, length = _number(data, at), _number(data, at + _UINT32)
    if start < head or start + length > len(data):
        raise ValueError(f"part {index} lies outside the answer")
    return data[start : start + length]


def _number(data: bytes, at: int) -> int:
    if at + _UINT32 > len(data):
        raise ValueError("the answer is cut short")
    return int.from_bytes(data[at : at + _UINT32], "little")
